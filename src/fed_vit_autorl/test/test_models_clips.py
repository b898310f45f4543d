"""Clips are consecutive samples of one vehicle; their path is what it drove afterwards."""

import numpy as np
import pytest
import torch

from fed_vit_autorl.data.sample import CameraModel, EgoState, Labels, Sample
from fed_vit_autorl.data.store import ExperienceStore
from fed_vit_autorl.models.clips import ClipBatches, Clips, collate
from fed_vit_autorl.models.temporal import TemporalViT
from fed_vit_autorl.models.training import TrainingOptions, fit

SIZE = (32, 48)


def sample(number, source, stamp):
    """The vehicle drives north at 10 m/s; what moves is in the picture's left half."""
    moving = np.zeros(SIZE, np.uint8)
    moving[:, :24] = 1
    return Sample(
        np.full((*SIZE, 3), number, np.uint8),
        CameraModel.nominal(SIZE[1], SIZE[0]),
        labels=Labels.unknown(*SIZE, moving=moving),
        ego=EgoState(stamp, (3.0, 10 * stamp, 0.0), np.pi / 2, 10.0),
        stamp=stamp,
        source=source,
    )


@pytest.fixture
def folder(tmp_path):
    store = ExperienceStore(tmp_path / "samples")
    for number, stamp in enumerate((0.2, 0.4, 0.6, 0.8, 1.0, 3.0, 3.2)):  # a gap of two seconds
        for source in ("ego_0", "ego_1"):
            store.add(sample(number, source, stamp))
    return store


def test_a_clip_is_of_one_vehicle_and_has_no_gap(folder):
    assert len(Clips([folder], 3, 0.2, SIZE)) == 2 * 3
    assert len(Clips([folder], 2, 0.2, SIZE)) == 2 * (4 + 1)
    assert len(Clips([folder], 2, 0.5, SIZE)) == 0
    frames, _, _ = Clips([folder], 3, 0.2, SIZE).get(0)
    np.testing.assert_allclose(frames.mean((1, 2, 3)), [0, 1, 2], atol=1)


def test_models_of_fewer_frames_can_be_measured_on_the_same_last_pictures(folder):
    long, short = Clips([folder], 3, 0.2, SIZE), Clips([folder], 1, 0.2, SIZE, after=3)
    assert len(long) == len(short) == 2 * 3
    for index in range(6):
        np.testing.assert_array_equal(long.get(index)[0][-1], short.get(index)[0][-1])


def test_the_path_is_what_is_driven_next_and_unknown_beyond(folder):
    _, motion, trajectory = Clips([folder], 3, 0.2, SIZE).get(0)
    np.testing.assert_allclose(trajectory[:2], [[2, 0], [4, 0]], atol=1e-6)  # 10 m/s, straight on
    assert np.isnan(trajectory[2:]).all()
    assert motion[:, :24].all()
    assert not motion[:, 24:].any()


def test_mirrored_clips_move_on_the_other_side(folder):
    batches = ClipBatches(Clips([folder], 3, 0.2, SIZE), 32, seed=0)
    left = batches[0].targets.motion[:, 0, :, 0]
    assert {0, 1} == set(left.unique().tolist())


def test_a_temporal_model_trains_on_clips(folder):
    torch.manual_seed(0)
    model = TemporalViT(SIZE, num_frames=2, embed_dim=48, depth=1, num_heads=3)
    clips = Clips([folder], 2, 0.2, SIZE)
    first = sum(model.loss(model.raw(*collate([clips.get(0)]).inputs), collate([clips.get(0)]).targets).values())
    parts = fit(model, ClipBatches(clips, 8, 0), TrainingOptions(40, 8, 3e-3))
    assert sum(parts.values()) < 0.5 * first.item()


def test_samples_too_far_apart_are_refused(folder):
    with pytest.raises(ValueError, match="too far apart"):
        ClipBatches(Clips([folder], 2, 0.5, SIZE), 4, 0)
