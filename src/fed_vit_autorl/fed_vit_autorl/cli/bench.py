"""Benchmarks by name. Each reports ours, a peer or a physical limit measured in the same run, and their ratio."""

import json
import os
import platform
from importlib.metadata import entry_points
from pathlib import Path

import click

from fed_vit_autorl.cli.output import CommandError, emit, json_option
from fed_vit_autorl.files import write_file

RESULTS = Path("bench/results.json")


def machine() -> dict:
    """The machine that a figure was measured on."""
    cpu = next(
        (line.split(":", 1)[1].strip() for line in _cpuinfo() if line.startswith("model name")), platform.processor()
    )
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory_gib, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def record(name: str, result: dict, path: Path = RESULTS) -> None:
    """Writes one bench's result into the results file, beside those of the other benches."""
    results = json.loads(path.read_text()) if path.exists() else {}
    results[name] = {"machine": machine(), **result}
    write_file(path, (json.dumps(results, indent=2, sort_keys=True, default=float) + "\n").encode())


@click.command()
@click.argument("name", default="all")
@json_option
def bench(name: str, as_json: bool) -> None:
    """Run one benchmark by NAME, or all but those that take hours, and write bench/results.json.

    \b
    Examples:
      fedvit bench                 every benchmark that takes minutes
      fedvit bench lunarlander     one that takes hours; it goes on where it was stopped
      fedvit bench graph --json    the node graph's latency beside a pass-through graph's
    """
    benches = {point.name: point for point in entry_points(group="fedvit.benches")}
    points = benches | {point.name: point for point in entry_points(group="fedvit.studies")}
    if name != "all" and name not in points:
        raise CommandError(f"no bench named {name!r}; there are: {', '.join(sorted(points))}")
    results = {}
    for chosen in sorted(benches) if name == "all" else [name]:
        click.secho(f"bench {chosen} …", err=True)
        results[chosen] = points[chosen].load()()
        record(chosen, results[chosen])
    emit(results if name == "all" else results[name], as_json)
