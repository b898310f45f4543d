"""``fedvit evaluate``: every evaluation that the installed packages offer."""

import click

from fed_vit_autorl.cli.groups import EntryPointGroup


@click.group(cls=EntryPointGroup, entry_points="fedvit.evaluate")
def evaluate() -> None:
    """Measure a model.

    \b
    Examples:
      fedvit evaluate driving --json      100 routes in towns that no training saw, shield on, with ablations
    """
