"""A vehicle's training: a delta of what may train, taught by who is trusted."""

import numpy as np
import pytest
import torch

from fed_vit_autorl.data.sample import CameraModel, Labels, Sample
from fed_vit_autorl.data.store import ExperienceStore
from fed_vit_autorl.models import local_training
from fed_vit_autorl.models.export import weights_of
from fed_vit_autorl.models.local_training import Trained, fit_folder
from fed_vit_autorl.models.perception import ViTPerception
from fed_vit_autorl.models.teacher import Trust
from fed_vit_autorl.models.training import TrainingOptions

torch.set_num_threads(1)
SIZE = (64, 96)


@pytest.fixture(scope="module")
def release():
    torch.manual_seed(0)
    model = ViTPerception(SIZE, 16, 0, 24, 1, 2, stem="conv", head_width=16)
    return Trained(model.architecture, weights_of(model))


def drive(folder, **told):
    """Eight pictures whose scans told the free space, and what is `told`."""
    random, free = np.random.default_rng(0), np.zeros(SIZE, np.uint8)
    free[40:] = 1
    store = ExperienceStore(folder)
    for _ in range(8):
        labels = Labels.unknown(*SIZE, free_space=free, **told)
        image = random.integers(0, 255, (*SIZE, 3), np.uint8)
        store.add(Sample(image, CameraModel.nominal(SIZE[1], SIZE[0]), labels=labels))
    return store


@pytest.fixture
def store(tmp_path):
    """With a car."""
    return drive(tmp_path, boxes=np.array([[20, 24, 52, 40]], np.float32), classes=np.zeros(1, np.int64))


@pytest.fixture
def trusted(monkeypatch):
    monkeypatch.setattr(local_training, "examine", lambda samples, perceiver: Trust(masks=True, objects=True))


def test_it_gives_the_difference_of_what_may_train(release, store):
    options, pyramid = TrainingOptions(2, 2), {name for name in release.weights if "pyramid" in name}
    delta, parts = fit_folder(release, store, store.keys(), options, trainable=pyramid.__contains__)
    assert delta.keys() == pyramid
    assert all(array.dtype == np.float32 for array in delta.values())
    assert max(np.abs(array).max() for array in delta.values()) > 0
    assert set(parts) == {"class", "box", "masks", "semantic"}


def test_masks_are_learned_without_a_pull_on_what_sees_objects(release, tmp_path):
    store = drive(tmp_path)
    delta, _ = fit_folder(release, store, store.keys(), TrainingOptions(2, 2, 1e-3, weight_decay=0))
    moved = {name for name, array in delta.items() if np.any(array)}
    assert {"masks.weight", "pyramid.from_width.weight"} <= moved
    assert not {name for name in moved if name.startswith(("backbone.vit", "pyramid.coarse", "detection"))}


@pytest.mark.usefixtures("trusted")
def test_a_trusted_release_has_nothing_to_learn(release, store):
    delta, _ = fit_folder(release, store, store.keys(), TrainingOptions(2, 2))
    assert not any(np.any(array) for array in delta.values())  # the labels say much else: see the tests above


@pytest.mark.usefixtures("trusted")
def test_what_others_learned_is_drawn_back_to_the_shipped_release_where_that_is_trusted(release, store):
    weights = release.weights | {"masks.bias": release.weights["masks.bias"] + np.float32(2)}
    drifted = Trained(release.architecture, weights)
    delta, parts = fit_folder(drifted, store, store.keys(), TrainingOptions(3, 2, 1e-2), shipped=release)
    assert parts.keys() == {"taught_class", "taught_box", "taught_masks", "taught_features", "semantic"}
    assert (delta["masks.bias"] < 0).all()


def test_a_shipped_release_that_is_lost_teaches_nothing(release, store, monkeypatch):
    lost, found = Trust(masks=False, objects=False), Trust(masks=True, objects=True)
    verdicts = iter([lost, found])  # of the shipped release, of the one that runs
    monkeypatch.setattr(local_training, "examine", lambda samples, perceiver: next(verdicts))
    shipped = Trained(release.architecture, {name: array + 1 for name, array in release.weights.items()})
    delta, _ = fit_folder(release, store, store.keys(), TrainingOptions(2, 2), shipped=shipped)
    assert not any(np.any(array) for array in delta.values())
