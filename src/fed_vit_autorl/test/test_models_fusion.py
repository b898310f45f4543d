"""MultiModalViT and TemporalViT: they learn what only their second sensor or the past can tell, and export exactly."""

import numpy as np
import pytest
import torch

from fed_vit_autorl.data.lidar import FAR, padded
from fed_vit_autorl.data.sample import CameraModel, Sample, base_from_optical
from fed_vit_autorl.edge import runtime
from fed_vit_autorl.models.backbone import count_parameters
from fed_vit_autorl.models.export import export_graph, weights_of
from fed_vit_autorl.models.multimodal import MultiModalViT, PointPicture, projection_of
from fed_vit_autorl.models.packaging import build
from fed_vit_autorl.models.temporal import TemporalViT, temporal_loss

torch.set_num_threads(1)
SMALL = {"patch_size": 16, "num_classes": 0, "embed_dim": 48, "depth": 2, "num_heads": 3}


def fusion(**options):
    torch.manual_seed(0)
    model = MultiModalViT((64, 96), 64, stem="conv", **{"fusion_layer": 1, **SMALL, **options}).eval()
    for layer in model.modules():  # timm's small weights would take long to learn from two samples
        if isinstance(layer, torch.nn.Linear):
            torch.nn.init.xavier_uniform_(layer.weight)
    return model


def scan(count=20, seed=0):
    random = np.random.default_rng(seed)
    points = np.full((1, 64, 4), FAR, np.float32)
    points[0, :count] = random.uniform((1, -20, -1, 0), (60, 20, 3, 1), (count, 4))
    return torch.from_numpy(points)


def parity(model, inputs):
    names = dict(zip(model.inputs, inputs, strict=True))
    graph = export_graph(model, names, model.outputs, "weights.safetensors")
    got = runtime.create(graph, weights_of(model)).run({name: tensor.numpy() for name, tensor in names.items()})
    with torch.no_grad():
        for name, expected in zip(model.outputs, model(*inputs), strict=True):
            np.testing.assert_allclose(got[name], expected.numpy(), atol=1e-4, rtol=1e-4, err_msg=name)


def test_the_documented_defaults():
    with torch.device("meta"):
        model = MultiModalViT()
    assert (model.img_size, model.lidar_points, model.fusion_layer) == ((384, 384), 32768, 6)
    assert 85e6 < count_parameters(model) < 90e6
    video = TemporalViT()
    assert (video.num_frames, video.temporal_patch_size, video.use_3d_patches) == (8, 2, True)


@pytest.mark.parametrize("encoding", ["learned_3d", "learned"])
def test_fusion_exports_exactly_and_is_built_again(encoding):
    model = fusion(positional_encoding=encoding)
    parity(model, (torch.rand(1, 3, 64, 96), scan()))
    again = build(model.architecture, weights_of(model))
    assert isinstance(again, MultiModalViT)


def test_points_matter_their_order_and_padding_do_not():
    model = fusion()
    image, points = torch.rand(1, 3, 64, 96), scan()
    with torch.no_grad():
        seen, shuffled = model(image, points)[-1], model(image, points.flip(1))[-1]
        blind, nearly = model(image, torch.full_like(points, FAR))[-1], model(image, scan(seed=1))[-1]
    torch.testing.assert_close(seen, shuffled, atol=1e-5, rtol=1e-4)
    assert (seen - blind).abs().max() > 1e-3
    assert (seen - nearly).abs().max() > 1e-3
    assert blind.isfinite().all()


def test_impossible_fusion_is_refused():
    with pytest.raises(ValueError, match="blocks 0 to 1"):
        MultiModalViT((64, 96), 64, 2, stem="conv", **SMALL)
    with pytest.raises(ValueError, match="learned_3d"):
        fusion(positional_encoding="sine")


def test_fusion_learns_what_a_black_picture_hides():
    model = fusion(fusion_layer=0).train()
    left, right = scan(64), scan(64)
    left[0, :, 1], right[0, :, 1] = left[0, :, 1].abs(), -right[0, :, 1].abs()
    images, points = torch.zeros(2, 3, 64, 96), torch.cat((left, right))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    for _ in range(60):
        told = model.raw(images, points)["features"][:, 0]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(told, torch.tensor([0.0, 1.0]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3


def test_a_point_is_painted_where_the_camera_sees_it():
    """25 m ahead of a camera 1.2 m ahead and 1.5 m up with f = 160 px: u = 48 - 160·(y / 23.8) · 96/320, and so on."""
    camera = CameraModel(320, 192, np.array([[160.0, 0, 160], [0, 160, 96], [0, 0, 1]]), base_from_optical(1.2, 0, 1.5))
    points = np.full((1, 8, 4), FAR, np.float32)
    points[0, :4] = [[25, 8, 0.2, 1], [-25, 8, 0.2, 1], [25, 40, 0.2, 1], [0.8, 0, 1.5, 1]]  # one ahead, others unseen
    painted = PointPicture(projection_of(camera))(torch.from_numpy(points), (8, 12)).detach()
    pixels, _ = camera.resized(96, 64).project(points[0, :1, :3])
    assert pixels[0] == pytest.approx([48 - 160 * 8 / 23.8 * 96 / 320, 32 + 160 * 1.3 / 23.8 * 64 / 192])
    column, row = (pixels[0] // 8).astype(int)
    assert painted.abs().sum(1).nonzero().tolist() == [[0, row, column]]


def test_a_samples_points_become_rows_in_base_link():
    raised = np.eye(4)
    raised[2, 3] = 1.9
    points = np.array([[1, 2, 3, 0.5], [4, 5, 6, 0.7]], np.float32)
    sample = Sample(np.zeros((8, 8, 3), np.uint8), CameraModel.nominal(8, 8), points, raised)
    rows = padded(sample.returns_in_base, 3)
    np.testing.assert_allclose(rows, [[1, 2, 4.9, 0.5], [4, 5, 7.9, 0.7], [FAR] * 4], rtol=1e-6)
    blind = Sample(np.zeros((8, 8, 3), np.uint8), CameraModel.nominal(8, 8))
    assert (padded(blind.returns_in_base, 2) == FAR).all()


def test_of_too_many_points_every_few_are_taken():
    points = np.arange(40, dtype=np.float32).reshape(10, 4)
    np.testing.assert_array_equal(padded(points, 4), points[[0, 3, 6, 9]])


def video(**options):
    torch.manual_seed(0)
    return TemporalViT((32, 48), num_frames=4, embed_dim=48, depth=2, num_heads=3, **options)


@pytest.mark.parametrize("use_3d_patches", [True, False])
def test_the_temporal_model_exports_exactly(use_3d_patches):
    model = video(use_3d_patches=use_3d_patches).eval()
    motion, trajectory, features = model(torch.rand(2, 4, 3, 32, 48))
    assert (motion.shape, trajectory.shape, features.shape) == ((2, 1, 8, 12), (2, 20, 2), (2, 48))
    parity(model, (torch.rand(1, 4, 3, 32, 48),))


def moving_square(step, frames=4):
    """A square that moves `step` pixels a frame; the last frame is the same for all steps."""
    picture = torch.zeros(frames, 3, 32, 48)
    for frame in range(frames):
        left = 24 - step * (frames - 1 - frame)
        picture[frame, :, 8:16, left : left + 8] = 1
    return picture


def told_of_motion(model, frames):
    """Train `model` that of two clips the second one's square moves; what it says of (the first's, the second's)."""
    motion = torch.zeros(2, 1, 8, 12)
    motion[1, :, 2:4, 6:8] = 1
    trajectory = torch.full((2, 20, 2), torch.nan)
    optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], 3e-3)
    for _ in range(80):
        loss = sum(temporal_loss(model.raw(frames), motion, trajectory).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return model.eval()(frames)[0][:, 0, 2:4, 6:8].mean((1, 2))


def test_motion_is_seen_in_the_past_and_only_there():
    model = video()
    frames = torch.stack((moving_square(0), moving_square(4)))
    still, moving = told_of_motion(model, frames)
    assert moving > 0.7
    assert still < 0.3
    with torch.no_grad():
        frozen = model(frames[:, -1:].expand(-1, 4, -1, -1, -1))[0]
    torch.testing.assert_close(frozen[0], frozen[1])  # a single frame cannot tell the two apart


def test_detail_tells_what_moved_before_the_last_tubelet():
    """Both squares stand in the last two frames; one has moved before, and no token tells it to the motion head."""
    model = video()
    torch.nn.init.zeros_(model.pyramid.from_tokens.weight).requires_grad_(False)
    frames = torch.stack((moving_square(0), moving_square(4)))
    frames[:, 2] = frames[:, 3]
    still, moving = told_of_motion(model, frames)
    assert moving > 0.7
    assert still < 0.3


def test_what_rarely_moves_weighs_in_the_motion_loss():
    """1 pixel of 100 moves and weighs √100, the rest √(100 / 99); all are given a chance of 0.01."""
    motion = torch.zeros(1, 1, 10, 10)
    motion[0, 0, 5, 5] = 1
    raw = {"motion": torch.full((1, 1, 10, 10), float(np.log(0.01 / 0.99))), "trajectory": torch.zeros(1, 20, 2)}
    rest = np.sqrt(100 / 99)
    cross = -(10 * np.log(0.01) + 99 * rest * np.log(0.99)) / (10 + 99 * rest)
    dice = 1 - np.mean([(2 * 0.01 + 1) / (1 + 1 + 1), (2 * 99 * 0.99 + 1) / (99 + 99 + 1)])
    parts = temporal_loss(raw, motion, torch.zeros(1, 20, 2))
    assert parts["motion"].item() == pytest.approx(cross + dice, abs=1e-5)


def test_unlabelled_motion_and_unknown_waypoints_do_not_train():
    raw = video().raw(torch.rand(1, 4, 3, 32, 48))
    parts = temporal_loss(raw, torch.full((1, 1, 8, 12), 255), torch.full((1, 20, 2), torch.nan))
    assert {name: part.item() for name, part in parts.items()} == {"motion": 0, "trajectory": 0}


@pytest.mark.parametrize(
    "options", [{"num_frames": 7}, {"image_size": 100}, {"frame_patch_size": 12, "image_size": 96}]
)
def test_tubelets_that_do_not_fit_are_refused(options):
    with pytest.raises(ValueError, match="multiples"):
        TemporalViT(**{"image_size": 64, **options})
