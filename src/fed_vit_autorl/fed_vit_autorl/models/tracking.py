"""Trainings in an experiment tracker: one MLflow run each, in a file unless an address is given."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

EXPERIMENT = "fed-vit-autorl/perception"
EVERY = 20


class Tracker:
    """One run. `address`: MLflow's tracking URI, or "" for an SQLite file in `folder`."""

    def __init__(self, folder: Path, address: str, name: str, settings: Mapping[str, Any]) -> None:
        from mlflow import MlflowClient  # takes seconds to import

        folder.mkdir(parents=True, exist_ok=True)
        self._client = MlflowClient(address or f"sqlite:///{folder.resolve() / 'mlflow.sqlite'}")
        known = self._client.get_experiment_by_name(EXPERIMENT)
        identifier = known.experiment_id if known else self._client.create_experiment(EXPERIMENT)
        self._run = self._client.create_run(identifier, run_name=name).info.run_id
        for key, value in _flat(settings).items():
            self._client.log_param(self._run, key, value)

    def step(self, step: int, parts: Mapping[str, float]) -> None:
        """The parts of the loss, of every twentieth step."""
        if step % EVERY == 0:
            self._log(parts, "loss", step)

    def ended(self, figures: Mapping[str, float]) -> None:
        """The figures on held-out towns; closes the run."""
        self._log(figures, "held_out", 0)
        self._client.set_terminated(self._run)

    def _log(self, values: Mapping[str, float], group: str, step: int) -> None:
        for name, value in values.items():
            self._client.log_metric(self._run, f"{group}/{name}", value, step=step)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted names; lists are left out, because drives are many and have their digest."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        elif not isinstance(value, list):
            found[prefix + key] = value
    return found
