"""The vehicle's client with its thread and its link; the lifecycle node and plain Python programs run the same."""

from __future__ import annotations

import logging
import queue
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from fed_vit_autorl.deployment.identity import Identity
from fed_vit_autorl.deployment.release import Manifest
from fed_vit_autorl.deployment.tuf_client import ReleaseFeed

from ..protocol.transport import BrokerAddress, Link
from .client import ClientCore
from .https import VehicleHttp
from .masking import Member
from .outbox import Outbox
from .peers import certificate_bytes, signer, verifier
from .personal_release import PersonalReleases
from .releases import ReleaseShelf, ShadowTest, untested
from .training import Trainer
from .upload import BlockUpload

logger = logging.getLogger(__name__)

STEP_S = 0.2
MAX_QUEUED = 1000
RETRY_AFTER_FAULT_S = 5.0


@dataclass(frozen=True)
class ClientSettings:
    """`identity`: the folder of the enrolment. `state`: outbox, releases and jobs."""

    region: str
    broker_host: str
    broker_port: int
    identity: Path
    state: Path
    initial_release: Path

    @property
    def job(self) -> Path:
        """Folder for a training process's files."""
        return self.state / "job"


class ClientService:
    """`start` and `stop`; everything that matters is in the outbox and on disk. `driving` is what the vehicle should
    run.
    """

    def __init__(self, settings: ClientSettings, trainer: Trainer, shadow_test: ShadowTest = untested) -> None:
        settings.state.mkdir(parents=True, exist_ok=True)
        identity = Identity(settings.identity)
        vehicle = identity.vehicle
        self.outbox = Outbox(settings.state)
        address = BrokerAddress(
            settings.broker_host, settings.broker_port, identity.ca_path, identity.certificate_path, identity.key_path
        )
        self._http = VehicleHttp(address.context())
        self.releases = ReleaseShelf(
            settings.state / "releases",
            identity,
            ReleaseFeed(settings.state / "metadata", identity.root_path, vehicle, self._http.read),
            self.outbox,
            self._http.fetch,
            shadow_test,
            settings.initial_release,
        )
        self.uploads = BlockUpload(
            lambda url, content: self._http.put(url, content, ours=url.startswith(self.releases.url or "-"))
        )
        self._trainer = trainer
        key = identity.signing_key()
        certificate, ca = identity.certificate_path.read_bytes(), identity.ca_path.read_bytes()
        self.core = ClientCore(
            settings.region,
            vehicle,
            key,
            identity.aggregator_keys(),
            self.outbox,
            self.releases,
            self._trainer,
            Member(settings.state, vehicle, certificate_bytes(certificate), signer(key), verifier(ca)),
            self.uploads,
        )
        self._personal = PersonalReleases(settings.state / "personal", self.outbox, key)
        self.driving: tuple[Path, Manifest] | None = None  # the active release, with heads of its own if it has any
        topics = self.core.topics
        self._inbox: queue.Queue[tuple[str, bytes]] = queue.Queue(MAX_QUEUED)
        self._reconnected = threading.Event()
        self.link = Link(
            address,
            f"vehicle-{settings.region}-{vehicle}",
            [topics.downlink, topics.model],
            self._receive,
            lambda connected: self._reconnected.set() if connected else None,
            will=self.core.farewell(),
        )
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Connects, and takes its turns on a thread of its own."""
        self.connect()
        self._thread = threading.Thread(target=self._run, name="client", daemon=True)
        self._thread.start()

    def connect(self) -> None:
        """Connects only: the caller takes the `turn`s."""
        self.link.start()

    def turn(self, wait_s: float = 0.0) -> None:
        """Takes in what has come (waits so long for a first message), works, and sends what is due."""
        try:
            topic, payload = self._inbox.get(block=wait_s > 0, timeout=wait_s)
            self.core.handle(topic, payload, time.monotonic())
            while True:
                topic, payload = self._inbox.get_nowait()
                self.core.handle(topic, payload, time.monotonic())
        except queue.Empty:
            pass
        if self._reconnected.is_set():
            self._reconnected.clear()
            self.core.connected(time.monotonic())
        self.releases.check(time.monotonic())
        if (active := self.releases.active) is not None:
            self.driving = self._personal.of(*active)
        self.core.work(time.monotonic())
        if self.link.connected.is_set():
            for topic, payload, retain in self.core.outgoing(time.monotonic()):
                self.link.publish(topic, payload, retain)

    def stop(self) -> None:
        """Says goodbye and ends the training; the next start goes on where this one was."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(30)
        self._trainer.cancel()
        self.link.stop(dict([self.core.farewell()]))
        self.releases.stop()
        self.uploads.stop()
        self._http.close()
        self.outbox.close()

    def _receive(self, topic: str, payload: bytes) -> None:
        try:
            self._inbox.put_nowait((topic, payload))
        except queue.Full:
            logger.warning("a message on %s dropped: the client is behind", topic)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.turn(STEP_S)
            except Exception:
                logger.exception("the client is at fault; trying again")
                self._stopping.wait(RETRY_AFTER_FAULT_S)
