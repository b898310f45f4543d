"""Rounds in MLflow: one run for a run of the fleet, however often the aggregator restarts."""

import sys
from types import SimpleNamespace

from mlflow import MlflowClient

from fed_vit_aggregator.tracker import TRACKERS, round_figures
from fed_vit_autorl.deployment.fleet_config import FleetConfig
from fed_vit_autorl.federated.cloud.records import Phase
from fed_vit_autorl.federated.cloud.store import Store


def test_rounds_are_steps_of_one_run_across_restarts(tmp_path):
    store = Store(tmp_path)
    for number, figure in ((1, 0.4), (2, 0.5)):
        tracker = TRACKERS["mlflow"](tmp_path, FleetConfig(), "")
        round_ = store.open_round("main", number, number, ["v1", "v2"])
        tracker.round_ended(store.advance(round_, Phase.RELEASED, metrics={"map50": figure}, release=number + 1))
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.sqlite'}")
    experiment = client.get_experiment_by_name("fed-vit-autorl/home")
    [run] = client.search_runs([experiment.experiment_id])
    history = client.get_metric_history(run.info.run_id, "map50")
    assert [(entry.step, entry.value) for entry in history] == [(1, 0.4), (2, 0.5)]
    assert run.data.params["configuration"] == FleetConfig().digest
    store.close()


def test_clearml_is_told_the_same_figures(tmp_path, monkeypatch):
    """ClearML isn't installed here: a stand-in of the parts of its API that are used."""
    told = []
    logger = SimpleNamespace(report_scalar=lambda *values: told.append(values))
    task = SimpleNamespace(get_logger=lambda: logger)
    asked = {}
    monkeypatch.setitem(
        sys.modules,
        "clearml",
        SimpleNamespace(Task=SimpleNamespace(init=lambda **options: asked.update(options) or task)),
    )
    store = Store(tmp_path)
    round_ = store.open_round("main", 3, 3, ["v1", "v2"])
    ended = store.advance(round_, Phase.RELEASED, metrics={"map50": 0.5}, release=4)
    TRACKERS["clearml"](tmp_path, FleetConfig(), "").round_ended(ended)
    assert (asked["project_name"], asked["task_name"], asked["continue_last_task"]) == (
        "fed-vit-autorl/home",
        "main",
        True,
    )
    assert ("fleet", "map50", 0.5, 3) in told
    assert {name for _, name, _, _ in told} == set(round_figures(ended))
    store.close()
