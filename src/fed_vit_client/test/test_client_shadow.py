"""The shadow test: what is clearly worse on the vehicle's own experience is refused, what chance explains is not."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fed_vit_autorl.data.sample import CameraModel, Labels, Sample
from fed_vit_autorl.data.store import ExperienceStore
from fed_vit_autorl.deployment.release import Reason
from fed_vit_autorl.federated.vehicle.releases import Shadow
from fed_vit_client import shadow
from fed_vit_client.shadow import ShadowTest

SIZE = 8, 12
IDENTITY = SimpleNamespace(release_keys=list)


@pytest.fixture
def experience(tmp_path):
    """Makes samples with so many objects each, None for no labels, until 30 are held out."""

    def make(objects: int | None) -> Path:
        store, labels = ExperienceStore(tmp_path), None
        if objects is not None:
            boxes = np.tile(np.array([[1, 1, 4, 4]], np.float32), (objects, 1))
            labels = Labels.unknown(*SIZE, boxes=boxes, classes=np.zeros(objects, np.int64))
        while len(store.split()[1]) < 30:
            store.add(Sample(np.zeros((*SIZE, 3), np.uint8), CameraModel.nominal(SIZE[1], SIZE[0]), labels=labels))
        return tmp_path

    return make


@pytest.mark.parametrize(
    ("objects", "after", "reason"),
    [
        # 0.16 of 30 objects is known to ± 2 √(0.16 · 0.84 / 30) = 0.134, of 300 to ± 0.042; the gate is at 0.112.
        (1, 0.08, None),
        (1, 0.02, Reason.WORSE_IN_SHADOW),
        (10, 0.08, Reason.WORSE_IN_SHADOW),
        (10, 0.117, None),  # more than chance, less than the gate
        (10, 0.12, None),
        (10, 0.9, None),
    ],
)
def test_a_release_is_refused_for_what_chance_does_not_explain(experience, monkeypatch, objects, after, reason):
    folder, active = Path("after"), Path("before")
    figures = {folder: {"map50": after}, active: {"map50": 0.16}}
    monkeypatch.setattr(shadow, "evaluate_perception", lambda release, *_: figures[release])
    monkeypatch.setattr(shadow.release, "read_manifest", lambda folder, keys: None)
    found = ShadowTest(experience(objects), IDENTITY, gate=0.3)(folder, None, active)
    assert found.figures.pop("objects") >= 30 * objects
    assert found.figures == {"map50": after, "before.map50": 0.16}
    assert found.reason == reason


def test_experience_without_labels_says_nothing(experience):
    assert ShadowTest(experience(None), IDENTITY, gate=0.3)(Path("after"), None, Path("before")) == Shadow()
