"""Pruning: outputs keep their shapes, the schedule stops where it should, pruned models can be built again."""

import numpy as np
import pytest
import torch

from fed_vit_autorl.models import pruning
from fed_vit_autorl.models.backbone import count_parameters
from fed_vit_autorl.models.distillation import Distilled, distance
from fed_vit_autorl.models.export import weights_of
from fed_vit_autorl.models.losses import Targets
from fed_vit_autorl.models.packaging import build
from fed_vit_autorl.models.perception import ViTPerception
from fed_vit_autorl.models.pruning import PruningEnd, VehicleModelPruner, pruned_copy

torch.set_num_threads(1)


def small(seed=0):
    torch.manual_seed(seed)
    return ViTPerception((64, 96), 16, 0, 48, 2, 3, stem="conv").eval()


def test_a_pruned_model_is_smaller_and_speaks_the_same_language():
    model = small()
    pruned = pruned_copy(model, 0.5)
    assert count_parameters(pruned.backbone.vit.blocks) < 0.7 * count_parameters(model.backbone.vit.blocks)
    image = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        for whole, part in zip(model(image), pruned(image), strict=True):
            assert whole.shape == part.shape


def test_a_pruned_model_is_built_again_from_its_architecture_and_weights():
    pruned = pruned_copy(small(), 0.5)
    again = build(pruned.architecture, weights_of(pruned)).eval()
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        for first, second in zip(pruned(image), again(image), strict=True):
            torch.testing.assert_close(first, second)
    with pytest.raises(ValueError, match="dimensions"):
        build(pruned.architecture, weights_of(pruned) | {"pyramid.from_tokens.weight": np.zeros(3, np.float32)})


@pytest.fixture
def speed(monkeypatch):
    """Latency in proportion to the blocks' size: 100 ms for the whole model."""

    def size(model):
        return count_parameters(model.backbone.vit.blocks)

    monkeypatch.setattr(pruning, "latency_ms", lambda model, device="cpu": 100 * size(model) / size(small()))


def test_pruning_stops_as_soon_as_the_model_is_fast_enough(speed):
    tuned = []
    pruner = VehicleModelPruner(small(), target_latency=70.0, steps=4)
    result = pruner.prune(lambda model, epochs: tuned.append(epochs), lambda model: 0.8)
    assert result.end == PruningEnd.TARGET_REACHED
    assert result.latency_ms <= 70
    # s_1 of four steps to 0.8: 0.8 · (1 - 0.75³) = 0.4625, enough for 70 %
    assert result.ratio == pytest.approx(0.4625)
    assert tuned == [5]


def test_accuracy_that_would_be_lost_ends_the_pruning_with_the_last_good_model(speed):
    figures = iter([0.8, 0.76, 0.70])  # 0.76 is 95 % of 0.8, 0.70 is less than 90 %
    pruner = VehicleModelPruner(small(), target_latency=1.0, min_accuracy=0.9)
    result = pruner.prune(lambda model, epochs: None, lambda model: next(figures))
    assert result.end == PruningEnd.ACCURACY_LOST
    assert result.accuracy == pytest.approx(0.95)


def test_a_target_out_of_reach_is_said(speed):
    result = VehicleModelPruner(small(), target_latency=1.0, steps=2).prune(lambda *_: None, lambda model: 1.0)
    assert result.end == PruningEnd.NOTHING_LEFT
    assert result.latency_ms > 1.0


def test_latency_is_measured_at_the_asked_size():
    pruner = VehicleModelPruner(small())
    assert 0 < pruner.measure_latency((32, 48)) < 1000
    assert pruner.model.img_size == (64, 96)
    with pytest.raises(ValueError, match="min_accuracy"):
        VehicleModelPruner(small(), min_accuracy=1.5)


def test_only_the_blocks_become_narrower():
    model = small()  # 48 wide: 192 in the hidden layers, 3 × 48 into attention
    pruned = dict(pruned_copy(model, 0.5).named_parameters())
    changed = {
        name: tuple(pruned[name].shape) for name, one in model.named_parameters() if one.shape != pruned[name].shape
    }
    assert {name.split(".")[4] for name in changed} == {"mlp", "attn"}
    assert changed["backbone.vit.blocks.0.mlp.fc1.weight"] == (96, 48)


def test_a_student_learns_what_its_teacher_sees_where_nothing_is_labelled():
    teacher, student = small(), pruned_copy(small(seed=1), 0.5).train()
    taught = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    distilled = Distilled(student, teacher)
    image = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        assert sum(distance(teacher.raw(image), teacher.raw(image)).values()) == pytest.approx(0, abs=1e-6)
    targets = Targets(
        boxes=torch.zeros(2, 1, 4),
        classes=torch.full((2, 1), -1),
        ignored=torch.zeros(2, 1, 4),
        objects_known=torch.zeros(2, dtype=torch.bool),
        masks=torch.full((2, 3, 64, 96), 255, dtype=torch.uint8),
        semantic=torch.full((2, 64, 96), 255, dtype=torch.uint8),
    )
    optimizer = torch.optim.Adam(distilled.parameters(), 1e-3)
    losses = []
    for _ in range(30):
        parts = distilled.loss(distilled.raw(image), targets)
        losses.append(sum(parts[name].item() for name in parts if name.startswith("taught_")))
        optimizer.zero_grad()
        sum(parts.values()).backward()
        optimizer.step()
    assert losses[-1] < 0.5 * losses[0]
    for name, tensor in teacher.state_dict().items():
        torch.testing.assert_close(tensor, taught[name])
