"""Training: the same steps give the same model, interrupted or not."""

import numpy as np
import pytest
import safetensors.numpy
import torch

from fed_vit_autorl.data.sample import CameraModel, Labels, Sample
from fed_vit_autorl.models import training
from fed_vit_autorl.models.batches import Batches, collate, repeat_factors
from fed_vit_autorl.models.export import weights_of
from fed_vit_autorl.models.packaging import build, perception_files
from fed_vit_autorl.models.perception import ViTPerception
from fed_vit_autorl.models.training import Progress, Stretch, TrainingOptions, fit

torch.set_num_threads(1)
SIZE = (64, 96)


def scene(seed, size=SIZE, **labels):
    """A bright car on a grey road; free space is everything below the middle but the car."""
    random = np.random.default_rng(seed)
    height, width = size
    image = random.integers(0, 60, (height, width, 3), np.uint8)
    image[height // 2 :] += 80
    left = int(random.integers(0, width // 2))
    box = np.array([[left, height // 2, left + width // 3, height * 3 // 4]], np.float32)
    image[height // 2 : height * 3 // 4, left : left + width // 3] = (250, 30, 30)
    free = np.zeros(size, np.uint8)
    free[height // 2 :] = 1
    free[height // 2 : height * 3 // 4, left : left + width // 3] = 0
    given = {"boxes": box, "classes": np.zeros(1, np.int64), "free_space": free} | labels
    return Sample(image, CameraModel.nominal(width, height), labels=Labels.unknown(height, width, **given))


def small():
    torch.manual_seed(0)
    return ViTPerception(SIZE, 16, 0, 24, 1, 2, stem="conv", head_width=16)


def batches(**options):
    return Batches(scene, 50, SIZE, 4, **options)


def test_samples_of_any_size_make_a_batch():
    none = Labels.unknown(32, 48)
    mixed = [
        scene(1),
        scene(1, (128, 192)),
        Sample(np.zeros((32, 48, 3), np.uint8), CameraModel.nominal(48, 32), labels=none),
    ]
    batch = collate(mixed, SIZE)
    assert batch.inputs[0].shape == (3, 3, *SIZE)
    targets = batch.targets
    assert targets.classes.tolist() == [[0], [0], [-1]]
    assert targets.objects_known.tolist() == [True, True, False]
    assert targets.masks.shape == (3, 3, *SIZE)
    assert (targets.masks[2] == 255).all()
    half = collate([scene(1, (128, 192))], SIZE).targets
    np.testing.assert_allclose(half.boxes[0, 0], np.array(scene(1, (128, 192)).labels.boxes[0]) / 2)


def test_training_lowers_the_loss_and_tells_its_parts():
    seen = []
    fit(small(), batches(), TrainingOptions(40, 4, 3e-3), Progress(lambda step, parts: seen.append(parts)))
    assert len(seen) == 40
    assert set(seen[0]) == {"class", "box", "masks", "semantic"}
    first, last = (sum(sum(parts.values()) for parts in half) for half in (seen[:5], seen[-5:]))
    assert last < 0.8 * first


def test_an_interrupted_training_goes_on_as_if_it_had_not_stopped(tmp_path, monkeypatch):
    options = TrainingOptions(4, 4, 1e-3)
    whole = small()
    fit(whole, batches(), options)

    def stop(step, parts):
        if step == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 2)
    with pytest.raises(KeyboardInterrupt):
        fit(small(), batches(), options, Progress(stop), tmp_path / "checkpoint.pt")
    resumed, steps = small(), []
    fit(resumed, batches(), options, Progress(lambda step, parts: steps.append(step)), tmp_path / "checkpoint.pt")
    assert steps == [2, 3]
    for (name, a), b in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, msg=name)


def test_a_training_in_stretches_is_the_same_training(tmp_path):
    """Nobody changes the weights between them here: what is left is the optimizer's memory, the schedule, the draws."""
    options = TrainingOptions(6, 4, 1e-3)
    whole, pieces = small(), small()
    fit(whole, batches(), options)
    for last in (2, 5, 6):
        before, after = tmp_path / f"{last}.pt", tmp_path / f"{min(last + 3, 6)}.pt"
        fit(pieces, batches(), options, stretch=Stretch(last, before, after))
    for (name, a), b in zip(whole.state_dict().items(), pieces.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, msg=name)


def test_what_is_left_out_of_the_loss_is_not_learned():
    model = small()
    before = {name: array.copy() for name, array in weights_of(model).items()}
    parts = fit(model, batches(), TrainingOptions(2, 2, 1e-3), left_out={"box"})
    after = weights_of(model)
    assert "box" not in parts
    np.testing.assert_array_equal(after["detection.sides.weight"], before["detection.sides.weight"])
    assert np.any(after["detection.classes.weight"] != before["detection.classes.weight"])


def test_corrections_run_between_gradient_and_step():
    model = small()

    def stand_still(model):
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.grad.zero_()

    before = weights_of(model)
    fit(model, batches(), TrainingOptions(2, 2, 1e-3, weight_decay=0), Progress(after_backward=[stand_still]))
    for name, tensor in weights_of(model).items():
        np.testing.assert_array_equal(tensor, before[name])


def test_nothing_to_train_on_is_said():
    with pytest.raises(ValueError, match="no samples"):
        Batches(scene, 0, SIZE, 4)
    with pytest.raises(ValueError, match="none could be read"):
        fit(small(), Batches(lambda index: None, 5, SIZE, 4), TrainingOptions(1))


def test_a_packaged_model_can_be_built_again():
    model = small()
    files, (inputs, outputs) = perception_files(model, np.zeros((2, *SIZE, 3), np.uint8))
    assert inputs["image"].shape == (2, 3, *SIZE)
    assert outputs["features"].shape == (2, 24)
    stored = safetensors.numpy.load(files["perception.safetensors"])
    again = build(model.architecture, {name: tensor.astype(np.float32) for name, tensor in stored.items()})
    with torch.no_grad():
        *_, features = again.eval()(torch.zeros(1, 3, *SIZE))
    np.testing.assert_allclose(features.numpy(), outputs["features"][:1], atol=1e-4)


def test_rare_classes_are_drawn_more_often():
    car, rider, empty = np.array([0, 0]), np.array([0, 2]), np.zeros(0, np.int64)
    factors = repeat_factors([car] * 7 + [rider] + [empty] * 2, threshold=0.4)
    # riders are in a tenth of the images: √(0.4 / 0.1) = 2; cars in eight tenths need no help
    assert factors.tolist() == pytest.approx([1] * 7 + [2] + [1] * 2)
    drawn = []
    Batches(lambda index: drawn.append(index) or scene(index), 4, SIZE, 400, repeats=np.array([1, 0, 3, 0.0]))[0]
    assert set(drawn) == {0, 2}
    assert drawn.count(2) > 2 * drawn.count(0)
