"""``fedvit up``: any graph without the ``launch`` package. ``fedvit replay``: a recording through the nodes."""

import json
import signal
from pathlib import Path

import click

from fed_vit_autorl.cli.output import CommandError, emit, json_option
from fed_vit_bringup.arguments import parse_arguments
from fed_vit_bringup.domain import free_domain
from fed_vit_bringup.graph import LAUNCHES, Graph, ReplayArguments, replay_graph
from fed_vit_bringup.process import NodeNotFoundError
from fed_vit_bringup.supervisor import BringUpError, Supervisor


@click.command()
@click.argument("graph", type=click.Choice(sorted(LAUNCHES)))
@click.argument("arguments", nargs=-1, metavar="[NAME:=VALUE]...")
@click.option(
    "--logs",
    type=click.Path(path_type=Path),
    default=Path("log/up"),
    show_default=True,
    help="Folder of the nodes' logs.",
)
def up(graph: str, arguments: tuple[str, ...], logs: Path) -> None:
    """Start a GRAPH of nodes and keep it running until Ctrl-C, as ros2 launch does where ROS 2 is installed.

    \b
    Examples:
      fedvit up vehicle namespace:=/car params_file:=car.yaml
      fedvit up fleet vehicles:=2
    """
    chosen = LAUNCHES[graph]
    try:
        built = chosen.build(parse_arguments(chosen.arguments, _pairs(arguments)))
    except ValueError as error:
        raise CommandError(str(error)) from error
    raise SystemExit(run_graph(built, logs))


@click.command()
@click.argument("bag", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--map",
    "mapping",
    multiple=True,
    metavar="TOPIC:=RECORDED",
    help="Take a topic of the vehicle from a recorded one.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("out/replay"),
    show_default=True,
    help="Folder for report and video.",
)
@json_option
def replay(bag: Path, mapping: tuple[str, ...], output: Path, as_json: bool) -> None:
    """Play a rosbag2 BAG step by step through perception, policy, shield and latency monitor.

    Writes report.json, report.html and an annotated video. The same bag gives the same commands, to the bit.

    \b
    Examples:
      fedvit replay my_drive --json
      fedvit replay drive.mcap --map camera/image:=/front/image_raw/compressed
    """
    _pairs(mapping)
    arguments = ReplayArguments(bag=str(bag.absolute()), map=",".join(mapping), output=str(output.absolute()))
    report = output / "report.json"
    report.unlink(missing_ok=True)
    status = run_graph(replay_graph(arguments), output / "logs")
    if status or not report.is_file():
        raise CommandError(f"the replay did not finish (status {status}); the nodes' logs are in {output / 'logs'}")
    emit(json.loads(report.read_text()), as_json)


def run_graph(graph: Graph, logs: Path) -> int:
    """Runs a graph until a required node ends, Ctrl-C or SIGTERM; returns the exit status."""
    stopping = []
    previous = {
        number: signal.signal(number, lambda *_: stopping.append(True)) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        supervisor = Supervisor(graph, logs, free_domain(), on_event=lambda text: click.secho(text, err=True))
        with supervisor:
            return supervisor.run(until=lambda: bool(stopping))
    except (BringUpError, NodeNotFoundError) as error:
        raise CommandError(str(error)) from error
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _pairs(texts: tuple[str, ...]) -> dict[str, str]:
    wrong = [text for text in texts if ":=" not in text]
    if wrong:
        raise CommandError(f"expected NAME:=VALUE, not {wrong[0]!r}")
    return dict(text.split(":=", 1) for text in texts)
