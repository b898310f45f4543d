import numpy as np
import pytest
import safetensors.numpy
import torch

from fed_vit_autorl.reinforcement.camera_driver import CameraDriver, prepare
from fed_vit_autorl.reinforcement.train_cloning import train_driver


def picture(steering: float, rng: np.random.Generator) -> np.ndarray:
    """A bright vertical line that stands where the human would steer: left is positive."""
    image = rng.integers(0, 60, (120, 160, 3), dtype=np.uint8)
    column = round(80 - 70 * steering)
    image[:, max(column - 4, 0) : column + 4] = 255
    return image


def test_a_driver_learns_to_follow_a_line_and_survives_its_file(tmp_path):
    rng = np.random.default_rng(0)
    steering = rng.uniform(-1.0, 1.0, 96)
    images = torch.stack([prepare(picture(value, rng)) for value in steering])
    commands = torch.tensor(np.stack((steering, np.full(96, 0.3)), axis=-1), dtype=torch.float32)
    driver = train_driver(images, commands, epochs=12)
    driver.save(tmp_path / "driver.safetensors")
    loaded = CameraDriver.load(tmp_path / "driver.safetensors")
    held_out = rng.uniform(-0.9, 0.9, 16)
    answers = np.array([loaded.act(picture(value, rng)) for value in held_out])
    assert np.corrcoef(answers[:, 0], held_out)[0, 1] > 0.9
    assert answers[:, 1] == pytest.approx(0.3, abs=0.2)
    assert loaded.act(np.zeros((480, 640, 3), np.uint8)) == driver.act(np.zeros((480, 640, 3), np.uint8))


@pytest.mark.parametrize("content", [b"not a tensor file", safetensors.numpy.save({"x": np.zeros(3, np.float32)})])
def test_another_file_is_refused(tmp_path, content):
    path = tmp_path / "other.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="holds no camera driver"):
        CameraDriver.load(path)
