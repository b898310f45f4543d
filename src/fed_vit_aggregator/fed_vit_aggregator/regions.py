"""Virtual regions: each a cloud with its vehicles, run in this process's children or, spread over machines, by Ray.

With several regions the caller is the global level: it takes the regions' models, makes one of them, and hands it down
as the release that the next round begins with.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import psutil
import safetensors.numpy
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fed_vit_aggregator.virtual_fleet import VirtualFleet
from fed_vit_autorl.deployment import release
from fed_vit_autorl.deployment.candidate import make_candidate
from fed_vit_autorl.deployment.fleet_config import FleetConfig
from fed_vit_autorl.deployment.keys import save_public_key
from fed_vit_autorl.federated.virtual import write_linear_release

TIMEOUT_S = 600.0
VEHICLES_PER_PROCESS = 125


@dataclass(frozen=True)
class RegionPlan:
    """One region. `key`: 32 bytes, signs what comes from above; `folder`: "" for a temporary one where it runs."""

    config: FleetConfig
    vehicles: list[str]
    width: int
    key: bytes
    folder: str = ""


@dataclass(frozen=True)
class RegionRound:
    """What a region's round gave: its model as safetensors, and the updates that are in it."""

    model: bytes
    updates: int
    seconds: float


class Region:
    """Broker, aggregator and virtual vehicles of a region, through the real protocol."""

    def __init__(self, plan: RegionPlan) -> None:
        self._temporary = None if plan.folder else tempfile.TemporaryDirectory(prefix="fedvit-region-")
        folder = Path(plan.folder or self._temporary.name)
        self._plan, self._key = plan, Ed25519PrivateKey.from_private_bytes(plan.key)
        if not (folder / "base").exists():
            save_public_key(self._key.public_key(), folder / "keys" / "shipped.pub")
            write_linear_release(folder / "base", self._key, plan.width)
        processes = max(2, -(-len(plan.vehicles) // VEHICLES_PER_PROCESS))
        self._fleet = VirtualFleet(folder, plan.config, plan.vehicles, processes, plan.width)

    def start(self) -> float:
        """Returns once the first round has begun: seconds until then."""
        started = time.monotonic()
        self._fleet.start()
        self._fleet.wait(lambda state: bool(state["rounds"]), TIMEOUT_S)
        return time.monotonic() - started

    def round(self, number: int) -> RegionRound:
        """Waits for a round's end."""
        state = self._fleet.wait(lambda state: _ended(state, number), TIMEOUT_S)
        found = next(each for each in state["rounds"] if each["number"] == number)
        path = self._release(found["release"] or found["base"]) / "linear.safetensors"
        return RegionRound(path.read_bytes(), found["updates"], found["seconds"])

    def take(self, version: int, model: bytes) -> None:
        """The model from above becomes the region's release."""
        current = max(each["version"] for each in self._fleet.cloud.state()["releases"])
        base, folder = self._release(current), self._fleet.folder / f"above-{version}"
        manifest = release.decode_manifest((base / release.MANIFEST).read_bytes())
        weights = {"linear": safetensors.numpy.load(model)}
        make_candidate(base, manifest, folder, weights, self._key, version=version)
        self._fleet.cloud.act("take_over", folder=str(folder))

    def cost(self) -> dict[str, float]:
        """CPU seconds since the start and resident memory now, by part; refused messages."""
        broker = self._fleet.cloud.broker.process
        parts = {
            "aggregator": [psutil.Process(self._fleet.cloud.aggregator_pid)],
            "broker": [psutil.Process(broker.pid)],
            "vehicles": [psutil.Process(host.pid) for host in self._fleet.hosts if host is not None],
        }
        found: dict[str, float] = {"refused": sum(self._fleet.cloud.state()["refused"].values())}
        for name, processes in parts.items():
            times = [process.cpu_times() for process in processes]
            found[f"cpu_s_{name}"] = sum(each.user + each.system for each in times)
            found[f"memory_mib_{name}"] = sum(process.memory_info().rss for process in processes) / 2**20
        return found

    def stop(self) -> None:
        self._fleet.stop()
        if self._temporary is not None:
            self._temporary.cleanup()

    def _release(self, version: int) -> Path:
        return self._fleet.cloud.folder / "state" / "releases" / str(version)


class Engine(Protocol):
    """Runs regions side by side."""

    def call(self, method: str, *arguments: Any) -> list[Any]:
        """A method of all regions at once; results in the order of the regions."""

    def stop(self) -> None: ...


class LocalEngine:
    """Regions as children of this process."""

    def __init__(self, plans: Sequence[RegionPlan]) -> None:
        self._pool = ThreadPoolExecutor(len(plans))  # its threads live as long as the children that they start
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

    def __init__(self, plans: Sequence[RegionPlan]) -> None:
        import ray

        self._ray = ray
        ray.init(include_dashboard=False, log_to_driver=False, object_store_memory=128 << 20, num_cpus=len(plans))
        actor = ray.remote(num_cpus=1, scheduling_strategy="SPREAD")(Region)
        self._regions = [actor.remote(plan) for plan in plans]

    def call(self, method: str, *arguments: Any) -> list[Any]:
        return self._ray.get([getattr(region, method).remote(*arguments) for region in self._regions])

    def stop(self) -> None:
        try:
            self.call("stop")
        finally:
            self._ray.shutdown()


ENGINES: dict[str, Callable[[Sequence[RegionPlan]], Engine]] = {"local": LocalEngine, "ray": RayEngine}


def _ended(state: dict, number: int) -> bool:
    return any(each["number"] == number and each["seconds"] is not None for each in state["rounds"])
