"""ROS messages to the library's arrays, each checked before it is used."""

import math
from enum import StrEnum

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, Quaternion
from nav_msgs.msg import Odometry
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField

from fed_vit_autorl.data.sample import CameraModel, EgoState
from fed_vit_common.node import InputRefused

MAX_IMAGE_PIXELS = 1 << 25
MAX_CLOUD_POINTS = 1 << 20


class InputReason(StrEnum):
    """Why a message is not used."""

    IMAGE_EMPTY = "image_empty"
    IMAGE_TOO_LARGE = "image_too_large"
    IMAGE_TRUNCATED = "image_truncated"
    IMAGE_ENCODING = "image_encoding"
    CAMERA_INFO_INVALID = "camera_info_invalid"
    CLOUD_LAYOUT = "cloud_layout"
    CLOUD_TRUNCATED = "cloud_truncated"
    CLOUD_TOO_LARGE = "cloud_too_large"
    CLOUD_NOT_FINITE = "cloud_not_finite"
    ODOMETRY_NOT_FINITE = "odometry_not_finite"
    QUATERNION_INVALID = "quaternion_invalid"


# How many bytes a pixel has, and how it becomes RGB; None where it is RGB already. These are cv_bridge's 8-bit ones and
# mean the same: it is not everywhere. OpenCV names a Bayer pattern by its second row's second and third pixel.
ENCODINGS: dict[str, tuple[int, int | None]] = {
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
    "8UC1": (1, cv2.COLOR_GRAY2RGB),
    "8UC3": (3, cv2.COLOR_BGR2RGB),
    "bayer_rggb8": (1, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr8": (1, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg8": (1, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg8": (1, cv2.COLOR_BayerGB2RGB),
    "yuv422": (2, cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": (2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": (2, cv2.COLOR_YUV2RGB_YUY2),
    "yuyv": (2, cv2.COLOR_YUV2RGB_YUY2),
}


def seconds(stamp: Time) -> float:
    """A ROS stamp in seconds."""
    return stamp.sec + stamp.nanosec * 1e-9


def stamp_of(value: float) -> Time:
    """Seconds as a ROS stamp, rounded to nanoseconds."""
    whole, nanoseconds = divmod(round(value * 1e9), 1_000_000_000)
    return Time(sec=whole, nanosec=nanoseconds)


def rgb_image(message: Image) -> NDArray[np.uint8]:
    """The image as RGB (H, W, 3); a view of the message where it is rgb8 without row padding, else one copy.

    Raises:
        InputRefused: empty, truncated, too large, an encoding that is not an 8-bit colour or grey image or does not go
            with the width.
    """
    height, width, step = message.height, message.width, message.step
    if height == 0 or width == 0:
        raise InputRefused(InputReason.IMAGE_EMPTY, f"{width}x{height}")
    if height * width > MAX_IMAGE_PIXELS:
        raise InputRefused(InputReason.IMAGE_TOO_LARGE, f"{width}x{height}")
    if message.encoding not in ENCODINGS:
        raise InputRefused(InputReason.IMAGE_ENCODING, f"{message.encoding!r}; known: {', '.join(ENCODINGS)}")
    channels, conversion = ENCODINGS[message.encoding]
    if step < width * channels or len(message.data) < height * step:
        found = f"{len(message.data)} bytes, step {step}, for {width}x{height} {message.encoding}"
        raise InputRefused(InputReason.IMAGE_TRUNCATED, found)
    rows = np.frombuffer(message.data, np.uint8, height * step).reshape(height, step)
    pixels = rows[:, : width * channels].reshape(height, width, channels)
    if conversion is None:
        return pixels
    try:
        return cv2.cvtColor(pixels, conversion)
    except cv2.error as error:
        raise InputRefused(InputReason.IMAGE_ENCODING, f"{width}x{height} {message.encoding}") from error


def camera_model(message: CameraInfo, base_from_camera: NDArray[np.float64]) -> CameraModel:
    """The camera of a CameraInfo (distortion is taken as corrected).

    Raises:
        InputRefused: its matrix is not that of a pinhole camera.
    """
    try:
        return CameraModel(message.width, message.height, np.array(message.k).reshape(3, 3), base_from_camera)
    except ValueError as error:
        raise InputRefused(InputReason.CAMERA_INFO_INVALID, str(error)) from error


def points(message: PointCloud2) -> NDArray[np.float32]:
    """The cloud as float32 (N, 4): x, y, z [m] in the sensor's frame and intensity (0 where it has none).

    NaN points mean "no return" in many drivers and are left out; a cloud of nothing else is refused.

    Raises:
        InputRefused: fields missing or of another type, truncated, too large, or not one finite point in it.
    """
    count = message.width * message.height
    if count > MAX_CLOUD_POINTS:
        raise InputRefused(InputReason.CLOUD_TOO_LARGE, f"{count} points")
    offsets = {field.name: field.offset for field in message.fields if field.datatype == PointField.FLOAT32}
    if message.is_bigendian or not {"x", "y", "z"} <= offsets.keys():
        raise InputRefused(InputReason.CLOUD_LAYOUT, "expected little-endian float32 fields x, y and z")
    if max(offsets.values()) + 4 > message.point_step:
        raise InputRefused(InputReason.CLOUD_LAYOUT, f"fields beyond the point step of {message.point_step}")
    if len(message.data) < count * message.point_step:
        raise InputRefused(InputReason.CLOUD_TRUNCATED, f"{len(message.data)} bytes for {count} points")
    if count == 0:
        return np.zeros((0, 4), np.float32)
    names = [name for name in ("x", "y", "z", "intensity") if name in offsets]
    layout = np.dtype(
        {
            "names": names,
            "formats": ["<f4"] * len(names),
            "offsets": [offsets[name] for name in names],
            "itemsize": message.point_step,
        }
    )
    records = np.frombuffer(message.data, layout, count)
    cloud = np.zeros((count, 4), np.float32)
    for column, name in enumerate(names):
        cloud[:, column] = records[name]
    finite = np.isfinite(cloud).all(axis=1)
    if not finite.any():
        raise InputRefused(InputReason.CLOUD_NOT_FINITE, f"none of {count} points is finite")
    return cloud if finite.all() else cloud[finite]


def yaw_of(quaternion: Quaternion) -> float:
    """Rotation about z [rad].

    Raises:
        InputRefused: the quaternion is not of unit length.
    """
    q = (quaternion.x, quaternion.y, quaternion.z, quaternion.w)
    if not abs(math.hypot(*q) - 1.0) < 1e-2:
        raise InputRefused(InputReason.QUATERNION_INVALID, str(q))
    x, y, z, w = q
    return math.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))


def quaternion_of(yaw: float) -> Quaternion:
    """Rotation about z by ``yaw`` [rad]."""
    return Quaternion(x=0.0, y=0.0, z=math.sin(yaw / 2), w=math.cos(yaw / 2))


def ego_state(message: Odometry) -> EgoState:
    """The vehicle's motion from its odometry (pose in the odometry frame, twist in ``base_link``, REP-105).

    Raises:
        InputRefused: a value is NaN or infinite, or the quaternion is not of unit length.
    """
    position, twist = message.pose.pose.position, message.twist.twist
    try:
        return EgoState(
            stamp=seconds(message.header.stamp),
            position=(position.x, position.y, position.z),
            yaw=yaw_of(message.pose.pose.orientation),
            speed=twist.linear.x,
            yaw_rate=twist.angular.z,
        )
    except InputRefused:
        raise
    except ValueError as error:
        raise InputRefused(InputReason.ODOMETRY_NOT_FINITE, str(error)) from error


def path_points(path: NDArray) -> list[Point]:
    """An (N, 2) or (N, 3) path [m] as ROS points."""
    return [Point(x=float(row[0]), y=float(row[1]), z=float(row[2]) if len(row) > 2 else 0.0) for row in path]


def path_array(path: list[Point]) -> NDArray[np.float64]:
    """ROS points as (N, 2) x, y [m]."""
    return np.array([(point.x, point.y) for point in path], np.float64).reshape(-1, 2)
