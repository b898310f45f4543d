"""The ``fedvit`` group: finds the commands that the installed packages offer and runs one."""

import sys

import click

from fed_vit_autorl.cli.groups import EntryPointGroup
from fed_vit_autorl.cli.output import CommandError
from fed_vit_autorl.refusal import Refused


@click.group(
    cls=EntryPointGroup,
    entry_points="fedvit.commands",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
def fedvit() -> None:
    """A fleet of vehicles that sees, drives and learns together.

    \b
    Examples:
      fedvit doctor                     what this machine has, and what to do about what is missing
      fedvit demo                       two vehicles, a broker, an aggregator, three rounds of learning
      fedvit replay my_drive.mcap       a recording through the same nodes, with a report and a video
      fedvit bench graph --json         latency of the node graph, as one JSON object
    """


def main() -> None:
    """Runs the command line; a bad input ends with one line that says what to do, and exit status 2."""
    try:
        sys.exit(fedvit(prog_name="fedvit", standalone_mode=False))
    except (CommandError, Refused) as error:
        click.secho(f"fedvit: {error}", fg="red", err=True)
        sys.exit(2)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.secho("fedvit: stopped", err=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
