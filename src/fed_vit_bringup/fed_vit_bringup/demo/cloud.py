"""The demo's cloud on this machine: certificates, a mosquitto with TLS, and the aggregator as a process of its own."""

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx
import msgspec

from fed_vit_aggregator.keyring import Keyring
from fed_vit_aggregator.settings import Address, Settings
from fed_vit_autorl.deployment.broker import Broker, free_port
from fed_vit_autorl.deployment.fleet_config import FleetConfig
from fed_vit_autorl.deployment.keys import load_public_keys
from fed_vit_autorl.deployment.pki import enrolled
from fed_vit_autorl.deployment.processes import dying_with_parent

HOST = "127.0.0.1"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0


class CloudError(Exception):
    """The cloud did not start; the message has its last words."""


class Cloud:
    """Broker and aggregator; a folder that already holds a run's state goes on with it.

    Args:
        folder: state, logs and configuration files.
        fleet: the fleet's configuration.
        vehicles: names to enrol; each gets ``<folder>/vehicles/<name>``.
        release: folder of the release that everyone starts with.
        trusted_keys: folder of the public keys that may have signed it.
        reference: folder of labelled samples that candidates are evaluated on.
    """

    def __init__(
        self,
        folder: Path,
        fleet: FleetConfig,
        vehicles: Sequence[str],
        release: Path,
        trusted_keys: Path,
        reference: Path,
    ) -> None:
        self._folder = folder.resolve()
        self._fleet = fleet
        self._release = release.resolve()
        self._keys = Keyring(self._folder / "aggregator")
        self._broker = Broker(self._folder / "broker", fleet.federation.region, self._keys.authority)
        self._settings = Settings(
            state=str(self._folder / "aggregator"),
            fleet=str(self._folder / "fleet.yaml"),
            broker=Address(HOST, self._broker.port),
            vehicles=Address(HOST, free_port()),
            operators=Address(HOST, free_port()),
            initial_release=str(self._release),
            trusted_keys=str(trusted_keys.resolve()),
            reference=str(reference.resolve()),
        )
        (self._folder / "fleet.yaml").write_bytes(msgspec.yaml.encode(fleet))
        (self._folder / "aggregator.yaml").write_bytes(msgspec.yaml.encode(self._settings))
        for vehicle in vehicles:
            if not enrolled(self._identity(vehicle)):
                self._keys.enrol(vehicle, self._identity(vehicle), load_public_keys(trusted_keys))
        self._aggregator: subprocess.Popen | None = None

    @property
    def page(self) -> str:
        """Address of the fleet's page."""
        return f"https://{HOST}:{self._settings.operators.port}/"

    def client_parameters(self, vehicle: str) -> dict[str, str | int]:
        """Parameters of a vehicle's client node that reach this cloud."""
        return {
            "region": self._fleet.federation.region,
            "broker_host": HOST,
            "broker_port": self._broker.port,
            "identity": str(self._identity(vehicle)),
            "state": str(self._folder / "vehicles" / vehicle / "state"),
            "release": str(self._release),
        }

    def start(self) -> None:
        """Returns once the aggregator is healthy; raises CloudError with the end of its log if that never comes."""
        self._broker.start()
        log_path = self._folder / "aggregator.log"
        command = [sys.executable, "-m", "fed_vit_aggregator", str(self._folder / "aggregator.yaml")]
        with log_path.open("ab") as log:
            self._aggregator = subprocess.Popen(
                dying_with_parent(command), stdout=log, stderr=log, start_new_session=True
            )
        authority = self._keys.authority.ca_path
        self._http = httpx.Client(base_url=self.page, verify=str(authority), timeout=10.0)
        end = time.monotonic() + START_TIMEOUT_S
        while not self._healthy():
            if self._aggregator.poll() is not None or time.monotonic() > end:
                raise CloudError(f"the aggregator did not start; {log_path} ends with:\n{log_path.read_text()[-2000:]}")
            time.sleep(0.2)

    def state(self) -> Mapping:
        """What the fleet's page shows: vehicles, rounds, releases, refusals."""
        return self._http.get("api/state").raise_for_status().json()

    def stop(self) -> None:
        """Stops both; safe to repeat, and at any point of the start."""
        if self._aggregator is not None:
            self._aggregator.terminate()
            try:
                self._aggregator.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._aggregator.kill()
                self._aggregator.wait()
            self._aggregator = None
            self._http.close()
        self._broker.stop()

    def _identity(self, vehicle: str) -> Path:
        return self._folder / "vehicles" / vehicle / "identity"

    def _healthy(self) -> bool:
        try:
            return self._http.get("healthz").is_success
        except httpx.TransportError:
            return False
