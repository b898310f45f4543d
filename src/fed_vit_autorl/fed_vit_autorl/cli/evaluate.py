"""``fedvit evaluate``: every evaluation that the installed packages offer."""

import click

from fed_vit_autorl.cli.groups import EntryPointGroup


@click.group(cls=EntryPointGroup, entry_points="fedvit.evaluate")
def evaluate() -> None:
    """Measure a model, a driver or the labels that vehicles make themselves.

    \b
    Examples:
      fedvit evaluate perception --json                       the shipped release in towns it never saw
      fedvit evaluate perception --data camvid:DIR --model M  a release on real pictures
      fedvit evaluate labels                                  what LiDAR and driven track are worth as labels
      fedvit evaluate driving --json                          100 routes in towns that no training saw, with ablations
      fedvit evaluate scenarios --json                        cut-ins, jaywalkers, debris, failing sensors, bad weather
      fedvit evaluate cloning --bag my_drive --model driver   a cloned driver against its human
    """
