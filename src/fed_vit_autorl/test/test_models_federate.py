import json
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from fed_vit_autorl.cli.output import CommandError
from fed_vit_autorl.deployment import fleet_config, keys, release
from fed_vit_autorl.evaluation.evaluate_perception import perception as evaluate_perception
from fed_vit_autorl.files import write_file
from fed_vit_autorl.models import federate as command
from fed_vit_autorl.models import fleet_training
from fed_vit_autorl.models.export import weights_of
from fed_vit_autorl.models.federate import Split, federate, fitted_patch, fitted_size
from fed_vit_autorl.models.fleet_training import FleetTraining
from fed_vit_autorl.models.losses import semantic_loss
from fed_vit_autorl.models.packaging import perception_files
from fed_vit_autorl.models.perception import ViTPerception
from fed_vit_autorl.models.training import fit

CONFIG = """
federation: {client_lr: 1.0e-2}
privacy: {clip_norm: 50.0}
communication: {compression: none}
training: {epochs: 16, batch_size: 4}
"""
TINY = {"img_size": (32, 64), "num_classes": 0, "embed_dim": 24, "depth": 1, "num_heads": 3, "stem": "conv"}
TINY |= {"head_width": 16}
PARTS = {"0001TP": range(5), "0006R0": range(5, 10)}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two drives of pictures whose dark left half is road (3) and the rest sky (0), and a fleet's file."""
    folder = tmp_path_factory.mktemp("federate")
    random = np.random.default_rng(0)
    for part in ("images", "labels"):
        (folder / "data" / part).mkdir(parents=True)
    for drive in ("0001TP", "0006R0"):
        for number in range(5):
            image = random.integers(0, 60, (48, 64, 3)).astype(np.uint8)
            image[:, 32:] += 180
            label = np.where(np.arange(64) < 32, 3, 0).astype(np.uint8) * np.ones((48, 1), np.uint8)
            cv2.imwrite(str(folder / "data" / "images" / f"{drive}_{number}.png"), image)
            cv2.imwrite(str(folder / "data" / "labels" / f"{drive}_{number}.png"), label)
    (folder / "fleet.yaml").write_text(CONFIG)
    return folder


def training(place, folder, evaluate=lambda weights: {}, parts=PARTS) -> FleetTraining:
    torch.manual_seed(0)
    model = ViTPerception(**TINY)
    config = fleet_config.load(place / "fleet.yaml")
    data = f"camvid:{place / 'data'}"
    return FleetTraining(config, data, parts, 2, model.architecture, weights_of(model), folder, evaluate)


def run(fleet: FleetTraining, report=lambda done: None):
    with ThreadPoolExecutor(1) as workers:
        return fleet.run(workers, report)


@pytest.fixture(scope="module")
def straight(place, tmp_path_factory):
    """Weights after two rounds that nothing disturbed."""
    return run(training(place, tmp_path_factory.mktemp("straight")))


def test_rounds_train_the_model_and_updates_are_small(place, tmp_path):
    fleet = training(place, tmp_path)
    run(fleet)
    assert fleet.rounds[1].loss < fleet.rounds[0].loss
    assert all(size < 0.3 * fleet.dense_bytes for done in fleet.rounds for size in done.bytes.values())


def test_vehicles_do_as_many_steps_as_the_one_with_the_most_data(place, tmp_path, monkeypatch):
    """16 epochs of 8 pictures in batches of 4 are 32 steps, for the vehicle that has 2 of them, too."""
    done = []

    def watched(model, batches, options, progress, *, stretch):
        done.append((options.steps, stretch.last))
        return fit(model, batches, options, progress, stretch=stretch)

    monkeypatch.setattr(fleet_training, "fit", watched)
    run(training(place, tmp_path, parts={"0001TP": range(2), "0006R0": range(2, 10)}))
    assert done == [(64, 32), (64, 32), (64, 64), (64, 64)]


def test_an_interrupted_run_goes_on_to_the_same_end(place, straight, tmp_path):
    def stop(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(training(place, tmp_path / "stopped"), stop)
    resumed = run(training(place, tmp_path / "stopped"))
    for name, tensor in straight.items():
        np.testing.assert_array_equal(resumed[name], tensor)


def test_a_round_that_was_cut_off_is_done_again(place, straight, tmp_path):
    """The vehicles had trained in it already, and remember what they did."""
    measured = []

    def fail_in_the_second_round(weights):
        measured.append(weights)
        if len(measured) == 2:
            raise OSError
        return {}

    with pytest.raises(OSError):  # noqa: PT011
        run(training(place, tmp_path / "cut", fail_in_the_second_round))
    again = run(training(place, tmp_path / "cut"))
    for name, tensor in straight.items():
        np.testing.assert_array_equal(again[name], tensor)


def test_a_round_whose_end_could_not_be_noted_is_done_again(place, straight, tmp_path, monkeypatch):
    """Its model lies there already, and each vehicle's memory of it."""
    noted = []

    def full_in_the_second_round(path, content):
        noted.append(path)
        if len(noted) == 2:
            raise OSError
        write_file(path, content)

    monkeypatch.setattr(fleet_training, "write_file", full_in_the_second_round)
    with pytest.raises(OSError):  # noqa: PT011
        run(training(place, tmp_path / "full"))
    again = run(training(place, tmp_path / "full"))
    for name, tensor in straight.items():
        np.testing.assert_array_equal(again[name], tensor)


def test_drives_train_together_and_the_release_can_be_evaluated(place, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "ProcessPoolExecutor", lambda jobs, *_: ThreadPoolExecutor(jobs))
    torch.manual_seed(0)
    model = ViTPerception(**TINY)
    files, golden = perception_files(model, np.zeros((1, 32, 64, 3), np.uint8))
    files[release.GOLDEN] = release.pack_golden({"perception": golden})
    key = keys.load_or_create_signing_key(tmp_path / "release.key")
    release.write_release(tmp_path / "base", files, key, version=1, architecture={"perception": model.architecture})
    shared = ["--data", f"camvid:{place / 'data'}", "--keys", str(tmp_path)]
    options = ["--config", place / "fleet.yaml", "--model", tmp_path / "base", "--key", tmp_path / "release.key"]
    options += ["--work", tmp_path / "work", "--output", tmp_path / "new", "--rounds", "2", "--compare", "--json"]
    made = CliRunner().invoke(federate, [*shared, *map(str, options)], catch_exceptions=False)
    result = json.loads(made.stdout.splitlines()[-1])
    assert result["vehicles"] == {"camvid/0001TP": 4, "camvid/0006R0": 4}
    assert result["miou"] > 0.6
    assert [entry["round"] for entry in result["curve"]] == [1, 2]
    assert set(result["comparison"]["alone"]["camvid/0001TP"]["others"]["by_source"]) == {"camvid/0006R0"}
    assert result["comparison"]["pooled"]["miou"] > 0.6
    assert cv2.imread(str(tmp_path / "new" / "held_out.png")).shape == (2 * 1080 * 48 // (3 * 64), 1080, 3)

    seen = CliRunner().invoke(evaluate_perception, [*shared, "--model", str(tmp_path / "new"), "--json"])
    assert json.loads(seen.stdout.splitlines()[-1])["miou"] > 0.6
    with pytest.raises(CommandError, match="exists"):
        CliRunner().invoke(federate, [*shared, *map(str, options)], catch_exceptions=False)


def test_the_end_of_each_drive_is_held_out():
    split = Split.of(["a", "a", "b", "a", "a", "b"], 0.25)
    assert split.train == {"a": [0, 1, 3], "b": [2, 5]}
    assert split.held_out == {"a": [4], "b": []}


def test_the_model_takes_the_pictures_shape_at_the_same_cost():
    assert fitted_size(352 * 480, (360, 480), 16) == (352, 480)
    assert fitted_size(192 * 320, (480, 800), 16) == (192, 320)


def test_patches_grow_with_the_picture_so_that_their_number_stays():
    model = ViTPerception(**TINY)  # 32 x 64 pixels
    assert [fitted_patch(factor**2 * 32 * 64, model) for factor in (0.5, 1, 1.3, 2, 4.1)] == [16, 16, 16, 32, 64]


def test_rare_classes_count_in_the_semantic_loss():
    semantic = torch.zeros((1, 32, 32), dtype=torch.uint8)
    semantic[:, :8, :8] = 2
    perfect = 40.0 * torch.nn.functional.one_hot(semantic[:, 2::4, 2::4].long(), 11).movedim(-1, 1)
    sky_only = perfect.clone()
    sky_only[:, :, :2, :2] = 0.0
    assert semantic_loss(perfect, semantic) < 0.02
    assert semantic_loss(sky_only, semantic) > 0.4
    assert semantic_loss(perfect, torch.full_like(semantic, 255)) == 0


def test_a_class_weighs_the_root_of_its_share_in_the_semantic_loss():
    """Class 2 has 1 of 16 pixels and weighs √16, class 0 has 15 and weighs √(16 / 15): together 4 and 15.49."""
    semantic = torch.zeros((1, 32, 32), dtype=torch.uint8)
    semantic[:, :8, :8] = 2
    logits = torch.zeros((1, 11, 8, 8))
    logits[:, 0], logits[:, 2] = 3.0, 1.0  # everywhere: no border is blurred
    chance = logits[0, :, 0, 0].softmax(0)
    cross = -(4 * chance[2].log() + 15.492 * chance[0].log()) / 19.492
    overlap, total = torch.stack((16 * chance[2], 240 * chance[0])), 256 * chance[[2, 0]] + torch.tensor([16, 240])
    dice = (1 - (2 * overlap + 1) / (total + 1)).mean()  # of 16 × 16 pixels, twice the mask's resolution
    assert semantic_loss(logits, semantic).item() == pytest.approx((cross + dice).item(), abs=1e-3)
