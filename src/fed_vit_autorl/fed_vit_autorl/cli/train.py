"""``fedvit train``: every training pipeline that the installed packages offer."""

import click

from fed_vit_autorl.cli.groups import EntryPointGroup


@click.group(cls=EntryPointGroup, entry_points="fedvit.train")
def train() -> None:
    """Train a model.

    \b
    Examples:
      fedvit train policy --config config/train_policy.yaml      expert, cloning, release
      fedvit train fleet-policy                                  vehicles of unlike towns learn alone and together
      fedvit train cloning --bag my_drive                        steering of a recorded human
    """
