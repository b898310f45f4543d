"""Virtual regions, each a cloud with its vehicles: run as children of this process or, spread over machines, by Ray."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import psutil

from fed_vit_aggregator.settings import AboveSettings, Address
from fed_vit_aggregator.virtual_fleet import VirtualFleet
from fed_vit_autorl.deployment.fleet_config import FleetConfig

TIMEOUT_S = 1500.0
VEHICLES_PER_PROCESS = 125
IDENTITY = "identity"


@dataclass(frozen=True)
class RegionPlan:
    """One region. `files`: what its folder holds to begin with, by relative path: the first release in `base`, `keys`
    that signed it, and for a region below another cloud its `identity` there. `above`: that cloud's region and broker.
    `folder`: "" for a temporary one on the machine where it runs.
    """

    config: FleetConfig
    vehicles: list[str]
    files: Mapping[str, bytes]
    above: tuple[str, Address] | None = None
    folder: str = ""


@dataclass(frozen=True)
class RegionResult:
    """What became of a region's rounds: seconds of each, and from the end of the last until every vehicle runs its
    release; updates in them, messages refused; CPU seconds since the start and resident memory at the end [MiB], by
    part.
    """

    seconds: list[float]
    rollout_s: float
    updates: int
    refused: int
    cost: dict[str, float]


class Region:
    """Broker, aggregator and virtual vehicles of a region, through the real protocol."""

    def __init__(self, plan: RegionPlan) -> None:
        self._temporary = None if plan.folder else tempfile.TemporaryDirectory(prefix="fedvit-region-")
        folder = Path(plan.folder or self._temporary.name)
        for name, content in plan.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        self._below = plan.above is not None
        above = None
        if plan.above is not None:
            region, broker = plan.above
            above = AboveSettings(region=region, broker=broker, identity=str(folder / IDENTITY))
        processes = max(2, -(-len(plan.vehicles) // VEHICLES_PER_PROCESS))
        self._fleet = VirtualFleet(folder, plan.config, plan.vehicles, processes, above=above)

    def start(self) -> float:
        """Returns once the first round has begun: seconds until then."""
        started = time.monotonic()
        self._fleet.start()
        self._fleet.cloud.wait(lambda state: bool(state["rounds"]), TIMEOUT_S)
        return time.monotonic() - started

    def finish(self, version: int) -> RegionResult:
        """Waits for a release, or for the end of the last round where there is nobody above who makes them, and until
        all vehicles run it.
        """
        self._fleet.cloud.wait(lambda state: self._done(state, version), TIMEOUT_S)
        ended = time.monotonic()
        all_run_it = {str(version): len(self._fleet.vehicles)}
        state = self._fleet.cloud.wait(lambda state: state["fleet"]["by_release"] == all_run_it, TIMEOUT_S)
        rollout_s = time.monotonic() - ended
        rounds = state["rounds"]
        updates, refused = sum(each["updates"] for each in rounds), sum(state["refused"].values())
        return RegionResult([each["seconds"] for each in rounds], rollout_s, updates, refused, self._cost())

    def stop(self) -> None:
        self._fleet.stop()
        if self._temporary is not None:
            self._temporary.cleanup()

    def _done(self, state: dict, version: int) -> bool:
        """A release is published before its round has ended."""
        return state["releases"][-1]["version"] >= version if self._below else state["finished"]

    def _cost(self) -> dict[str, float]:
        parts = {
            "aggregator": [self._fleet.cloud.aggregator_pid],
            "broker": [self._fleet.cloud.broker.process.pid],
            "vehicles": [host.pid for host in self._fleet.hosts if host is not None],
        }
        found = {}
        for name, pids in parts.items():
            processes = [psutil.Process(pid) for pid in pids]
            found[f"cpu_s_{name}"] = sum(sum(process.cpu_times()[:2]) for process in processes)
            found[f"memory_mib_{name}"] = sum(process.memory_info().rss for process in processes) / 2**20
        return found


class Engine(Protocol):
    """Runs regions side by side."""

    host: str  # the address at which regions reach this machine

    def begin(self, plans: Sequence[RegionPlan]) -> None:
        """Makes the regions."""

    def call(self, method: str, *arguments: Any) -> list[Any]:
        """A method of all regions at once; results in the order of the regions."""

    def stop(self) -> None: ...


class LocalEngine:
    """Regions as children of this process."""

    host = "127.0.0.1"

    def __init__(self, most: int) -> None:
        """`most`: regions at once."""
        self._pool = ThreadPoolExecutor(most)  # its threads live as long as the children that they start
        self._regions: list[Region] = []

    def begin(self, plans: Sequence[RegionPlan]) -> None:
        self._regions = list(self._pool.map(Region, plans))

    def call(self, method: str, *arguments: Any) -> list[Any]:
        return list(self._pool.map(lambda region: getattr(region, method)(*arguments), self._regions))

    def stop(self) -> None:
        self.call("stop")
        self._pool.shutdown()


class RayEngine:
    """Regions as Ray actors, spread over the machines of the cluster at RAY_ADDRESS, or of one that is started here.
    Needs the extra `scale`.
    """

    def __init__(self, most: int) -> None:
        import ray

        self._ray, self._regions = ray, []
        own = {
            "num_cpus": most,
            "object_store_memory": 128 << 20,
            "include_dashboard": False,
            "_node_ip_address": "127.0.0.1",
        }
        ray.init(log_to_driver=False, **({} if os.environ.get("RAY_ADDRESS") else own))
        self.host = ray.util.get_node_ip_address()

    def begin(self, plans: Sequence[RegionPlan]) -> None:
        actor = self._ray.remote(num_cpus=1, scheduling_strategy="SPREAD")(Region)
        self._regions = [actor.remote(plan) for plan in plans]

    def call(self, method: str, *arguments: Any) -> list[Any]:
        return self._ray.get([getattr(region, method).remote(*arguments) for region in self._regions])

    def stop(self) -> None:
        try:
            self.call("stop")
        finally:
            self._ray.shutdown()


ENGINES: dict[str, Callable[[int], Engine]] = {"local": LocalEngine, "ray": RayEngine}
