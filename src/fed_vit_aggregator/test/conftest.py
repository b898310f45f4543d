"""A toy fleet of real parts: mosquitto with TLS, the aggregator process, clients with training processes."""

import ssl
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import numpy as np
import pytest
import safetensors.numpy
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fed_vit_aggregator.local import LocalCloud
from fed_vit_autorl.deployment import fleet_config
from fed_vit_autorl.deployment.keys import save_public_key
from fed_vit_autorl.federated.vehicle.releases import ShadowTest, untested
from fed_vit_autorl.federated.vehicle.service import ClientService, ClientSettings
from fed_vit_autorl.federated.vehicle.training_process import TrainerProcess
from fed_vit_autorl.federated.virtual.vehicles import write_linear_release

WIDTH = 300

# Moves every weight by what the vehicle's name and the round decide; waits while `hold-<vehicle>` is there.
TRAINER = """
import json, sys, time, zlib
from pathlib import Path
import numpy as np, safetensors.numpy
from fed_vit_autorl.federated.vehicle.training_process import write_result
folder = Path(sys.argv[1])
job = json.loads((folder / "job.json").read_text())
base = safetensors.numpy.load_file(Path(job["release"]) / "linear.safetensors")
while (Path(sys.argv[0]).parent / f"hold-{job['vehicle']}").exists():
    time.sleep(0.05)
random = np.random.default_rng(zlib.crc32(f"{job['vehicle']}/{job['round']}".encode()))
delta = {f"linear/{name}": random.normal(0, 0.01, t.shape).astype(np.float32) for name, t in base.items()}
write_result(folder, delta, samples=32, metrics={"loss": 0.5})
"""

FLEET = """
federation: {{region: test, run: toy, num_rounds: {rounds}, vehicles_per_round: 2, deadline_s: 120.0, gather_s: 0.0}}
communication: {{compression: {compression}, compression_ratio: 0.1, quantization_bits: {bits}, second_plane: {plane}}}
rollout: {{canary_share: {canary_share}, min_reports: 1, patience_s: 600.0}}
"""


class ToyFleet:
    """A cloud and its clients."""

    def __init__(
        self,
        folder: Path,
        rounds: int = 2,
        compression: str = "top_k",
        bits: int = 8,
        canary_share: float = 1.0,
        plane: str = "{from_mib: 16}",
        width: int = WIDTH,
    ) -> None:
        key = Ed25519PrivateKey.generate()
        (folder / "keys").mkdir(parents=True)
        save_public_key(key.public_key(), folder / "keys" / "shipped.pub")
        write_linear_release(folder / "base", key, width)
        text = FLEET.format(rounds=rounds, compression=compression, bits=bits, canary_share=canary_share, plane=plane)
        (folder / "fleet.yaml").write_text(text)
        (folder / "trainer.py").write_text(TRAINER)
        self.folder = folder
        config = fleet_config.load(folder / "fleet.yaml")
        self.cloud = LocalCloud(folder / "cloud", config, folder / "base", folder / "keys")
        self.clients: dict[str, ClientService] = {}

    def settings(self, vehicle: str) -> ClientSettings:
        return ClientSettings(
            region="test",
            broker_host="127.0.0.1",
            broker_port=self.cloud.broker.port,
            identity=self.cloud.enrol(vehicle).folder,
            state=self.folder / "state" / vehicle,
            initial_release=self.folder / "base",
        )

    def start_client(self, vehicle: str, shadow_test: ShadowTest = untested) -> ClientService:
        settings = self.settings(vehicle)
        command = [sys.executable, str(self.folder / "trainer.py")]
        none = self.folder / "experience"
        trusted = settings.identity / "release_keys"
        trainer = TrainerProcess(command, vehicle, settings.job, none, settings.initial_release, trusted)
        client = self.clients[vehicle] = ClientService(settings, trainer, shadow_test)
        client.start()
        return client

    def hold(self, vehicle: str) -> Path:
        """Keeps the vehicle's training from ending until the file is removed."""
        path = self.folder / f"hold-{vehicle}"
        path.touch()
        return path

    def finished(self) -> dict:
        """The state of the page once all rounds have ended."""
        return self.until(lambda state: state["finished"])

    def until(self, condition: Callable[[dict], object]) -> dict:
        """The first state of the page that fulfils the condition, the aggregator away or not meanwhile."""

        def fulfilled() -> dict | None:
            with suppress(httpx.HTTPError):
                state = self.cloud.state()
                return state if condition(state) else None

        return self.wait(fulfilled)

    @staticmethod
    def vehicle_context(identity: Path) -> ssl.SSLContext:
        """TLS as a vehicle."""
        context = ssl.create_default_context(cafile=str(identity / "ca.crt"))
        context.load_cert_chain(identity / "vehicle.crt", identity / "vehicle.key")
        return context

    def weights(self, version: int) -> dict[str, np.ndarray]:
        """Of a release, on the aggregator's disk."""
        folder = self.cloud.folder / "state" / "releases" / str(version)
        return safetensors.numpy.load_file(folder / "linear.safetensors")

    def wait(self, condition, timeout_s: float = 90.0):
        """The first true value of `condition()`; fails the test when there is none in time."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            value = condition()
            if value:
                return value
            time.sleep(0.05)
        log = self.cloud.log_path.read_text(errors="replace")[-3000:]
        return pytest.fail(f"waited {timeout_s} s in vain; the aggregator says: {log}")

    def stop(self) -> None:
        for client in self.clients.values():
            client.stop()
        self.cloud.stop()


def _fleets(folder: Path) -> Iterator[Callable[..., ToyFleet]]:
    fleets = []

    def make(**options) -> ToyFleet:
        fleets.append(ToyFleet(folder / f"fleet{len(fleets)}", **options))
        return fleets[-1]

    yield make
    for fleet in fleets:
        fleet.stop()


@pytest.fixture
def make_fleet(tmp_path):
    """Makes toy fleets and stops them."""
    yield from _fleets(tmp_path)


@pytest.fixture(scope="module")
def make_module_fleet(tmp_path_factory):
    """The same for a module's lifetime."""
    yield from _fleets(tmp_path_factory.mktemp("fleets"))
