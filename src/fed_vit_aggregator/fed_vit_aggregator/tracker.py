"""Experiment tracking behind one small interface: none, MLflow (a file by default) or ClearML, by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from fed_vit_autorl.deployment.fleet_config import FleetConfig
from fed_vit_autorl.federated.cloud.records import Round


class Tracker(Protocol):
    """Is told of each ended round; a restart may tell it of one again."""

    def round_ended(self, round: Round) -> None: ...


class NoTracker:
    """Keeps nothing: the aggregator's own state has it all."""

    def __init__(self, folder: Path, config: FleetConfig, address: str) -> None: ...

    def round_ended(self, round: Round) -> None: ...


class MlflowTracker:
    """One MLflow run per run of the fleet, found again by its name; the step is the round's number."""

    def __init__(self, folder: Path, config: FleetConfig, address: str) -> None:
        """`address`: tracking URI, "" for an SQLite file in `folder`."""
        from mlflow import MlflowClient

        federation = config.federation
        self._client = MlflowClient(address or f"sqlite:///{folder.resolve() / 'mlflow.sqlite'}")
        name = f"fed-vit-autorl/{federation.region}"
        experiment = self._client.get_experiment_by_name(name)
        identifier = experiment.experiment_id if experiment else self._client.create_experiment(name)
        known = self._client.search_runs([identifier], f"attributes.run_name = '{federation.run}'", max_results=1)
        if known:
            self._run = known[0].info.run_id
            return
        self._run = self._client.create_run(identifier, run_name=federation.run).info.run_id
        self._client.log_param(self._run, "configuration", config.digest)
        self._client.log_param(self._run, "strategy", str(config.strategy))

    def round_ended(self, round: Round) -> None:
        for name, value in round_figures(round).items():
            self._client.log_metric(self._run, name, value, step=round.number)


class ClearmlTracker:
    """One ClearML task per run of the fleet. Needs `pip install clearml` and its own configuration file."""

    def __init__(self, folder: Path, config: FleetConfig, address: str) -> None:
        from clearml import Task

        federation = config.federation
        self._task = Task.init(
            project_name=f"fed-vit-autorl/{federation.region}",
            task_name=federation.run,
            continue_last_task=True,
            auto_connect_frameworks=False,
        )

    def round_ended(self, round: Round) -> None:
        for name, value in round_figures(round).items():
            self._task.get_logger().report_scalar("fleet", name, value, round.number)


TRACKERS: dict[str, Callable[[Path, FleetConfig, str], Tracker]] = {
    "none": NoTracker,
    "mlflow": MlflowTracker,
    "clearml": ClearmlTracker,
}


def round_figures(round: Round) -> dict[str, float]:
    """What is worth drawing over rounds."""
    return {
        **round.metrics,
        "participation": len(round.participants) / max(1, len(round.selected)),
        "seconds": round.ended - round.opened,
        "released": float(round.release > 0),
    }
