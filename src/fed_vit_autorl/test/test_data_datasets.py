import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from fed_vit_autorl.data.classes import CYCLIST, PEDESTRIAN, UNLABELLED, VEHICLE
from fed_vit_autorl.data.datasets import DatasetFault, DatasetRefused, Purpose, by_source, dirichlet, open_dataset
from fed_vit_autorl.data.datasets.cloning import read_demonstrations
from fed_vit_autorl.data.sample import CameraModel, Sample
from fed_vit_autorl.data.store import ExperienceStore

W, H = 48, 36


def refusal(spec: str, **more) -> DatasetRefused:
    with pytest.raises(DatasetRefused) as caught:
        list(open_dataset(spec, **more))
    return caught.value


def camvid(folder: Path, names: list[str]) -> Path:
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    for name in names:
        cv2.imwrite(str(folder / "images" / f"{name}.jpg"), np.full((H, W, 3), (0, 0, 255), np.uint8))
        label = np.full((H, W), 3, np.uint8)
        label[:, : W // 2] = 11
        cv2.imwrite(str(folder / "labels" / f"{name}.png"), label)
    return folder


def test_camvid_frames_are_rgb_with_eleven_classes_and_the_rest_unlabelled(tmp_path):
    sample = open_dataset(f"camvid:{camvid(tmp_path, ['0001TP_1'])}")[0]
    assert sample.image[0, 0, 0] > 240
    assert sample.image[0, 0, 2] < 15
    assert set(np.unique(sample.labels.semantic)) == {3, UNLABELLED}
    assert set(np.unique(sample.labels.drivable)) == {1, UNLABELLED}
    assert not sample.labels.objects_known


def test_camvid_takes_its_own_split_for_each_purpose_and_drives_are_vehicles(tmp_path):
    camvid(tmp_path / "train", ["0001TP_1", "0006R0_1", "0006R0_2"])
    camvid(tmp_path / "val", ["0016E5_1"])
    train = open_dataset(f"camvid:{tmp_path}", Purpose.TRAIN)
    assert {name: len(part) for name, part in by_source(train).items()} == {"camvid/0001TP": 1, "camvid/0006R0": 2}
    assert open_dataset(f"camvid:{tmp_path}").sources == ["camvid/0016E5"]
    assert by_source(train)["camvid/0006R0"][1].source == "camvid/0006R0"


def test_a_wrong_folder_is_told_what_is_expected(tmp_path):
    assert "camvid:DIR with images/" in str(refusal(f"kamvid:{tmp_path}"))
    assert refusal(f"camvid:{tmp_path}/no").reason is DatasetFault.NO_FOLDER
    for kind in ("camvid", "kitti", "nuscenes", "store"):
        assert refusal(f"{kind}:{tmp_path}").reason is DatasetFault.LAYOUT


def test_broken_files_are_named(tmp_path):
    folder = camvid(tmp_path, ["0001TP_1"])
    cv2.imwrite(str(folder / "labels" / "0001TP_1.png"), np.zeros((H, W + 2), np.uint8))
    assert "0001TP_1.png" in str(refusal(f"camvid:{folder}"))
    (folder / "images" / "0001TP_1.jpg").write_bytes(b"no picture")
    assert refusal(f"camvid:{folder}").reason is DatasetFault.BAD_FILE


def kitti(folder: Path, **changes) -> Path:
    cv2.imwrite(str(folder / "8.png"), np.zeros((H, W, 3), np.uint8))
    np.array([[10, 0, -1.7, 0.5], [np.nan, 0, 0, 0]], np.float32).tofile(folder / "8.bin")
    frame = {
        "images": {
            "CAM2": {
                "img_path": "8.png",
                "cam2img": [[40.0, 0, 24, 4.0], [0, 40.0, 18, 0], [0, 0, 1, 0], [0, 0, 0, 1]],
                "lidar2cam": [[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]],
            }
        },
        "lidar_points": {"lidar_path": "8.bin"},
        "instances": [{"bbox": [1, 1, 9, 9], "bbox_label": label, "difficulty": 0} for label in (0, 1, 2, -1)],
    }
    info = {"metainfo": {"DATASET": "KITTI"}, "data_list": [frame | changes]}
    (folder / "info.json").write_text(json.dumps(info))
    return folder


def test_kitti_puts_points_where_its_own_projection_puts_them(tmp_path):
    sample = open_dataset(f"kitti:{kitti(tmp_path)}")[0]
    assert sample.points.shape == (1, 4)
    # P2 of KITTI's paper: u = (40 x + 24 z + 4) / z with x = 0, z = 10
    assert sample.camera.project(sample.points_in_base)[0][0] == pytest.approx(((24 * 10 + 4) / 10, 18 + 40 * 1.7 / 10))
    assert sample.points_in_base[0, 2] == pytest.approx(0.03, abs=1e-6)
    assert sample.labels.classes.tolist() == [PEDESTRIAN, CYCLIST, VEHICLE]
    assert len(sample.labels.ignored) == 1


def test_kitti_without_calibration_is_refused(tmp_path):
    assert refusal(f"kitti:{kitti(tmp_path, images={})}").reason is DatasetFault.BAD_FILE
    assert refusal(f"nuscenes:{tmp_path}").reason is DatasetFault.LAYOUT


def test_nuscenes_gives_a_sample_per_camera(tmp_path):
    cv2.imwrite(str(tmp_path / "a.jpg"), np.zeros((H, W, 3), np.uint8))
    np.array([[0, 10, 0, 255, 3]], np.float32).tofile(tmp_path / "l.bin")
    forward = [[0, 0, 1, 1.7], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]]
    left_of_north = [[0, 1, 0, 1], [-1, 0, 0, 0], [0, 0, 1, 1.8], [0, 0, 0, 1]]
    view = {"img_path": "a.jpg", "cam2img": [[40, 0, 24], [0, 40, 18], [0, 0, 1]], "cam2ego": forward, "timestamp": 5.0}
    frame = {
        "images": {"CAM_FRONT": view, "CAM_BACK": view},
        "lidar_points": {"lidar_path": "l.bin", "lidar2ego": left_of_north},
        "cam_instances": {
            "CAM_FRONT": [{"bbox": [-5, 1, 9, 9], "bbox_label": label} for label in (0, 5, 7, 8)],
            "CAM_BACK": [],
        },
    }
    (tmp_path / "info.json").write_text(json.dumps({"metainfo": {"dataset": "nuscenes"}, "data_list": [frame]}))
    dataset = open_dataset(f"nuscenes:{tmp_path}")
    assert dataset.sources == ["nuscenes/CAM_FRONT", "nuscenes/CAM_BACK"]
    assert dataset[0].points_in_base[0] == pytest.approx((11, 0, 1.8))
    assert dataset[0].points[0, 3] == pytest.approx(1)
    assert dataset[0].labels.classes.tolist() == [VEHICLE, CYCLIST, PEDESTRIAN]
    assert dataset[0].labels.boxes[0, 0] == 0
    assert len(dataset[1].labels.boxes) == 0
    assert dataset[1].labels.objects_known


def test_a_store_is_a_dataset(tmp_path):
    store = ExperienceStore(tmp_path)
    for number in range(40):
        image = np.zeros((H, W, 3), np.uint8)
        store.add(Sample(image, CameraModel.nominal(W, H), stamp=float(number), source=f"v{number % 2}"))
    train, held = (open_dataset(f"store:{tmp_path}", purpose) for purpose in Purpose)
    assert {sample.stamp for sample in train} | {sample.stamp for sample in held} == set(map(float, range(40)))
    assert set(train.sources) == {"v0", "v1"}
    assert [sample.stamp for sample in train[:3]] == [sample.stamp for sample in train][:3]


@given(st.integers(1, 8), st.sampled_from([0.05, 1.0, 100.0]), st.integers(0, 99))
def test_dirichlet_deals_every_sample_once(vehicles, alpha, seed):
    labels = np.arange(200) % 5
    parts = dirichlet(labels, vehicles, alpha, seed, least=3)
    assert sorted(np.concatenate(parts)) == list(range(200))
    assert min(map(len, parts)) >= 3
    assert all((a == b).all() for a, b in zip(parts, dirichlet(labels, vehicles, alpha, seed, least=3), strict=True))


def test_a_small_alpha_is_uneven_and_a_large_one_even():
    labels = np.arange(2000) % 10

    def spread(alpha):
        parts = dirichlet(labels, 5, alpha, seed=0)
        return np.mean([np.bincount(labels[part], minlength=10).std() for part in parts])

    assert spread(1000.0) < 3 < spread(0.1)
    with pytest.raises(ValueError, match="3 samples"):
        dirichlet([0, 1, 2], 4, 1.0, 0)


CONTROL = """std_msgs/Header header
float32 throttle
float32 steer
float32 brake
bool hand_brake
bool reverse
int32 gear
bool manual_gear_shift
"""


def bag(path: Path, steers: list[float], picture: bytes) -> Path:
    types = get_typestore(Stores.ROS2_JAZZY)
    types.register(get_types_from_msg(CONTROL, "carla_msgs/msg/CarlaEgoVehicleControl"))
    header_type, time_type = (types.types[f"{n}"] for n in ("std_msgs/msg/Header", "builtin_interfaces/msg/Time"))
    image_type = types.types["sensor_msgs/msg/CompressedImage"]
    control_type = types.types["carla_msgs/msg/CarlaEgoVehicleControl"]
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        images = writer.add_connection("/camera/front/image_raw/compressed", image_type.__msgtype__, typestore=types)
        controls = writer.add_connection("/vehicle/control", control_type.__msgtype__, typestore=types)
        for number, steer in enumerate(steers):
            stamp = 10**9 + number * 250_000_000
            header = header_type(time_type(0, stamp), "camera")
            image = image_type(header, "jpeg", np.frombuffer(picture, np.uint8))
            command = control_type(header, 0.4, steer, 0.0, False, False, 1, False)
            writer.write(images, stamp, types.serialize_cdr(image, image_type.__msgtype__))
            if number < 3:
                writer.write(controls, stamp + 1_000_000, types.serialize_cdr(command, control_type.__msgtype__))
    return path


def test_a_bag_gives_the_pictures_that_have_a_command_positive_left(tmp_path):
    jpeg = cv2.imencode(".jpg", np.full((H, W, 3), (255, 0, 0), np.uint8))[1].tobytes()
    found = list(read_demonstrations(bag(tmp_path / "bag", [0.5, -0.25, 0.0, 0.1], jpeg)))
    assert [one.steering for one in found] == [-0.5, 0.25, 0]
    assert found[0].throttle == pytest.approx(0.4)
    assert found[0].sample.image[0, 0, 2] > 240
    assert found[1].sample.stamp == pytest.approx(1.25)


def test_a_bag_without_the_topic_or_no_bag_is_said(tmp_path):
    jpeg = cv2.imencode(".jpg", np.zeros((H, W, 3), np.uint8))[1].tobytes()
    path = bag(tmp_path / "bag", [0.0], jpeg)
    with pytest.raises(DatasetRefused, match="no messages on /front"):
        list(read_demonstrations(path, image_topic="/front"))
    with pytest.raises(DatasetRefused, match="not a readable rosbag2"):
        list(read_demonstrations(tmp_path))
    with pytest.raises(DatasetRefused, match="does not decode"):
        list(read_demonstrations(bag(tmp_path / "bag2", [0.0], b"garbage")))
