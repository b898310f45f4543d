import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fed_vit_autorl.data.augmentation import AUGMENTATIONS, CORRUPTIONS, FUSION_PROBABILITIES, Augmenter, appearance
from fed_vit_autorl.data.augmentation.geometry import crop, flip, mirror_ego, mirror_trajectory, rotate
from fed_vit_autorl.data.classes import UNLABELLED
from fed_vit_autorl.data.sample import CameraModel, EgoState, Labels, Sample, base_from_optical, track_in_base

W, H = 160, 96
CAMERA = CameraModel(
    W, H, np.array([[120.0, 0, 70], [0, 110, 44], [0, 0, 1]]), base_from_optical(1.2, 0.1, 1.4, pitch=0.05)
)
# ahead of the camera and, unrotated, well inside the image
POINT = st.tuples(st.floats(8, 30), st.floats(-1.5, 1.5), st.floats(0.5, 2))


def scene(point) -> Sample:
    """A white disc where the camera sees `point`, boxed, the same disc as free space, and the point as LiDAR."""
    u, v = CAMERA.project(np.array([point]))[0][0]
    rows, columns = np.ogrid[:H, :W]
    disc = (columns + 0.5 - u) ** 2 + (rows + 0.5 - v) ** 2 <= 36
    labels = Labels.unknown(
        H,
        W,
        boxes=np.array([[u - 6, v - 6, u + 6, v + 6]], np.float32),
        classes=np.array([1]),
        free_space=disc.astype(np.uint8),
        moving=disc.astype(np.uint8),
        solids=np.array([[*point, 4.5, 1.8, 1.4, 0.2]], np.float32),
    )
    base_from_lidar = base_from_optical(0.5, 0.2, 1.8) @ np.linalg.inv(base_from_optical(0, 0, 0))
    lidar = np.linalg.inv(base_from_lidar) @ (*point, 1)
    return Sample(
        np.repeat(disc[..., None] * np.uint8(255), 3, axis=2),
        CAMERA,
        np.array([[*lidar[:3], 1]], np.float32),
        base_from_lidar,
        labels,
        EgoState(0.0, (5.0, 3.0, 0.0), 0.4, 9.0, 0.1),
    )


def middle(mask) -> np.ndarray:
    rows, columns = np.nonzero(mask)
    return np.array([columns.mean(), rows.mean()]) + 0.5


def assert_everything_still_agrees(moved: Sample) -> None:
    """Image, mask, box and the projected LiDAR point all say the same place."""
    seen = middle(moved.image[..., 0] > 127)
    assert middle(moved.labels.free_space == 1) == pytest.approx(seen, abs=1.0)
    box = moved.labels.boxes[0]
    assert (box[:2] + box[2:]) / 2 == pytest.approx(seen, abs=1.0)
    assert moved.camera.project(moved.points_in_base)[0][0] == pytest.approx(seen, abs=1.0)
    assert middle(moved.labels.moving == 1) == pytest.approx(seen, abs=1.0)
    assert moved.camera.project(moved.labels.solids[:, :3])[0][0] == pytest.approx(seen, abs=1.0)


@settings(max_examples=40, deadline=None)
@given(POINT)
def test_a_flipped_scene_still_agrees_and_is_on_the_other_side(point):
    before = scene(point)
    after = flip(before)
    assert_everything_still_agrees(after)
    assert after.points_in_base[0] == pytest.approx(np.array(point) * (1, -1, 1), abs=1e-5)
    assert after.labels.solids[0, 6] == pytest.approx(-0.2)
    again = flip(after)
    np.testing.assert_array_equal(again.image, before.image)
    np.testing.assert_allclose(again.labels.boxes, before.labels.boxes, atol=1e-4)
    np.testing.assert_allclose(again.camera.base_from_camera, CAMERA.base_from_camera, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(POINT, st.floats(-0.3, 0.3))
def test_a_rotated_scene_still_agrees(point, angle):
    after = rotate(scene(point), angle)
    assert_everything_still_agrees(after)
    # a disc's box does not grow when it is turned
    assert after.labels.boxes[0, 2:] - after.labels.boxes[0, :2] == pytest.approx((12, 12), abs=1.5)


@settings(max_examples=40, deadline=None)
@given(POINT, st.integers(0, 15), st.integers(0, 5))
def test_a_cropped_scene_still_agrees(point, left, top):
    after = crop(scene(point), left, top, W - 20, H - 12)
    assert after.image.shape == (H, W, 3)
    assert_everything_still_agrees(after)


def test_a_camera_rolled_clockwise_sees_its_right_side_rise_and_unknown_corners():
    before = scene((10, 0, 1.4))
    right_of_centre = scene((10, -2, 1.4))
    assert middle(rotate(right_of_centre, 0.2).image[..., 0])[1] < middle(right_of_centre.image[..., 0])[1]
    assert (rotate(before, 0.2).labels.free_space == UNLABELLED).any()


def test_a_box_mostly_cut_off_is_ignored_and_one_outside_forgotten():
    labels = Labels.unknown(
        H,
        W,
        boxes=np.array([[0, 10, 20, 30], [50, 10, 70, 30], [0, 50, 15, 60]], np.float32),
        classes=np.array([0, 1, 2]),
    )
    after = crop(Sample(np.zeros((H, W, 3), np.uint8), CAMERA, labels=labels), 16, 0, W - 16, H).labels
    assert after.classes.tolist() == [1]
    assert after.ignored == pytest.approx(np.array([[0, 10, 4 * W / (W - 16), 30]]))


def test_a_mirrored_track_is_the_track_of_the_flipped_sample():
    here = EgoState(0.0, (5.0, 3.0, 0.0), 0.4, 9.0, 0.1)
    later = EgoState(1.0, (12.0, 8.0, 0.0), 0.7, 9.0, 0.1)
    before = track_in_base(here, [later])[0]
    after = track_in_base(mirror_ego(here), [mirror_ego(later)])[0]
    assert after == pytest.approx(before * (1, -1, -1))
    assert mirror_trajectory(before[:2]) == pytest.approx(after[:2])


def test_every_augmentation_and_corruption_gives_a_valid_sample_and_spares_its_input():
    before = scene((10, 0, 1.4))
    pixels = before.image.copy()
    for augmentation in (*AUGMENTATIONS.values(), *CORRUPTIONS.values()):
        after = augmentation(before, np.random.default_rng(1))
        assert after.image.shape == before.image.shape
    np.testing.assert_array_equal(before.image, pixels)


def test_fog_leaves_the_contrast_of_koschmieders_law():
    camera = CameraModel.nominal(W, H, mount_height=1.4)
    slope = 20.5 / camera.intrinsics[1, 1]  # of the ray through the middle of the 21st row below the horizon
    distance = 1.4 * np.hypot(1, slope) / slope
    column = appearance.fog(Sample(np.zeros((H, W, 3), np.uint8), camera), visibility=2 * distance).image[:, W // 2, 0]
    # half the visibility: exp(-3.912 / 2) = 14.1 %; above the horizon 2 %
    assert column[H // 2 + 20] == pytest.approx((1 - 0.1414) * 200, abs=1)
    assert column[0] == pytest.approx(0.98 * 200, abs=1)


def test_dropouts():
    before = scene((10, 0, 1.4))
    assert not appearance.camera_dropout(before).image.any()
    assert appearance.lidar_dropout(before).points is None


def test_the_augmenter_is_repeatable_and_obeys_probabilities():
    before = scene((10, 0, 1.4))
    augmenter = Augmenter(FUSION_PROBABILITIES)
    first, second = (augmenter(before, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(first.image, second.image)
    assert Augmenter({})(before, np.random.default_rng(0)) is before
    random = np.random.default_rng(0)
    drops = sum(Augmenter({"lidar_dropout": 0.05})(before, random).points is None for _ in range(2000))
    assert 60 <= drops <= 140


@pytest.mark.parametrize("wrong", [{"flop": 0.5}, {"flip": 1.5}])
def test_a_wrong_setting_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Augmenter(wrong)
