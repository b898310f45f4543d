"""Rounds in MLflow: one run for a run of the fleet, however often the aggregator restarts."""

from mlflow import MlflowClient

from fed_vit_aggregator.tracker import TRACKERS
from fed_vit_autorl.deployment.fleet_config import FleetConfig
from fed_vit_autorl.federated.store import Phase, Store


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
