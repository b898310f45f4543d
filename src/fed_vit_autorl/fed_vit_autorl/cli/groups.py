"""Groups of commands that the installed packages offer by entry points."""

from importlib.metadata import entry_points

import click


class EntryPointGroup(click.Group):
    """The commands of one entry-point group, each loaded only when it is asked for.

    Args:
        entry_points: name of the entry-point group.
    """

    def __init__(self, *args: object, entry_points: str, **options: object) -> None:
        super().__init__(*args, **options)
        self._group = entry_points

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted({point.name for point in entry_points(group=self._group)})

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        for point in entry_points(group=self._group, name=name):
            return point.load()
        return None
