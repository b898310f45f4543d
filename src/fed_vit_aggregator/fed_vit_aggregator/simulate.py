"""`fedvit simulate`: N virtual vehicles through the real protocol stack, and what it cost. Bench `fleet`: 10, 100 and
1,000.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

import click
import psutil

from fed_vit_aggregator.virtual_fleet import VirtualFleet
from fed_vit_autorl.cli.output import CommandError, emit, json_option
from fed_vit_autorl.deployment.config_file import from_mapping
from fed_vit_autorl.deployment.fleet_config import FleetConfig

TIMEOUT_S = 600.0
VEHICLES_PER_PROCESS = 125


def simulate_fleet(folder: Path, vehicles: int, rounds: int = 1, width: int = 100) -> dict:
    """Runs the rounds; seconds are from the first round's start to the last one's end, connecting excluded."""
    fleet = VirtualFleet(
        folder,
        _config(vehicles, rounds),
        [f"v{index:04d}" for index in range(vehicles)],
        processes=max(2, -(-vehicles // VEHICLES_PER_PROCESS)),
        width=width,
    )
    try:
        started = time.monotonic()
        fleet.start()
        fleet.wait(lambda state: bool(state["rounds"]), TIMEOUT_S)
        connected = time.monotonic() - started
        state = fleet.wait(lambda state: state["finished"], TIMEOUT_S)
        cost = _cost(fleet)
    finally:
        fleet.stop()
    durations = [each["seconds"] for each in state["rounds"]]
    accepted = sum(each["updates"] for each in state["rounds"])
    return {
        "vehicles": vehicles,
        "rounds": rounds,
        "parameters": width * (width + 1),
        "seconds": sum(durations),
        "seconds_to_connect": connected,
        "updates_accepted": accepted,
        "messages_lost": vehicles * rounds - accepted,
        "refused": state["refused"],
        **cost,
    }


def _config(vehicles: int, rounds: int) -> FleetConfig:
    return from_mapping(
        {
            "federation": {
                "run": "simulation",
                "region": "simulated",
                "num_rounds": rounds,
                "vehicles_per_round": vehicles,
                "min_vehicles": vehicles,
                "deadline_s": TIMEOUT_S,
            },
            "communication": {"compression_ratio": 0.1},
        },
        FleetConfig,
    )


def _cost(fleet: VirtualFleet) -> dict[str, float]:
    """CPU seconds since the start and resident memory now."""
    broker = fleet.cloud.broker.process
    parts = {
        "aggregator": [psutil.Process(fleet.cloud.aggregator_pid)],
        "broker": [psutil.Process(broker.pid)],
        "vehicles": [psutil.Process(host.pid) for host in fleet.hosts if host is not None],
    }
    found = {}
    for name, processes in parts.items():
        times = [process.cpu_times() for process in processes]
        found[f"cpu_s_{name}"] = sum(each.user + each.system for each in times)
        found[f"memory_mib_{name}"] = sum(process.memory_info().rss for process in processes) / 2**20
    found["memory_mib_per_vehicle"] = found["memory_mib_vehicles"] / len(fleet.vehicles)
    return found


@click.command()
@click.option("--vehicles", default=10, show_default=True, type=click.IntRange(1, 10_000), help="How many.")
@click.option("--rounds", default=1, show_default=True, type=click.IntRange(1, 1000), help="How many rounds.")
@click.option(
    "--width", default=100, show_default=True, type=click.IntRange(1, 5000), help="The model is WIDTH × WIDTH."
)
@click.option("--keep", type=click.Path(path_type=Path), help="Keep all state and logs in this folder.")
@json_option
def simulate(vehicles: int, rounds: int, width: int, keep: Path | None, as_json: bool) -> None:
    """Run virtual vehicles through the real protocol: mosquitto with TLS, the aggregator, sealed and signed updates.

    \b
    Examples:
      fedvit simulate --vehicles 100
      fedvit simulate --vehicles 1000 --rounds 3 --json
    """
    folder = keep or Path(tempfile.mkdtemp(prefix="fedvit-simulate-"))
    try:
        emit(simulate_fleet(folder, vehicles, rounds, width), as_json)
    except (TimeoutError, RuntimeError, FileNotFoundError) as error:
        raise CommandError(str(error)) from error
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)


def bench() -> dict:
    """One round with 10, 100 and 1,000 vehicles: the slope, and the figures of the largest."""
    results = {}
    for vehicles in (10, 100, 1000):
        with tempfile.TemporaryDirectory(prefix="fedvit-fleet-") as folder:
            results[vehicles] = simulate_fleet(Path(folder), vehicles)
    slope = {str(vehicles): result["seconds"] for vehicles, result in results.items()}
    return {**results[1000], "seconds_by_vehicles": slope}
