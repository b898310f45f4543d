"""A cloud and many virtual vehicles in processes of their own: the ground that simulations and chaos runs stand on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fed_vit_aggregator.local import HOST, LocalCloud
from fed_vit_aggregator.settings import AboveSettings
from fed_vit_autorl.deployment.fleet_config import FleetConfig
from fed_vit_autorl.deployment.keys import save_public_key
from fed_vit_autorl.deployment.processes import dying_with_parent
from fed_vit_autorl.federated.virtual.host import HostSettings
from fed_vit_autorl.federated.virtual.vehicles import write_linear_release


class VirtualFleet:
    """Everything below `folder`; `width` squared is about the number of parameters."""

    def __init__(
        self,
        folder: Path,
        config: FleetConfig,
        vehicles: Sequence[str],
        processes: int,
        width: int = 100,
        launcher: Sequence[str] = (sys.executable, "-m"),
        above: AboveSettings | None = None,
    ) -> None:
        """`above`: the aggregator whose region this fleet is; `base` and `keys` are then in `folder` already."""
        self.folder, self.config, self.vehicles = Path(folder).resolve(), config, list(vehicles)
        self.hold = self.folder / "hold"
        self._launcher = launcher
        (self.folder / "keys").mkdir(parents=True, exist_ok=True)
        if not (self.folder / "base").exists():
            key = Ed25519PrivateKey.generate()
            save_public_key(key.public_key(), self.folder / "keys" / "shipped.pub")
            write_linear_release(self.folder / "base", key, width)
        self.cloud = LocalCloud(
            self.folder / "cloud", config, self.folder / "base", self.folder / "keys", launcher=launcher, above=above
        )
        for vehicle in self.vehicles:
            self.cloud.enrol(vehicle, self.folder / "vehicles" / vehicle)
        self._groups = [self.vehicles[start::processes] for start in range(min(processes, len(self.vehicles)))]
        self.hosts: list[subprocess.Popen | None] = [None] * len(self._groups)

    def start(self) -> None:
        """Broker, aggregator and all vehicles."""
        self.cloud.start()
        for index in range(len(self._groups)):
            self.start_host(index)

    def start_host(self, index: int) -> None:
        """One process of vehicles."""
        settings = HostSettings(
            folder=str(self.folder),
            region=self.config.federation.region,
            broker_host=HOST,
            broker_port=self.cloud.broker.port,
            initial_release=str(self.folder / "base"),
            vehicles=self._groups[index],
            hold=str(self.hold),
        )
        path = self.folder / f"host{index}.json"
        path.write_bytes(msgspec.json.encode(settings))
        with open(self.folder / f"host{index}.log", "ab") as log:
            self.hosts[index] = subprocess.Popen(
                dying_with_parent([*self._launcher, "fed_vit_autorl.federated.virtual.host", str(path)]),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill_host(self, index: int) -> None:
        """SIGKILL."""
        process = self.hosts[index]
        if process is not None:
            process.kill()
            process.wait()

    def respawn(self) -> int:
        """Starts again what ended by itself, as a vehicle's supervisor does; how many that were."""
        ended = [index for index, host in enumerate(self.hosts) if host is not None and host.poll() is not None]
        for index in ended:
            self.start_host(index)
        return len(ended)

    def stop(self) -> None:
        """Everything; safe to repeat."""
        for process in self.hosts:
            if process is not None and process.poll() is None:
                process.terminate()
        for process in self.hosts:
            if process is not None:
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        self.cloud.stop()
