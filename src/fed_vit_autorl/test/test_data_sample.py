import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fed_vit_autorl.data.sample import (
    CameraModel,
    EgoState,
    Labels,
    Sample,
    SampleFault,
    SampleRefused,
    base_from_optical,
    track_in_base,
)

W, H = 320, 192
CAMERA = CameraModel.nominal(W, H)


def image() -> np.ndarray:
    return np.zeros((H, W, 3), np.uint8)


def refused(build) -> SampleFault:
    with pytest.raises(SampleRefused) as caught:
        build()
    return caught.value.reason


def test_a_point_ahead_on_the_cameras_axis_lands_in_the_middle_and_left_is_left():
    pixels, depth = CAMERA.project(np.array([[10.0, 0, 1.4], [10, 2, 1.4], [10, 0, 0]]))
    assert pixels[0] == pytest.approx((160, 96))
    assert depth[0] == pytest.approx(10)
    assert pixels[1, 0] < 160
    assert pixels[1, 1] == pytest.approx(96)
    focal = 160 / np.tan(0.6)
    assert pixels[2] == pytest.approx((160, 96 + focal * 1.4 / 10))


def test_a_camera_pitched_down_sees_the_road_in_its_middle():
    camera = CameraModel(W, H, CAMERA.intrinsics, base_from_optical(0, 0, 1.0, np.pi / 4))
    assert camera.project(np.array([[1.0, 0, 0]]))[0][0] == pytest.approx((160, 96))


@given(st.floats(2, 60), st.floats(-10, 10), st.floats(0, 2), st.integers(0, 50), st.integers(0, 50))
def test_resizing_and_cropping_move_pixels_as_they_move_the_image(x, y, z, left, top):
    point = np.array([[x, y, z]])
    pixel = CAMERA.project(point)[0][0]
    assert CAMERA.resized(640, 96).project(point)[0][0] == pytest.approx(pixel * (2, 0.5))
    assert CAMERA.cropped(left, top, 200, 100).project(point)[0][0] == pytest.approx(pixel - (left, top))


def test_track_as_seen_from_the_vehicle():
    here = EgoState(0.0, (10.0, 5.0, 0.0), np.pi / 2, 5.0)
    ahead = EgoState(1.0, (10.0, 15.0, 0.0), np.pi / 2 + 0.1, 5.0)
    left = EgoState(1.0, (8.0, 5.0, 0.0), -np.pi, 5.0)
    assert track_in_base(here, [ahead, left]) == pytest.approx(np.array([[10, 0, 0.1], [0, 2, np.pi / 2]]))
    assert here.map_from_base @ (10, 0, 0, 1) == pytest.approx((10, 15, 0, 1))


def test_every_broken_part_is_refused_with_its_reason():
    nan_points = np.full((3, 4), np.nan, np.float32)
    points = np.zeros((3, 4), np.float32)
    box = np.array([[5, 5, 9, 9]], np.float32)
    mask = np.zeros((H, W), np.uint8)
    cases = {
        SampleFault.IMAGE_SHAPE: lambda: Sample(np.zeros((H, W - 1, 3), np.uint8), CAMERA),
        SampleFault.IMAGE_TYPE: lambda: Sample(image().astype(np.float32), CAMERA),
        SampleFault.STAMP: lambda: Sample(image(), CAMERA, stamp=float("nan")),
        SampleFault.POINTS_NOT_FINITE: lambda: Sample(image(), CAMERA, nan_points, np.eye(4)),
        SampleFault.POINTS_SHAPE: lambda: Sample(image(), CAMERA, points[:, :3], np.eye(4)),
        SampleFault.POINTS_WITHOUT_TRANSFORM: lambda: Sample(image(), CAMERA, points),
        SampleFault.TRANSFORM: lambda: Sample(image(), CAMERA, points, 2 * np.eye(4)),
        SampleFault.CAMERA_SIZE: lambda: CameraModel(0, H, np.eye(3), np.eye(4)),
        SampleFault.CAMERA_INTRINSICS: lambda: CameraModel(W, H, -np.eye(3), np.eye(4)),
        SampleFault.EGO_NOT_FINITE: lambda: EgoState(0.0, (0, 0, 0), float("inf"), 0.0),
        SampleFault.BOXES_ORDER: lambda: Labels.unknown(H, W, boxes=box[:, ::-1].copy(), classes=np.zeros(1, np.int64)),
        SampleFault.BOXES_SHAPE: lambda: Labels.unknown(H, W, boxes=box, classes=np.zeros(2, np.int64)),
        SampleFault.BOXES_NOT_FINITE: lambda: Labels.unknown(H, W, boxes=box * np.nan, classes=np.zeros(1, np.int64)),
        SampleFault.CLASS_UNKNOWN: lambda: Labels.unknown(H, W, boxes=box, classes=np.full(1, 3)),
        SampleFault.MASK_VALUE: lambda: Labels.unknown(H, W, lane=mask + np.uint8(2)),
        SampleFault.RISK: lambda: Labels.unknown(H, W, risk=1.1),
        SampleFault.MASK_SHAPE: lambda: Labels.unknown(H, W, lane=mask[:-1]),
    }
    assert set(cases) == set(SampleFault)
    for reason, build in cases.items():
        assert refused(build) == reason


def test_labels_of_another_size_than_the_image_are_refused():
    assert refused(lambda: Sample(image(), CAMERA, labels=Labels.unknown(H, W + 4))) == SampleFault.MASK_SHAPE


def test_unknown_labels_do_not_claim_an_empty_street():
    assert not Labels.unknown(H, W).objects_known
    assert Labels.unknown(H, W, boxes=np.zeros((0, 4), np.float32)).objects_known
