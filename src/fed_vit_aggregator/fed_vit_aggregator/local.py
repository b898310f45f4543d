"""A region's cloud on this machine: broker, aggregator process and enrolled vehicles, for the demo, simulations and
tests.
"""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import httpx
import msgspec

from fed_vit_aggregator.keyring import Keyring
from fed_vit_aggregator.settings import AboveSettings, Address, Settings
from fed_vit_autorl.deployment.broker import Broker, free_port
from fed_vit_autorl.deployment.fleet_config import FleetConfig
from fed_vit_autorl.deployment.identity import Identity
from fed_vit_autorl.deployment.keys import load_public_keys
from fed_vit_autorl.deployment.processes import dying_with_parent

HOST = "127.0.0.1"
NICE = ("nice", "-n", "15")  # vehicles that share the machine come first
START_TIMEOUT_S = 120.0
POLL_S = 0.5


class LocalCloud:
    """`with LocalCloud(...) as cloud:` runs mosquitto with TLS and `python -m fed_vit_aggregator`, both on free ports.

    All state is below `folder`: a second one on the same folder goes on where the first was.
    """

    def __init__(
        self,
        folder: Path,
        fleet: FleetConfig,
        initial_release: Path,
        trusted_keys: Path,
        reference: Path | None = None,
        launcher: Sequence[str] = (sys.executable, "-m"),
        above: AboveSettings | None = None,
        host: str = HOST,
    ) -> None:
        """`trusted_keys`: public keys that may have signed `initial_release`, a file or
        folder of *.pub. `reference`: labelled samples for the drift gate. `above`: for a region below another cloud.
        `host`: the address of this machine at which vehicles reach it.
        """
        self.folder = Path(folder).resolve()
        self.region = fleet.federation.region
        self.keys = Keyring(self.folder / "state")
        self.broker = Broker(self.folder / "broker", self.region, self.keys.authority, host)
        self.settings = Settings(
            state=str(self.folder / "state"),
            fleet=str(self.folder / "fleet.yaml"),
            broker=Address(host, self.broker.port),
            vehicles=Address(host, free_port(host)),
            operators=Address(host, free_port(host)),
            initial_release=str(Path(initial_release).resolve()),
            trusted_keys=str(Path(trusted_keys).resolve()),
            reference=str(Path(reference).resolve()) if reference else "",
            above=above,
            broker_folder=str(self.broker.folder),
        )
        (self.folder / "fleet.yaml").write_bytes(msgspec.yaml.encode(fleet))
        self._launcher = launcher
        self.log_path = self.folder / "aggregator.log"
        self._config_path = self.folder / "aggregator.yaml"
        self._process: subprocess.Popen | None = None

    @property
    def operators_url(self) -> str:
        """The fleet's page."""
        return f"https://{self.settings.operators.host}:{self.settings.operators.port}"

    @property
    def operator_token(self) -> str:
        return (self.folder / "state" / "keys" / "operator.token").read_text().strip()

    @property
    def aggregator_pid(self) -> int:
        """Of the running process; raises RuntimeError when there is none."""
        if self._process is None:
            raise RuntimeError("the aggregator isn't running")
        return self._process.pid

    def enrol(self, vehicle: str, folder: Path | None = None) -> Identity:
        """A vehicle's identity folder, `<folder of the cloud>/vehicles/<vehicle>` by default; enrolled already is left
        as it is.
        """
        target = folder or self.folder / "vehicles" / vehicle
        return self.keys.enrol(vehicle, target, load_public_keys(Path(self.settings.trusted_keys)))

    def client(self) -> httpx.Client:
        """For the operators' plane, its certificate verified."""
        context = ssl.create_default_context(cafile=str(self.keys.authority.ca_path))
        return httpx.Client(base_url=self.operators_url, verify=context, timeout=10.0)

    def state(self) -> dict:
        """What the page shows."""
        with self.client() as client:
            return client.get("/api/state").raise_for_status().json()

    def wait(self, condition: Callable[[dict], bool], timeout_s: float) -> dict:
        """The first state that fulfils the condition, the aggregator away or not meanwhile; raises TimeoutError."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            with suppress(httpx.HTTPError):
                if condition(state := self.state()):
                    return state
            time.sleep(POLL_S)
        raise TimeoutError(f"not so after {timeout_s} s; logs are in {self.folder}")

    def start_aggregator(self) -> None:
        """Returns once it answers; raises RuntimeError with its last words if it doesn't."""
        self._config_path.write_bytes(msgspec.yaml.encode(self.settings))
        threads = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        with open(self.log_path, "ab") as log:
            self._process = subprocess.Popen(
                dying_with_parent([*NICE, *self._launcher, "fed_vit_aggregator", str(self._config_path)]),
                stdout=log,
                stderr=log,
                env={**os.environ, **threads},
                process_group=0,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                self.state()
                return
            except httpx.HTTPError:
                time.sleep(0.1)
        self.stop_aggregator()
        raise RuntimeError(f"the aggregator doesn't answer: {self.log_path.read_text(errors='replace')[-2000:]}")

    def stop_aggregator(self, kill: bool = False) -> None:
        """SIGTERM, or SIGKILL if `kill`."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        try:
            self._process.wait(40)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def start(self) -> None:
        """Both; raises RuntimeError or FileNotFoundError that says what is wrong, and leaves nothing running."""
        self.broker.start()
        try:
            self.start_aggregator()
        except BaseException:
            self.broker.stop()
            raise

    def revive(self) -> list[str]:
        """Starts again what has died, as a service manager would: names of what that was. Raises RuntimeError."""
        died = []
        if self.broker.process is not None and self.broker.process.poll() is not None:
            died.append("broker")
            self.broker.start()
        if self._process is not None and self._process.poll() is not None:
            died.append("aggregator")
            self.start_aggregator()
        return died

    def stop(self) -> None:
        """Both; safe to repeat."""
        self.stop_aggregator()
        self.broker.stop()

    def __enter__(self) -> LocalCloud:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
