"""One run of the demo: cloud up, fleet up, rounds, everything down again, report."""

import json
import math
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx

from fed_vit_aggregator.local import LocalCloud
from fed_vit_autorl.cli.bench import machine
from fed_vit_autorl.deployment import fleet_config
from fed_vit_autorl.simulation.town import TownSpec
from fed_vit_bringup.demo import report, scenes
from fed_vit_bringup.demo.accounts import dense_bytes, update_accounts
from fed_vit_bringup.demo.fleet import client_parameters, demo_graph, world_record
from fed_vit_bringup.demo.narrator import Narrator
from fed_vit_bringup.demo.records import CommandLog, latency_summary, read_commands, read_observed, runs_release
from fed_vit_bringup.domain import free_domain
from fed_vit_bringup.supervisor import Supervisor

STATE_FORMAT = 3
ASK_S = 1.0
SETTLE_S = 120.0  # a loaded machine prepares a release for long; a vehicle that was started with it does not say so
REFERENCE_TOWNS = (TownSpec(seed=31),)
REPORT_TOWNS = tuple(TownSpec(seed=seed) for seed in (47, 48, 49, 53))  # one alone is off by a point of mAP50 by chance
REFERENCE_SAMPLES = 60  # of each town in each domain
REPORT_SAMPLES = 120


class Interrupted(Exception):
    """Ctrl-C or SIGTERM: everything is stopped and the state can be resumed."""


@dataclass(frozen=True)
class Plan:
    """What to run.

    Attributes:
        output: folder of report, videos, logs and state.
        domains: vehicle → the weather it lives in.
        rounds: rounds of learning.
        fleet: the fleet's configuration file; ``rounds`` overrides its ``num_rounds``.
        release: folder of the release that everyone starts with; its keys lie beside it in ``keys``.
        resume: go on with the state in ``output`` instead of starting afresh.
        record: also write each vehicle's sensors as a rosbag2.
        limit_s: stop driving after this long, and report what there is.
    """

    output: Path
    domains: Mapping[str, str]
    rounds: int
    fleet: Path
    release: Path
    resume: bool = False
    record: bool = False
    limit_s: float = 1500.0

    @property
    def state(self) -> Path:
        """Folder that a later run can go on with."""
        return self.output / "state"

    @property
    def aggregator(self) -> Path:
        """The aggregator's durable folder."""
        return self.state / "cloud" / "state"

    @property
    def vehicles(self) -> Path:
        """Folder of the vehicles' identities and states."""
        return self.state / "vehicles"

    @property
    def trusted_keys(self) -> Path:
        """Keys that may have signed the first release."""
        return self.release.parent / "keys"


def run(plan: Plan, narrator: Narrator) -> dict:
    """Runs the demo and writes its report; returns what ``report.json`` holds.

    Raises:
        Interrupted: by Ctrl-C or SIGTERM; nothing is left running.
        RuntimeError, BringUpError: something did not come up.
    """
    start = time.monotonic()
    _prepare(plan)
    domains = sorted(set(plan.domains.values()))
    with _interruptible() as interrupted:
        looking = _telling(narrator, interrupted, "looking at held-out scenes")
        reference = scenes.held_out(plan.state / "reference", REFERENCE_TOWNS, domains, REFERENCE_SAMPLES, looking)
        fleet = fleet_config.load(plan.fleet, {"federation.num_rounds": str(plan.rounds)})
        cloud = LocalCloud(plan.state / "cloud", fleet, plan.release, plan.trusted_keys, reference)
        clients = partial(client_parameters, cloud, plan.vehicles)
        graph = demo_graph(plan.output, plan.domains, clients, plan.record)
        try:
            narrator.say("starting broker and aggregator")
            cloud.start()
            narrator.say("starting world and vehicles", f"the fleet's page is {cloud.operators_url}")
            with Supervisor(graph, plan.output / "logs", free_domain()) as supervisor:
                supervisor.start()
                complete = _drive_and_learn(plan, cloud, supervisor, narrator, interrupted)
                narrator.say("stopping the vehicles")
        finally:
            cloud.stop()
        held_out = scenes.held_out(plan.state / "held_out", REPORT_TOWNS, domains, REPORT_SAMPLES, looking)
        measuring = _telling(narrator, interrupted, "measuring what was learned")
        releases = _releases(plan, held_out, domains, measuring)
    narrator.say("writing the report")
    logs = {vehicle: read_commands(plan.output / vehicle) for vehicle in plan.domains}
    result = _figures(plan, fleet, releases, logs, complete) | {"seconds": time.monotonic() - start}
    report.write(result, logs, plan.domains, plan.output)
    narrator.close()
    return result


def _prepare(plan: Plan) -> None:
    """An empty folder, or the state of an earlier run."""
    marker = plan.state / "demo.json"
    description = {"format": STATE_FORMAT, "domains": dict(plan.domains)}
    if plan.resume:
        if not marker.exists():
            raise FileNotFoundError(f"nothing to resume in {plan.output}: run without --resume")
        if json.loads(marker.read_text()) != description:
            raise ValueError(f"the state in {plan.output} is of another demo: run without --resume")
        return
    if plan.output.exists() and any(plan.output.iterdir()) and not marker.exists():
        raise FileExistsError(f"{plan.output} holds something else than a demo: choose another folder with --output")
    shutil.rmtree(plan.output, ignore_errors=True)
    plan.state.mkdir(parents=True)
    marker.write_text(json.dumps(description))


@contextmanager
def _interruptible() -> Iterator[Callable[[], None]]:
    """Yields a function that raises Interrupted once Ctrl-C or SIGTERM has come."""
    asked = []
    previous = {
        number: signal.signal(number, lambda *_: asked.append(True)) for number in (signal.SIGINT, signal.SIGTERM)
    }

    def check() -> None:
        if asked:
            raise Interrupted

    try:
        yield check
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _telling(narrator: Narrator, interrupted: Callable[[], None], stage: str) -> scenes.Report:
    def tell(done: int, of: int) -> None:
        interrupted()
        narrator.say(stage, f"{done} of {of}")

    return tell


def _drive_and_learn(
    plan: Plan, cloud: LocalCloud, supervisor: Supervisor, narrator: Narrator, interrupted: Callable[[], None]
) -> bool:
    """Until rounds are over, all vehicles run the last release and have driven their routes; False if time ran out."""
    end, asked, settled = time.monotonic() + plan.limit_s, 0.0, math.inf
    while (now := time.monotonic()) < end:
        interrupted()
        supervisor.poll()
        if now - asked < ASK_S:
            continue
        asked = now
        if died := cloud.revive():
            narrator.say("starting again", " and ".join(died))
        try:
            state = cloud.state()
        except httpx.HTTPError:  # busy; it will answer later
            continue
        latest = max((item["version"] for item in state["releases"]), default=0)
        done = sum(1 for item in state["rounds"] if item["seconds"] is not None)
        completion = {name: seen.route_completion for name, seen in world_record(plan.output).items()}
        current = [v for v in state["vehicles"] if v["release"] == latest]
        narrator.say("driving and learning", _line(plan, state, done, latest, completion))
        arrived = len(completion) == len(plan.domains) and min(completion.values()) >= 1.0
        if done >= plan.rounds and len(current) == len(plan.domains) and arrived:
            settled = min(settled, now + SETTLE_S)
            if now >= settled or all(runs_release(plan.output / vehicle, latest) for vehicle in plan.domains):
                return True
    return False


def _line(plan: Plan, state: Mapping, done: int, latest: int, completion: Mapping[str, float]) -> str:
    vehicles = ", ".join(
        f"{v['name']} {100 * completion.get(v['name'], 0.0):.0f} % {v['activity']}" for v in state["vehicles"]
    )
    return f"round {min(done + 1, plan.rounds)} of {plan.rounds}, release {latest}; {vehicles}"


def _releases(
    plan: Plan, held_out: Path, domains: Sequence[str], tell: scenes.Report
) -> list[tuple[int, dict[str, scenes.Seen]]]:
    """The version of every release of the run, the first included, and what it is worth on the held-out scenes of each
    domain.
    """
    keys = [plan.trusted_keys, plan.vehicles / next(iter(plan.domains)) / "identity" / "release_keys"]
    folders = sorted((plan.aggregator / "releases").glob("[0-9]*"), key=lambda path: int(path.name))
    found = scenes.figures(folders, keys, held_out, domains, tell)
    return [(int(folder.name), each) for folder, each in zip(folders, found, strict=True)]


def _figures(
    plan: Plan,
    fleet: fleet_config.FleetConfig,
    releases: list[tuple[int, dict[str, scenes.Seen]]],
    logs: Mapping[str, CommandLog],
    complete: bool,
) -> dict:
    observed = {vehicle: read_observed(plan.output / vehicle) for vehicle in plan.domains}
    world = world_record(plan.output)
    accounts = update_accounts(
        plan.aggregator,
        {vehicle: plan.vehicles / vehicle / "state" for vehicle in plan.domains},
        fleet.federation.run,
    )
    (_, first), (_, last) = releases[0], releases[-1]
    return {
        "complete": complete,
        "rounds": accounts.rounds,
        "updates": {"accepted": accounts.accepted, "rejected": accounts.rejected, "lost": accounts.lost},
        "vehicles": {
            vehicle: {
                "releases_activated": len({item.version for item in seen.releases if item.active and not item.reason}),
                "frames": seen.frames,
                "frames_dropped_by_swap": max((item.frames_dropped_by_swap for item in seen.releases), default=0),
                "collisions": world[vehicle].collisions,
                "route_completion": world[vehicle].route_completion,
                "interventions": seen.interventions,
            }
            for vehicle, seen in observed.items()
        },
        "latency_ms": latency_summary(list(logs.values())),
        "bytes_per_update": accounts.bytes_per_update,
        "bytes_dense_float32": dense_bytes(plan.release, plan.trusted_keys, fleet.federation.trainable),
        "perception": {
            domain: {
                "before": first[domain].all,
                "after": last[domain].all,
                "change": scenes.change(first[domain], last[domain]),
            }
            for domain in first
        },
        "releases": [
            {"version": version, "perception": {domain: seen.all for domain, seen in found.items()}}
            for version, found in releases
        ],
        "machine": machine(),
    }
