import errno
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fed_vit_autorl.data.codec import CorruptSample, decode, encode
from fed_vit_autorl.data.sample import CameraModel, EgoState, Labels, Sample
from fed_vit_autorl.data.store import ExperienceStore, SampleFolder, StoreFault

W, H = 64, 48


def sample(stamp: float = 1.5, seed: int = 0, labelled: bool = True) -> Sample:
    random = np.random.default_rng(seed)
    smooth = np.broadcast_to(np.linspace(0, 255, W)[None, :, None], (H, W, 3)).astype(np.uint8)
    mask = random.choice(np.array([0, 1, 255], np.uint8), (H, W))
    labels = Labels.unknown(
        H,
        W,
        boxes=np.array([[1, 2, 30.5, 40]], np.float32),
        classes=np.array([2]),
        ignored=np.array([[0, 0, 3, 3]], np.float32),
        lane=mask,
        semantic=random.integers(0, 11, (H, W)).astype(np.uint8),
        moving=(mask == 1).astype(np.uint8),
        solids=np.array([[10, 1, 0.7, 4.5, 1.8, 1.4, 0.3]], np.float32),
        risk=0.25,
    )
    return Sample(
        image=smooth.copy(),
        camera=CameraModel.nominal(W, H),
        points=random.normal(size=(50, 4)).astype(np.float32),
        base_from_lidar=np.eye(4),
        labels=labels if labelled else None,
        ego=EgoState(stamp, (1.0, 2.0, 0.0), 0.3, 8.0),
        stamp=stamp,
        source="vehicle_1",
        domain="noon",
    )


def test_what_comes_back_is_what_went_in():
    before = sample()
    after = decode(encode(before))
    assert np.abs(after.image.astype(int) - before.image).max() <= 8
    for name in ("boxes", "classes", "ignored", "free_space", "lane", "drivable", "semantic", "moving", "solids"):
        np.testing.assert_array_equal(getattr(after.labels, name), getattr(before.labels, name))
    assert after.labels.risk == 0.25
    np.testing.assert_array_equal(after.points, before.points)
    np.testing.assert_array_equal(after.camera.base_from_camera, before.camera.base_from_camera)
    assert (after.ego, after.stamp, after.source, after.domain) == (before.ego, 1.5, "vehicle_1", "noon")


def test_a_bare_sample_stays_bare():
    bare = Sample(np.zeros((H, W, 3), np.uint8), CameraModel.nominal(W, H))
    after = decode(encode(bare))
    assert (after.points, after.base_from_lidar, after.labels, after.ego) == (None, None, None, None)


ENCODED = encode(sample())


@settings(max_examples=60, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.integers(0, len(ENCODED) - 1).map(lambda n: ENCODED[:n])))
def test_bytes_that_are_no_sample_are_refused(data):
    with pytest.raises(CorruptSample):
        decode(data)


def test_the_oldest_goes_when_the_store_is_full(tmp_path):
    size = len(encode(sample()))
    store = ExperienceStore(tmp_path, capacity_bytes=3 * size + size // 2)
    for stamp in range(5):
        assert store.add(sample(float(stamp))) is None
    assert [kept.stamp for kept in store] == [2, 3, 4]
    assert store.used_bytes == sum(path.stat().st_size for path in tmp_path.iterdir()) <= store.capacity_bytes


def test_the_worthy_outlive_the_recent(tmp_path):
    store = ExperienceStore(tmp_path, capacity_bytes=2 * len(encode(sample())) + 100)
    store.add(sample(0.0), worth=0.9)
    store.add(sample(1.0), worth=0.1)
    assert store.add(sample(2.0), worth=0.5) is None
    assert [kept.stamp for kept in store] == [0, 2]
    assert store.add(sample(3.0), worth=0.1) is StoreFault.LESS_WORTH
    assert store.faults[StoreFault.LESS_WORTH] == 1


def test_a_sample_larger_than_the_store_is_refused_and_nothing_evicted(tmp_path):
    store = ExperienceStore(tmp_path, capacity_bytes=len(encode(sample())) + 10)
    store.add(sample())
    store.capacity_bytes = 100
    assert store.add(sample()) is StoreFault.TOO_LARGE
    assert len(store) == 1


@pytest.mark.parametrize(
    ("code", "fault"), [(errno.ENOSPC, StoreFault.DISK_FULL), (errno.EIO, StoreFault.WRITE_FAILED)]
)
def test_a_failing_disk_is_a_reason_and_leaves_no_half_file(tmp_path, monkeypatch, code, fault):
    store = ExperienceStore(tmp_path)
    store.add(sample(0.0))

    def fail(_descriptor):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        assert store.add(sample(1.0)) is fault
    assert len(list(tmp_path.iterdir())) == 1
    assert store.add(sample(2.0)) is None
    assert [kept.stamp for kept in store] == [0, 2]


def test_a_crash_in_mid_write_costs_only_that_sample(tmp_path):
    ExperienceStore(tmp_path).add(sample(0.0))
    (tmp_path / "000000000001-500.tmp").write_bytes(ENCODED[:100])
    (tmp_path / "000000000002-500.sample").write_bytes(ENCODED[:100])
    store = ExperienceStore(tmp_path)
    store.add(sample(3.0))
    assert [kept.stamp for kept in store] == [0, 3]
    assert store.faults[StoreFault.CORRUPT] == 1
    assert not list(tmp_path.glob("*.tmp"))


def test_a_reader_survives_what_the_writer_evicts(tmp_path):
    writer = ExperienceStore(tmp_path)
    for stamp in range(3):
        writer.add(sample(float(stamp)))
    reader = SampleFolder(tmp_path)
    keys = reader.keys()
    next(tmp_path.glob("*.sample")).unlink()
    assert len(list(reader.read(keys))) == 2
    assert reader.faults[StoreFault.EVICTED] == 1
    assert [source for source, _ in reader.egos()] == ["vehicle_1"] * 2


def test_the_split_is_stable_disjoint_and_near_the_wanted_share(tmp_path):
    for sequence in range(1600):
        (tmp_path / f"{sequence:012d}-500.sample").touch()
    folder = SampleFolder(tmp_path)
    train, held = folder.split(0.25)
    assert sorted(train + held) == sorted(folder.keys())
    assert not set(train) & set(held)
    assert 0.15 < len(held) / 1600 < 0.35
    (tmp_path / f"{1600:012d}-500.sample").touch()
    assert set(held) <= set(folder.split(0.25)[1])


def test_no_such_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        SampleFolder(tmp_path / "nowhere")
