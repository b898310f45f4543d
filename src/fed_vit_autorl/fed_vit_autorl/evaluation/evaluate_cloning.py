"""``fedvit evaluate cloning``: a cloned driver on the part of a recorded drive that it was not trained on."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from fed_vit_autorl.cli.output import CommandError, emit, json_option
from fed_vit_autorl.data.datasets.cloning import CONTROL_TOPIC, IMAGE_TOPIC, read_demonstrations
from fed_vit_autorl.reinforcement.camera_driver import CameraDriver

from .cloning import TRAINED_SHARE, cloning_errors


@click.command()
@click.option("--bag", type=click.Path(path_type=Path), required=True, help="rosbag2 with pictures and commands.")
@click.option("--model", type=click.Path(path_type=Path), required=True, help="What fedvit train cloning wrote.")
@click.option("--image-topic", default=IMAGE_TOPIC, show_default=True)
@click.option("--control-topic", default=CONTROL_TOPIC, show_default=True)
@click.option("--whole", is_flag=True, help="Score on the whole drive: for a bag that the model was not trained on.")
@json_option
def cloning(bag: Path, model: Path, image_topic: str, control_topic: str, whole: bool, as_json: bool) -> None:
    """Score a cloned driver's steering against the human's, in shares of the full lock.

    Of the drive it scores the last quarter, which `fedvit train cloning` leaves out; `constant_mae` is the error of
    steering by the mean of the rest.

    \b
    Examples:
      fedvit evaluate cloning --bag my_drive --model out/cloning.safetensors --json
    """
    try:
        driver = CameraDriver.load(model)
        shown = list(read_demonstrations(bag, image_topic, control_topic))
        trained = 0 if whole else int(TRAINED_SHARE * len(shown))
        scored = shown[trained:]
        steering = np.array([driver.act(one.sample.image)[0] for one in scored])
        human = np.array([one.steering for one in scored])
        constant = np.mean([one.steering for one in shown[:trained] or shown])
        result = cloning_errors(steering, human, float(constant))
    except (ValueError, OSError) as error:
        raise CommandError(str(error)) from error
    emit({"bag": str(bag), "model": str(model), "recorded": len(shown)} | result, as_json)
