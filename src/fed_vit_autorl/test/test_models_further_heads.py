"""3D boxes, occupancy, motion and risk: their labels are geometry, they learn them, and they export exactly."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fed_vit_autorl.data.occupancy import occupancy_grid
from fed_vit_autorl.data.sample import CameraModel, Labels, Sample, base_from_optical
from fed_vit_autorl.edge import runtime
from fed_vit_autorl.models.batches import collate
from fed_vit_autorl.models.export import export_graph, weights_of
from fed_vit_autorl.models.further_heads import solid_targets, solids_of
from fed_vit_autorl.models.head_registry import CAMERA_HEADS, HEADS
from fed_vit_autorl.models.packaging import build
from fed_vit_autorl.models.perception import ViTPerception
from fed_vit_autorl.models.training import TrainingOptions, fit

torch.set_num_threads(1)
SIZE = (64, 96)
CAMERA = CameraModel(96, 64, np.array([[48.0, 0, 48], [0, 48, 32], [0, 0, 1]]), base_from_optical(1.2, 0.0, 1.5))


def everything(semantic: str = "fine_semantic"):
    """All heads, semantic classes said by the one of that name."""
    torch.manual_seed(0)
    options = {"patch_size": 16, "num_classes": 0, "embed_dim": 48, "depth": 2, "num_heads": 3, "stem": "conv"}
    return ViTPerception(
        SIZE, **options, heads=[name for name in HEADS if not name.endswith("semantic") or name == semantic]
    )


def scene(risky: bool) -> Sample:
    """A car ahead that moves and is nearly met, or an empty road."""
    image = np.full((*SIZE, 3), 90, np.uint8)
    moving = np.zeros(SIZE, np.uint8)
    boxes, solids = np.zeros((0, 4), np.float32), np.zeros((0, 7), np.float32)
    points = np.array([[30.0, y, 0.0, 0.1] for y in np.linspace(-15, 15, 60)])
    if risky:
        image[24:48, 36:60] = (200, 30, 30)
        moving[24:48, 36:60] = 1
        boxes = np.array([[36, 24, 60, 48]], np.float32)
        solids = np.array([[8, 0, 0.75, 4.5, 1.8, 1.5, 0.0]], np.float32)
        points = np.concatenate((points, [[6, y, 1.0, 0.5] for y in (-0.8, 0, 0.8)]))
    labels = Labels.unknown(
        *SIZE,
        boxes=boxes,
        classes=np.zeros(len(boxes), np.int64),
        solids=solids,
        moving=moving,
        risk=float(risky),
    )
    return Sample(image, CAMERA, points.astype(np.float32), np.eye(4), labels)


@given(st.floats(4, 60), st.floats(-3, 3), st.floats(0.3, 1.5), st.floats(-3.1, 3.1), st.floats(0.5, 2.0))
def test_a_3d_box_comes_back_from_what_the_camera_sees_of_it(x, y, z, yaw, zoom):
    solid = np.array([[x, y, z, 4.5, 1.8, 1.5, yaw]], np.float32)
    camera = CAMERA.resized(round(96 * zoom), round(64 * zoom))
    back = solids_of(solid_targets(solid, camera, SIZE), camera, SIZE)
    np.testing.assert_allclose(back[:, :6], solid[:, :6], rtol=1e-3, atol=1e-3)
    assert np.cos(back[0, 6] - solid[0, 6]) == pytest.approx(1, abs=1e-4)


def test_depth_is_learned_as_a_crop_shows_it():
    solid = np.array([[11.2, 0, 1.5, 4.5, 1.8, 1.5, 0]], np.float32)
    whole = solid_targets(solid, CAMERA, SIZE)
    crop = solid_targets(solid, CAMERA.cropped(24, 16, 48, 32), SIZE)  # twice as large: as if half as far
    assert np.exp(whole[0, 2] - crop[0, 2]) == pytest.approx(2)
    behind = solid * np.array([-1, 1, 1, 1, 1, 1, 1], np.float32)
    assert np.isnan(solid_targets(behind, CAMERA, SIZE)).all()


def test_a_scan_takes_cells_frees_those_before_and_leaves_those_behind_unknown():
    wall = np.array([[12.2, y, 1.0] for y in np.linspace(-6, 6, 200)])
    road = np.array([[42.0, 27.66, 0.0]])  # seen past the wall
    grid = occupancy_grid(np.concatenate((wall, road)))
    cells = [grid[int(x / 1.5), int((24 - y) / 1.5)] for x, y in ((6, 0), (12.2, 0), (20, 0), (30, 20), (30, -20))]
    assert cells == [0, 1, 255, 0, 255]
    assert (occupancy_grid(np.zeros((0, 3))) == 255).all()


def test_all_heads_learn_and_export_exactly():
    model = everything()
    pair = collate([scene(True), scene(False)], SIZE)

    class Same(torch.utils.data.Dataset):
        def __getitem__(self, step):
            return pair

    before = {name: value.item() for name, value in model.loss(model.raw(*pair.inputs), pair.targets).items()}
    assert {"solids", "occupancy", "motion", "risk"} <= set(before)
    fit(model, Same(), TrainingOptions(100, 2, 3e-3))
    after = {name: value.item() for name, value in model.loss(model.raw(*pair.inputs), pair.targets).items()}
    for name in ("solids", "occupancy", "motion", "risk"):
        assert after[name] < 0.5 * before[name], name
    image = pair.inputs[0][:1]
    with torch.no_grad():
        expected = dict(zip(model.outputs, model(image), strict=True))
    assert expected["risk"] > 0.5
    assert expected["occupancy"].shape == (1, 1, 32, 32)
    graph = export_graph(model, model.example, model.outputs, "perception.safetensors")
    got = runtime.create(graph, weights_of(model)).run({"image": image.numpy()})
    for name, tensor in expected.items():
        np.testing.assert_allclose(got[name], tensor.numpy(), atol=1e-4, rtol=1e-4, err_msg=name)
    assert build(model.architecture, weights_of(model)).outputs == model.outputs


def test_labels_that_nobody_has_train_nothing():
    bare = Sample(np.zeros((*SIZE, 3), np.uint8), CAMERA, labels=Labels.unknown(*SIZE))
    model, batch = everything(), collate([bare], SIZE)
    assert not batch.targets.further
    assert set(model.loss(model.raw(*batch.inputs), batch.targets)) == {"masks", "semantic"}


def test_heads_that_do_not_exist_or_must_exist_are_refused():
    for heads in ((*CAMERA_HEADS, "smell"), ("detection",), (*CAMERA_HEADS, "fine_semantic")):
        with pytest.raises(ValueError, match="heads"):
            ViTPerception(SIZE, 16, 0, 48, 1, 3, heads=heads)


def test_a_head_is_replaced_by_one_that_says_the_same_finer_and_the_rest_stays():
    model = everything("semantic").eval()
    picture = torch.rand(1, 3, *SIZE)
    before = dict(zip(model.outputs, model(picture), strict=True))
    model.replace_head("semantic", "fine_semantic")
    after = dict(zip(model.outputs, model(picture), strict=True))
    assert before["semantic"].shape[2:] == (16, 24)
    assert after["semantic"].shape[2:] == (32, 48)
    assert all(torch.equal(after[name], before[name]) for name in before if name != "semantic")
    again = ViTPerception(**model.architecture)
    again.load_state_dict(model.state_dict())
    with pytest.raises(ValueError, match="says"):
        model.replace_head("masks", "risk")
