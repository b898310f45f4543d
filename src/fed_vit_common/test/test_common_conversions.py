"""Messages become the library's arrays, and what can't be used is refused with its reason."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nav_msgs.msg import Odometry
from sensor_msgs.msg import Image, PointCloud2, PointField

from fed_vit_common.conversions import (
    InputReason,
    ego_state,
    points,
    quaternion_of,
    rgb_image,
    seconds,
    stamp_of,
    yaw_of,
)
from fed_vit_common.node import InputRefused


def image(encoding: str, pixel: list[int], height: int = 2, width: int = 3, padding: int = 0) -> Image:
    row = pixel * width + [0] * padding
    return Image(height=height, width=width, encoding=encoding, step=len(row), data=bytes(row * height))


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize(
    ("encoding", "pixel", "expected"),
    [
        ("rgb8", [10, 20, 30], [10, 20, 30]),
        ("bgr8", [30, 20, 10], [10, 20, 30]),
        ("rgba8", [10, 20, 30, 255], [10, 20, 30]),
        ("bgra8", [30, 20, 10, 255], [10, 20, 30]),
        ("mono8", [77], [77, 77, 77]),
    ],
)
def test_every_encoding_becomes_the_same_rgb(encoding, pixel, expected, padding):
    pixels = rgb_image(image(encoding, pixel, padding=padding))
    assert pixels.shape == (2, 3, 3)
    assert (pixels == expected).all()


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_a_bayer_mosaic_of_one_colour_is_that_colour(pattern):
    red_green_blue = {"r": 200, "g": 100, "b": 50}
    upper, lower = ([red_green_blue[name] for name in pair] * 4 for pair in (pattern[:2], pattern[2:]))
    message = Image(height=6, width=8, encoding=f"bayer_{pattern}8", step=8, data=bytes((upper + lower) * 3))
    assert (rgb_image(message) == [200, 100, 50]).all()


@pytest.mark.parametrize(
    ("encoding", "two"), [("yuv422", "uyvy"), ("uyvy", "uyvy"), ("yuv422_yuy2", "yuyv"), ("yuyv", "yuyv")]
)
def test_yuv_becomes_rgb_by_bt_601(encoding, two):
    """(Y, U, V) = (81, 90, 240) is pure red in the standard's 8-bit range."""
    values = {"y": 81, "u": 90, "v": 240}
    message = Image(height=2, width=4, encoding=encoding, step=8, data=bytes([values[name] for name in two] * 4))
    np.testing.assert_allclose(rgb_image(message), np.broadcast_to([255, 0, 0], (2, 4, 3)), atol=2)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (Image(height=2, width=3, encoding="yuyv", step=6, data=bytes(12)), InputReason.IMAGE_ENCODING),
        (Image(), InputReason.IMAGE_EMPTY),
        (Image(height=2, width=3, encoding="rgb8", step=9, data=bytes(17)), InputReason.IMAGE_TRUNCATED),
        (Image(height=2, width=3, encoding="rgb8", step=8, data=bytes(100)), InputReason.IMAGE_TRUNCATED),
        (Image(height=2, width=3, encoding="16UC1", step=6, data=bytes(12)), InputReason.IMAGE_ENCODING),
        (Image(height=60000, width=60000, encoding="rgb8", step=180000), InputReason.IMAGE_TOO_LARGE),
    ],
)
def test_unusable_images_are_refused(message, reason):
    with pytest.raises(InputRefused) as refused:
        rgb_image(message)
    assert refused.value.reason == reason


def cloud(array: np.ndarray, names: tuple[str, ...]) -> PointCloud2:
    fields = [PointField(name=name, offset=4 * i, datatype=PointField.FLOAT32, count=1) for i, name in enumerate(names)]
    data = array.astype("<f4").tobytes()
    return PointCloud2(height=1, width=len(array), fields=fields, point_step=4 * len(names), data=data)


@given(st.integers(0, 50), st.randoms(use_true_random=False))
def test_a_cloud_survives_the_round_trip(count, random):
    expected = np.array([[random.uniform(-99, 99) for _ in range(4)] for _ in range(count)], np.float32).reshape(-1, 4)
    np.testing.assert_array_equal(points(cloud(expected, ("x", "y", "z", "intensity"))), expected)


def test_a_cloud_without_intensity_has_zeros_and_nan_points_are_no_returns():
    result = points(cloud(np.array([[1, 2, 3], [np.nan, 0, 0]]), ("x", "y", "z")))
    np.testing.assert_array_equal(result, [[1, 2, 3, 0]])


def test_unusable_clouds_are_refused():
    good = np.ones((4, 3))
    short = cloud(good, ("x", "y", "z"))
    short.data = short.data[:-1]
    cases = {
        InputReason.CLOUD_NOT_FINITE: cloud(good * np.nan, ("x", "y", "z")),
        InputReason.CLOUD_LAYOUT: cloud(good, ("x", "y", "w")),
        InputReason.CLOUD_TRUNCATED: short,
    }
    for reason, message in cases.items():
        with pytest.raises(InputRefused) as refused:
            points(message)
        assert refused.value.reason == reason


@given(st.floats(-math.pi + 1e-6, math.pi - 1e-6))
def test_yaw_survives_the_quaternion(yaw):
    assert yaw_of(quaternion_of(yaw)) == pytest.approx(yaw, abs=1e-9)


@given(st.integers(0, 2**31 - 1), st.integers(0, 999_999))
def test_stamps_survive_to_the_microsecond(whole, micro):
    assert seconds(stamp_of(whole + micro * 1e-6)) == pytest.approx(whole + micro * 1e-6, abs=1e-6)


def test_odometry_with_a_nan_or_a_zero_quaternion_is_refused():
    message = Odometry()
    message.pose.pose.orientation.w = 0.0
    with pytest.raises(InputRefused) as refused:
        ego_state(message)
    assert refused.value.reason == InputReason.QUATERNION_INVALID
    message.pose.pose.orientation = quaternion_of(0.3)
    message.twist.twist.linear.x = 4.0
    assert ego_state(message).speed == 4.0
    message.twist.twist.linear.x = math.nan
    with pytest.raises(InputRefused) as refused:
        ego_state(message)
    assert refused.value.reason == InputReason.ODOMETRY_NOT_FINITE
