"""Recordings: written, read back, their topics told apart, and refused with advice."""

import numpy as np
import pytest
from carla_msgs.msg import CarlaEgoVehicleControl
from fed_vit_msgs.msg import ControlCommand, RouteCommand
from geometry_msgs.msg import Point
from nav_msgs.msg import Odometry
from rosbags.highlevel import AnyReader
from sensor_msgs.msg import CompressedImage, PointCloud2
from std_msgs.msg import String

from fed_vit_common.conversions import rgb_image
from fed_vit_sim.bag import CAMERA, RECORDED_CONTROL, Bag, BagRefused


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "bgra8", "mono8", "jpeg"])
def test_any_encoding_in_either_storage_is_the_same_picture(recording, storage, encoding):
    path = recording.write([("/cam/image", recording.picture(index, encoding), index) for index in range(3)], storage)
    with Bag(path) as bag:
        assert bag.frames == 3
        images = [rgb_image(item.message()) for item in bag.messages()]
    assert all(image.shape == (64, 96, 3) for image in images)
    np.testing.assert_allclose([image.mean() for image in images], [40, 41, 42], atol=1.0)


def test_a_written_bag_carries_the_definitions_of_our_own_types(recording):
    route = RouteCommand(route_id="r", path=[Point(x=1.0), Point(x=2.0)], options=[4, 4], speed_limits=[5.0, 5.0])
    with AnyReader([recording.write([("/v/route/command", route, 0)])]) as reader:
        (item,) = reader.messages()
        message = reader.deserialize(item[2], item[0].msgtype)
    assert (message.route_id, message.path[1].x) == ("r", 2.0)


def test_topics_find_their_part_and_what_is_missing_is_named(recording):
    path = recording.write(
        [
            ("/camera/rear/image", recording.picture(0, "rgb8"), 0),
            ("/camera/front/image", recording.picture(0, "rgb8"), 0),
            ("/driver", recording.stamped(CarlaEgoVehicleControl(steer=0.5), 0), 0),
            ("/chatter", String(data="?"), 0),
            ("/ego/odometry", recording.stamped(Odometry(), 0), 0),
        ]
    )
    with Bag(path) as bag:
        assert bag.topics == {CAMERA: "/camera/front/image", "odometry": "/ego/odometry", RECORDED_CONTROL: "/driver"}
        assert bag.missing == ["camera/camera_info", "lidar/points", "traffic_lights", "route/command"]
        assert {item.part for item in bag.messages()} == set(bag.topics)


def test_a_mapping_overrides_the_choice(recording):
    path = recording.write(
        [("/camera/front/image", recording.picture(0, "rgb8"), 0), ("/other", recording.picture(0, "jpeg"), 0)]
    )
    with Bag(path, {CAMERA: "/other"}) as bag:
        assert bag.topics[CAMERA] == "/other"


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        ({"camera/imgae": "/cam"}, "unknown_part.*camera/image"),
        ({CAMERA: "/nowhere"}, r"unknown_topic.*/cam \(sensor_msgs/Image\)"),
        ({"lidar/points": "/cam"}, "wrong_type.*takes sensor_msgs/PointCloud2"),
    ],
)
def test_a_wrong_mapping_is_refused_with_what_there_is(recording, mapping, said):
    path = recording.write([("/cam", recording.picture(0, "rgb8"), 0)])
    with pytest.raises(BagRefused, match=said), Bag(path, mapping):
        pass


def test_a_recording_without_a_camera_is_refused_with_what_it_has(recording):
    path = recording.write(
        [("/scan", recording.stamped(PointCloud2(), 0), 0), ("/cmd", recording.stamped(ControlCommand(), 0), 0)]
    )
    with pytest.raises(BagRefused, match=r"/scan \(sensor_msgs/PointCloud2\).*--map camera/image:=TOPIC"), Bag(path):
        pass


def test_what_is_no_recording_is_refused(tmp_path):
    (tmp_path / "drive.mcap").write_bytes(b"not a bag")
    with pytest.raises(BagRefused, match=r"drive\.mcap"), Bag(tmp_path / "drive.mcap"):
        pass


def test_a_broken_picture_is_an_error_of_that_picture_alone(recording):
    broken = recording.stamped(CompressedImage(format="jpeg", data=b"\xff\xd8 no picture"), 0)
    with Bag(recording.write([("/cam", broken, 0), ("/cam", recording.picture(1, "jpeg"), 1)])) as bag:
        first, second = bag.messages()
        with pytest.raises(ValueError, match="decoded"):
            first.message()
        assert rgb_image(second.message()).shape == (64, 96, 3)
