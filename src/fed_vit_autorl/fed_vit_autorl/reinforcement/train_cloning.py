"""``fedvit train cloning``: a camera driver from a recorded human, scored on the part of the drive it has not seen."""

from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fed_vit_autorl.cli.output import CommandError, emit, json_option
from fed_vit_autorl.data.datasets.base import DatasetRefused
from fed_vit_autorl.data.datasets.cloning import CONTROL_TOPIC, IMAGE_TOPIC, read_demonstrations
from fed_vit_autorl.evaluation.cloning import TRAINED_SHARE, cloning_errors
from fed_vit_autorl.reinforcement.camera_driver import CameraDriver, prepare

BATCH = 32


def train_driver(
    images: Tensor,
    commands: Tensor,
    epochs: int,
    seed: int = 0,
    progress: Callable[[int, float], None] | None = None,
) -> CameraDriver:
    """A driver trained on pictures uint8 (N, 3, 120, 160) and commands (N, 2) steering, throttle.

    The weights are an exponential moving average over the last steps. `progress(epoch, loss)` after each epoch.
    """
    torch.manual_seed(seed)
    driver = CameraDriver()
    batches = max(len(images) // BATCH, 1)
    decay = 1.0 - min(10.0 / (epochs * batches), 0.5)
    averaging = torch.optim.swa_utils.get_ema_multi_avg_fn(decay)
    average = torch.optim.swa_utils.AveragedModel(driver, multi_avg_fn=averaging, use_buffers=True)
    optimiser = torch.optim.AdamW(driver.parameters(), 1e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=epochs * batches)
    for epoch in range(epochs):
        driver.train()
        total = 0.0
        for index in torch.randperm(len(images)).split(BATCH)[:batches]:
            predicted, wanted = driver(_vary(images[index].float() / 255.0)), commands[index]
            loss = functional.smooth_l1_loss(predicted[:, 0], wanted[:, 0], beta=0.3)
            loss = loss + functional.mse_loss(predicted[:, 1], wanted[:, 1])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            average.update_parameters(driver)
            total += loss.item()
        if progress is not None:
            progress(epoch, total / batches)
    return average.module.eval()


def _vary(images: Tensor) -> Tensor:
    """Brightness, offset and a shift of a few pixels, drawn anew for every batch."""
    gain = 0.7 + 0.6 * torch.rand(len(images), 1, 1, 1)
    offset = 0.15 * (torch.rand(len(images), 1, 1, 1) - 0.5)
    rows, columns = torch.randint(-6, 7, (2,)).tolist()
    return torch.roll(images * gain + offset, (rows, columns), (2, 3))


@click.command()
@click.option(
    "--bag", type=click.Path(path_type=Path), required=True, help="rosbag2 folder or file with pictures and commands"
)
@click.option("--image-topic", default=IMAGE_TOPIC, show_default=True)
@click.option("--control-topic", default=CONTROL_TOPIC, show_default=True)
@click.option("--epochs", type=click.IntRange(1), default=30, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("out/cloning.safetensors"), show_default=True)
@json_option
def cloning(bag: Path, image_topic: str, control_topic: str, epochs: int, seed: int, out: Path, as_json: bool) -> None:
    """Clone a human's steering and throttle from a bag.

    Trains on the first three quarters of the drive and scores on the last: error and correlation of the steering.
    """
    try:
        shown = list(read_demonstrations(bag, image_topic, control_topic))
    except DatasetRefused as error:
        raise CommandError(str(error)) from error
    images = torch.stack([prepare(one.sample.image) for one in shown])
    commands = torch.tensor([(one.steering, one.throttle) for one in shown])
    count = int(TRAINED_SHARE * len(shown))

    def show(epoch: int, loss: float) -> None:
        click.echo(f"epoch {epoch + 1} of {epochs}, loss {loss:.4f}", err=True)

    driver = train_driver(images[:count], commands[:count], epochs, seed, show)
    out.parent.mkdir(parents=True, exist_ok=True)
    driver.save(out)
    steering = np.array([driver.act(one.sample.image)[0] for one in shown[count:]])
    human, constant = commands[count:, 0].numpy(), commands[:count, 0].mean().item()
    emit({"model": str(out), "trained_on": count} | cloning_errors(steering, human, constant), as_json)
