"""Trainings are told to MLflow; the search stays in the space that it states."""

import optuna
import pytest
from mlflow import MlflowClient

from fed_vit_autorl.data.sample import CameraModel
from fed_vit_autorl.models.collect import Drive
from fed_vit_autorl.models.tracking import EXPERIMENT, Tracker
from fed_vit_autorl.models.training_setup import TrainPerception
from fed_vit_autorl.models.tune import suggest
from fed_vit_autorl.simulation.town import TownSpec


def test_a_training_leaves_its_settings_losses_and_figures_in_mlflow(tmp_path):
    tracker = Tracker(tmp_path, "", "noon", {"model": {"depth": 6}, "drives": [1, 2]})
    for step in range(41):
        tracker.step(step, {"box": 1 / (step + 1)})
    tracker.ended({"noon/map50": 0.7})
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.sqlite'}")
    (run,) = client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id])
    assert run.info.run_name == "noon"
    assert run.info.status == "FINISHED"
    assert run.data.params == {"model.depth": "6"}
    assert run.data.metrics["held_out/noon/map50"] == 0.7
    curve = [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, "loss/box")]
    assert curve == [(0, 1.0), (20, pytest.approx(1 / 21)), (40, pytest.approx(1 / 41))]


def test_what_is_tried_stands_in_the_stated_space_and_builds():
    drive = Drive(town=TownSpec())
    settings = TrainPerception(drives=[drive], held_out=[drive], augmentation={"flip": 0.5})
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    tried = [suggest(study.ask(), settings, steps=8) for _ in range(20)]
    assert all(2e-4 <= one.training.learning_rate <= 4e-3 for one in tried)
    assert {one.model.depth for one in tried} == {4, 6, 8}
    assert {one.training.steps for one in tried} == {8}
    assert all(one.augmentation["flip"] == 0.5 and 0 <= one.augmentation["light"] <= 0.8 for one in tried)
    assert len(tried[0].model.build(CameraModel.nominal(320, 192)).backbone.vit.blocks) == tried[0].model.depth
