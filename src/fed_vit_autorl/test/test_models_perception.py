"""ViTPerception: sizes, backbones, export parity, losses that learn, decoding."""

import numpy as np
import pytest
import torch

from fed_vit_autorl.edge import runtime
from fed_vit_autorl.models import detection, losses
from fed_vit_autorl.models.backbone import count_parameters
from fed_vit_autorl.models.export import export_graph, weights_of
from fed_vit_autorl.models.perception import OUTPUTS, ViTPerception

torch.set_num_threads(1)
SMALL = {"patch_size": 16, "num_classes": 0, "embed_dim": 48, "depth": 2, "num_heads": 3}


def test_the_documented_defaults_are_vit_base_at_384():
    with torch.device("meta"):
        model = ViTPerception()
    assert model.img_size == (384, 384)
    assert 85e6 < count_parameters(model) < 89e6  # ViT-B/16 has 86 M
    assert model.classifier.out_features == 1000


@pytest.mark.parametrize(
    "options", [{**SMALL, "stem": "conv"}, SMALL, {"num_classes": 10, "backbone": "vit_tiny_patch16_224"}]
)
def test_the_exported_graph_gives_what_torch_gives(options):
    torch.manual_seed(0)
    model = ViTPerception((64, 96), **options).eval()
    graph = export_graph(model, {"image": torch.zeros(1, 3, 64, 96)}, model.outputs, "perception.safetensors")
    assert len(graph) < 200_000  # no weights inside
    for parameter in model.parameters():  # new weights need no new export
        torch.nn.init.normal_(parameter, std=0.05)
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        expected = dict(zip(model.outputs, model(image), strict=True))
    engine = runtime.create(graph, weights_of(model))
    got = engine.run({"image": image.numpy()})
    assert engine.input_shapes == {"image": (1, 3, 64, 96)}
    for name in model.outputs:
        np.testing.assert_allclose(got[name], expected[name].numpy(), atol=1e-4, rtol=1e-4, err_msg=name)
    assert got["boxes"].shape == (1, 8 * 12, 4)
    assert got["scores"].shape == (1, 8 * 12, 3)
    assert got["lane"].shape == (1, 1, 16, 24)


def test_another_input_size_resamples_the_positions():
    model = ViTPerception((64, 96), **SMALL, stem="conv").eval()
    model.set_input_size((96, 160))
    boxes, *_ = model(torch.rand(1, 3, 96, 160))
    assert boxes.shape == (1, 12 * 20, 4)
    with pytest.raises(ValueError, match="multiple of the patch size"):
        model.set_input_size((100, 160))


def test_larger_patches_say_the_same_of_the_same_picture_enlarged():
    model = ViTPerception((64, 96), **SMALL).eval()
    grid = torch.rand(1, 3, 4, 6)  # of one colour within a patch, so that enlarging changes nothing
    tokens, *_ = model.see(torch.nn.functional.interpolate(grid, scale_factor=16))
    model.set_input_size((128, 192), patch_size=32)
    larger, *_ = model.see(torch.nn.functional.interpolate(grid, scale_factor=32))
    torch.testing.assert_close(larger, tokens, atol=1e-4, rtol=1e-4)
    again = ViTPerception(**model.architecture)
    again.load_state_dict(model.state_dict())
    with pytest.raises(ValueError, match="multiple of the patch size 32"):
        model.set_input_size((80, 96))
    with pytest.raises(ValueError, match="vit_tiny"):
        ViTPerception(64, backbone="vit_tiny_patch16_224").set_input_size((64, 64), patch_size=8)


@pytest.mark.parametrize(
    "options", [{"img_size": 100}, {"stem": "other"}, {"stem": "conv", "backbone": "vit_tiny_patch16_224"}]
)
def test_sizes_that_do_not_fit_are_refused(options):
    with pytest.raises(ValueError, match=r"patch size|stem"):
        ViTPerception(**{"img_size": 64, **SMALL, **options})


def targets(size=(64, 96), known=True):
    masks = torch.full((1, 3, *size), 255, dtype=torch.uint8)
    masks[:, 0, 32:], masks[:, 0, :32] = 1, 0
    return losses.Targets(
        boxes=torch.tensor([[[10.0, 20, 50, 44], [70, 10, 76, 24], [0, 0, 0, 0]]]),
        classes=torch.tensor([[0, 1, -1]]),
        ignored=torch.zeros(1, 0, 4),
        objects_known=torch.tensor([known]),
        masks=masks,
        semantic=torch.full((1, *size), 255, dtype=torch.uint8),
    )


def test_the_losses_teach_boxes_and_masks():
    torch.manual_seed(0)
    model = ViTPerception((64, 96), **SMALL, stem="conv")
    image, wanted = torch.rand(1, 3, 64, 96), targets()
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(150):
        optimizer.zero_grad()
        sum(model.loss(model.raw(image), wanted).values()).backward()
        optimizer.step()
    with torch.no_grad():
        outputs = dict(zip(OUTPUTS, (tensor.numpy() for tensor in model.eval()(image)), strict=True))
    found = detection.decode(outputs, score_threshold=0.3)
    assert sorted(found.classes.tolist()) == [0, 1]
    best = detection.iou_matrix(wanted.boxes[0, :2].numpy(), found.boxes).max(1)
    assert best.min() > 0.6
    free = outputs["free_space"][0, 0] > 0.5
    assert free[9:].mean() > 0.95
    assert free[:7].mean() < 0.05


def test_what_is_not_labelled_does_not_train():
    model = ViTPerception((64, 96), **SMALL, stem="conv")
    nothing = targets(known=False)
    nothing.masks.fill_(255)
    parts = model.loss(model.raw(torch.rand(1, 3, 64, 96)), nothing)
    assert {name: float(part.detach()) for name, part in parts.items()} == {"masks": 0.0, "semantic": 0.0}
    sum(parts.values()).backward()
    assert all(p.grad is None for p in model.detection.parameters())  # so that weight decay leaves them alone as well
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())
    assert model.masks.weight.grad.abs().max() == 0


def test_giou_of_disjoint_and_equal_boxes():
    unit = torch.tensor([0.0, 0, 1, 1])
    iou, generalised = losses.giou(torch.stack((unit, unit)), torch.stack((unit, unit + 2)))
    assert iou.tolist() == [1, 0]
    assert generalised.tolist() == pytest.approx([1, -7 / 9])  # hull 3×3, union 2: 0 - (9 - 2) / 9


def test_decoding_keeps_the_best_of_overlapping_boxes_per_class():
    boxes = np.array([[[0, 0, 10, 10], [1, 0, 11, 10], [0, 0, 10, 10], [40, 0, 30, 9], [50, 0, np.nan, 9]]], np.float32)
    scores = np.array([[[0.9, 0], [0.8, 0], [0, 0.7], [0.9, 0], [0.9, 0]]], np.float32)
    found = detection.decode({"boxes": boxes, "scores": scores})
    assert found.classes.tolist() == [0, 1]  # IoU of the first two is 9 / 11
    assert found.scores.tolist() == pytest.approx([0.9, 0.7])
    assert len(detection.decode({"boxes": boxes, "scores": scores}, iou_threshold=0.9)) == 3
    assert found.scaled(2, 3).boxes[0].tolist() == [0, 0, 20, 30]
