import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from fed_vit_autorl.cli.output import CommandError
from fed_vit_autorl.data.sample import CameraModel, EgoState, Labels, Sample
from fed_vit_autorl.data.store import ExperienceStore
from fed_vit_autorl.evaluation.evaluate_labels import labels
from fed_vit_autorl.evaluation.evaluate_perception import perception
from fed_vit_autorl.evaluation.held_out import held_out_drives
from fed_vit_autorl.models.training_setup import read_settings
from fed_vit_autorl.reinforcement.collect import FIRST_EVALUATION_SEED

W, H = 160, 96


def run(command, *arguments: str) -> dict:
    result = CliRunner().invoke(command, [*arguments, "--json"], catch_exceptions=False)
    return json.loads(result.stdout.splitlines()[-1])


def store(folder, points: bool) -> str:
    """A straight drive over a flat road that reaches to the horizon."""
    angle = np.radians(np.arange(0, 360, 2.0))
    rings = [np.stack([r * np.cos(angle), r * np.sin(angle), np.full_like(angle, -1.8)], 1) for r in (5, 7, 10, 15, 25)]
    cloud = np.column_stack([np.concatenate(rings), np.ones(5 * len(angle))]).astype(np.float32)
    mount = np.eye(4)
    mount[2, 3] = 1.8
    below = np.zeros((H, W), np.uint8)
    below[H // 2 + 1 :] = 1
    known = {"boxes": np.zeros((0, 4), np.float32), "classes": np.zeros(0, np.int64), "free_space": below}
    kept = ExperienceStore(folder)
    for number in range(12):
        stamp = number / 2
        kept.add(
            Sample(
                np.zeros((H, W, 3), np.uint8),
                CameraModel.nominal(W, H),
                cloud if points else None,
                mount,
                Labels.unknown(H, W, **known),
                EgoState(stamp, (8.0 * stamp, 0.0, 0.0), 0.0, 8.0),
                stamp,
                "ego",
                "noon",
            )
        )
    return f"store:{folder}"


def test_labels_are_measured_on_a_store(tmp_path):
    figures = run(labels, "--data", store(tmp_path, points=True))
    assert figures["free_space_iou"] > 0.9
    assert figures["by_domain"]["noon"]["boxes"] == 0
    assert figures["precision"] is None


def test_a_store_without_lidar_is_told_so(tmp_path):
    with pytest.raises(CommandError, match="points"):
        run(labels, "--data", store(tmp_path, points=False))


def test_a_folder_that_is_no_release_or_no_data_set_is_told_so(tmp_path):
    with pytest.raises(CommandError, match=r"no manifest\.json"):
        run(perception, "--model", str(tmp_path))
    with pytest.raises(CommandError, match="camvid:DIR"):
        run(labels, "--data", str(tmp_path))


def test_held_out_drives_use_towns_and_weathers_that_no_training_of_a_shipped_model_uses():
    drives = held_out_drives()
    trained = read_settings(Path(__file__).parents[3] / "config/train_all_weather.yaml").drives
    assert not {drive.weather for drive in drives} & {drive.weather for drive in trained}
    assert max(drive.town.seed for drive in trained) < FIRST_EVALUATION_SEED
    assert min(drive.town.seed for drive in drives) >= FIRST_EVALUATION_SEED
    assert all(drive.points for drive in drives)
