"""``fedvit demo``."""

from pathlib import Path

import click

from fed_vit_autorl.cli.output import CommandError, emit, json_option


@click.command()
@click.option("--rounds", type=click.IntRange(1, 1000), default=3, show_default=True, help="Rounds of learning.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("out/demo"),
    show_default=True,
    help="Folder for the report, the videos and the state.",
)
@click.option(
    "--fleet",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=Path("config/demo.yaml"),
    show_default=True,
    help="The fleet's configuration.",
)
@click.option(
    "--release",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path("releases/noon_pruned"),
    show_default=True,
    help="The release that the vehicles start with.",
)
@click.option("--resume", is_flag=True, help="Go on with the state of an earlier run instead of starting afresh.")
@click.option("--record", is_flag=True, help="Also write what the vehicles' sensors saw as rosbag2 (mcap).")
@click.option(
    "--limit",
    "limit_s",
    type=click.FloatRange(60),
    default=1500.0,
    show_default=True,
    help="Stop driving after this many seconds.",
)
@json_option
def demo(
    rounds: int, output: Path, fleet: Path, release: Path, resume: bool, record: bool, limit_s: float, as_json: bool
) -> None:
    """Drive two vehicles through a town and let them learn together; leaves a report, videos and plots.

    The first vehicle lives at noon, the second in rain at dusk; the release they start with has seen only noon.

    \b
    Examples:
      fedvit demo
      fedvit demo --rounds 5 --output /tmp/demo --json
      fedvit demo --resume
    """
    from fed_vit_bringup.demo.narrator import Narrator
    from fed_vit_bringup.demo.run import Interrupted, Plan, run
    from fed_vit_bringup.process import NodeNotFoundError
    from fed_vit_bringup.supervisor import BringUpError

    domains = {"vehicle_1": "noon", "vehicle_2": "rain_dusk"}
    plan = Plan(output.absolute(), domains, rounds, fleet, release.absolute(), resume, record, limit_s)
    narrator = Narrator()
    try:
        result = run(plan, narrator)
    except Interrupted:
        narrator.close()
        click.secho("stopped; `fedvit demo --resume` goes on from here", err=True)
        raise SystemExit(130) from None
    except (RuntimeError, BringUpError, NodeNotFoundError, OSError, ValueError) as error:
        narrator.close()
        raise CommandError(str(error)) from error
    click.secho(f"report: {plan.output / 'report.html'}", err=True, bold=True)
    emit(
        result if as_json else {key: value for key, value in result.items() if key not in ("releases", "machine")},
        as_json,
    )
    if not result["complete"]:
        click.secho(
            f"not all rounds and routes were done after {limit_s:.0f} s; --limit gives them longer",
            fg="yellow",
            err=True,
        )
        raise SystemExit(1)
