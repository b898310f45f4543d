"""`fedvit chaos`: kills, full disks and jumping clocks at random points of rounds, and a comparison with an
undisturbed run.
"""

from __future__ import annotations

import hashlib
import random
import resource
import shutil
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import click
import msgspec

from fed_vit_aggregator.virtual_fleet import VirtualFleet
from fed_vit_autorl.cli.output import CommandError, emit, json_option
from fed_vit_autorl.deployment.config_file import from_mapping
from fed_vit_autorl.deployment.fleet_config import FleetConfig
from fed_vit_autorl.deployment.release import Reason
from fed_vit_autorl.files import write_file

VEHICLES = ("v1", "v2", "v3")
KILLS_PER_ROUND = 5
ROUND_TIMEOUT_S = 240.0
FULL_DISK_BYTES = 8192
FULL_DISK_S = 1.0
LARGEST_JUMP_S = 30 * 86400.0


class Chaos:
    """One fleet and what befalls it. `kills` counts SIGKILLs by victim, `faults` the rest."""

    def __init__(self, folder: Path, rounds: int, generator: random.Random) -> None:
        folder.mkdir(parents=True)
        self.clocks = folder / "clocks"
        self.clocks.mkdir()
        launcher = (sys.executable, "-m", "fed_vit_aggregator.skewed", str(self.clocks))
        self.fleet = VirtualFleet(folder, _config(rounds), VEHICLES, len(VEHICLES), launcher=launcher)
        self.kills: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self._random = generator
        self._kinds: list[tuple[Callable[[], None], int]] = [
            (self._kill_aggregator, 3),
            (self._kill_vehicle, 3),
            (self._kill_broker, 2),
            (self._fill_disk, 1),
            (self._jump_clock, 1),
        ]

    def run(self, rounds: int, kills: int, say: Callable[[str], None]) -> None:
        """All rounds, with `kills` spread over them: some while vehicles train and send, one in each round's last
        steps.
        """
        self.fleet.start()
        for number in range(1, rounds + 1):
            share = kills * number // rounds - kills * (number - 1) // rounds
            if share:
                self.fleet.hold.touch()
            self._wait(lambda state, number=number: _ended(state) >= number - 1 and len(state["rounds"]) >= number)
            self._strike(share - 1)
            self._set_clocks_right()
            self.fleet.hold.unlink(missing_ok=True)
            time.sleep(self._random.uniform(0, 1.5) if share else 0)
            self._strike(min(share, 1))
            self._set_clocks_right()  # who is ahead refuses the release that it needs as expired, and takes it now
            self._wait(lambda state, number=number: _ended(state) >= number)
            say(f"round {number} of {rounds}, {sum(self.kills.values())} kills")

    def refused_as_expired(self) -> int:
        """How often a vehicle refused release metadata for its age, by the vehicles' logs."""
        logs = (path.read_text(errors="replace") for path in self.fleet.folder.glob("host*.log"))
        return sum(log.count(f"refused: {Reason.METADATA_EXPIRED}") for log in logs)

    def _strike(self, kills: int) -> None:
        target = sum(self.kills.values()) + kills
        actions, weights = zip(*self._kinds, strict=True)
        while sum(self.kills.values()) < target:
            time.sleep(self._random.uniform(0, 0.4))
            self._random.choices(actions, weights)[0]()

    def _kill_aggregator(self) -> None:
        self.fleet.cloud.stop_aggregator(kill=True)
        self.fleet.cloud.start_aggregator()
        self.kills["aggregator"] += 1

    def _kill_broker(self) -> None:
        self.fleet.cloud.broker.stop(kill=True)
        self.fleet.cloud.broker.start()
        self.kills["broker"] += 1

    def _kill_vehicle(self) -> None:
        index = self._random.randrange(len(VEHICLES))
        self.fleet.kill_host(index)
        self.fleet.start_host(index)
        self.kills["vehicle"] += 1

    def _fill_disk(self) -> None:
        """For a second no file of a process may grow beyond 8 KB, its database included: writing fails as on a full
        disk.
        """
        pids = [self.fleet.cloud.aggregator_pid, *(host.pid for host in self.fleet.hosts if host is not None)]
        pid = self._random.choice(pids)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (FULL_DISK_BYTES, resource.RLIM_INFINITY))
        time.sleep(FULL_DISK_S)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        self.faults["full_disk"] += 1

    def _jump_clock(self) -> None:
        """One process's wall clock, by up to a month either way: metadata lives for a day."""
        name = self._random.choice(("aggregator", *(f"host{index}" for index in range(len(VEHICLES)))))
        write_file(self.clocks / name, str(self._random.uniform(-LARGEST_JUMP_S, LARGEST_JUMP_S)).encode())
        self.faults["clock_jump"] += 1

    def _set_clocks_right(self) -> None:
        for path in self.clocks.iterdir():
            path.unlink()

    def _wait(self, condition: Callable[[dict], bool]) -> None:
        def watched(state: dict) -> bool:
            # A vehicle whose disk is full as it starts can only end.
            self.faults["respawn"] += self.fleet.respawn()
            return condition(state)

        self.fleet.cloud.wait(watched, ROUND_TIMEOUT_S)


def compare(folder: Path, rounds: int, kills: int, seed: int, say: Callable[[str], None]) -> dict:
    """An undisturbed run and one with `kills`: what was lost or counted twice, and whether the models are the same."""
    generator = random.Random(seed)
    calm, wild = Chaos(folder / "calm", rounds, generator), Chaos(folder / "wild", rounds, generator)
    started = time.monotonic()
    for chaos, count in ((calm, 0), (wild, kills)):
        try:
            chaos.run(rounds, count, say)
        finally:
            chaos.fleet.stop()
    lost, duplicated = _account(wild.fleet, rounds)
    undisturbed = _model(calm.fleet)
    return {
        "seed": seed,
        "rounds": rounds,
        "kills": sum(wild.kills.values()),
        "kills_by_victim": dict(wild.kills),
        "faults": dict(wild.faults) | {"metadata_expired": wild.refused_as_expired()},
        "updates": rounds * len(VEHICLES) - lost,
        "lost": lost,
        "duplicated": duplicated,
        "bit_identical": len(undisturbed) == rounds + 1 and undisturbed == _model(wild.fleet),
        "seconds": time.monotonic() - started,
    }


def _account(fleet: VirtualFleet, rounds: int) -> tuple[int, int]:
    """(lost, counted twice) by what the aggregator's rounds were made of."""
    database = sqlite3.connect(fleet.cloud.folder / "state" / "state.sqlite")
    counted: Counter[tuple[int, str]] = Counter()
    for number, participants in database.execute("SELECT number, participants FROM rounds WHERE phase='released'"):
        for vehicle, _ in msgspec.json.decode(participants):
            counted[number, vehicle] += 1
    database.close()
    expected = {(number, vehicle) for number in range(1, rounds + 1) for vehicle in fleet.vehicles}
    return len(expected - counted.keys()), sum(count - 1 for count in counted.values())


def _model(fleet: VirtualFleet) -> dict[str, str]:
    """Digest of the weights of every release that was made."""
    folder = fleet.cloud.folder / "state" / "releases"
    weights = sorted(folder.glob("[0-9]*/linear.safetensors"))
    return {path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in weights}


def _ended(state: dict) -> int:
    return sum(each["phase"] in ("released", "held", "abandoned") for each in state["rounds"])


def _config(rounds: int) -> FleetConfig:
    federation = {
        "run": "chaos",
        "region": "chaos",
        "num_rounds": rounds,
        "vehicles_per_round": len(VEHICLES),
        "min_vehicles": len(VEHICLES),
        "deadline_s": 3600.0,
        "aggregation": "fedadam",
        "server_lr": 0.01,
    }
    return from_mapping({"federation": federation, "communication": {"compression_ratio": 0.1}}, FleetConfig)


@click.command()
@click.option("--kills", default=200, show_default=True, type=click.IntRange(0, 100_000), help="SIGKILLs in all.")
@click.option("--seed", default=0, show_default=True, help="What decides who is struck when.")
@click.option("--keep", type=click.Path(path_type=Path), help="Keep all state and logs in this folder.")
@json_option
def chaos(kills: int, seed: int, keep: Path | None, as_json: bool) -> None:
    """Kill aggregator, broker and vehicles at random points of rounds, fill disks, turn clocks; compare with a calm
    run.

    \b
    Examples:
      fedvit chaos --kills 20
      fedvit chaos --kills 200 --seed 7 --json
    """
    folder = keep or Path(tempfile.mkdtemp(prefix="fedvit-chaos-"))
    try:
        rounds = max(2, -(-kills // KILLS_PER_ROUND))
        emit(compare(folder, rounds, kills, seed, lambda text: click.secho(text, err=True)), as_json)
    except (TimeoutError, RuntimeError, FileNotFoundError, FileExistsError) as error:
        raise CommandError(str(error)) from error
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)
