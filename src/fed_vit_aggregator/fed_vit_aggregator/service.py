"""The service's parts and threads: messages in, rounds on, answers and tasks out."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fed_vit_aggregator.evaluation import ReferenceSet, no_reference
from fed_vit_aggregator.keyring import Keyring
from fed_vit_aggregator.regional import Above, RegionalReleases
from fed_vit_aggregator.releases import ReleaseFolder, Rollback
from fed_vit_aggregator.rollout import RolloutWatch
from fed_vit_aggregator.settings import Settings
from fed_vit_aggregator.tracker import TRACKERS
from fed_vit_autorl.deployment import fleet_config
from fed_vit_autorl.deployment.keys import load_public_keys
from fed_vit_autorl.deployment.pki import AGGREGATOR, EnrolmentRefused
from fed_vit_autorl.federated.cloud.folder_blocks import FolderBlocks
from fed_vit_autorl.federated.cloud.intake import Intake
from fed_vit_autorl.federated.cloud.rounds import RoundEngine
from fed_vit_autorl.federated.cloud.second_plane import SecondPlane
from fed_vit_autorl.federated.cloud.store import Store
from fed_vit_autorl.federated.cloud.telling import Teller
from fed_vit_autorl.federated.protocol.limits import Limits
from fed_vit_autorl.federated.protocol.topics import Topics
from fed_vit_autorl.federated.protocol.transport import BrokerAddress, Link
from fed_vit_autorl.federated.protocol.wire import Pointer, encode

if TYPE_CHECKING:
    from fed_vit_autorl.deployment.delivery_config import S3
    from fed_vit_autorl.federated.cloud.s3_objects import S3Objects

logger = logging.getLogger(__name__)

TICK_S = 0.2
OFFLINE_AFTER_S = 35.0  # a vehicle says every 10 s that it is there
MAX_QUEUED = 50_000
RETRY_AFTER_FAULT_S = 5.0


def _s3(settings: S3) -> S3Objects:
    # boto3 takes half a second that most fleets don't need.
    from fed_vit_autorl.federated.cloud.s3_objects import S3Objects

    return S3Objects(settings)


class AggregatorService:
    """`start` and `stop` its threads; the web apps read its parts. Everything that matters is in the store and on
    disk.
    """

    def __init__(self, settings: Settings) -> None:
        """Raises ConfigurationRefused, ReleaseRefused or OSError for what it can't start with."""
        self.settings = settings
        self.config = fleet_config.load(Path(settings.fleet))
        self.keys = Keyring(settings.folder)
        self.store = Store(settings.folder)
        self.dropped = 0
        region = self.config.federation.region
        self._topics = Topics(region)
        evaluate = (
            ReferenceSet(Path(settings.reference), settings.reference_samples) if settings.reference else no_reference
        )
        self.shipped_keys = load_public_keys(Path(settings.trusted_keys))
        plane = self.config.communication.second_plane
        self.blocks = FolderBlocks(
            settings.folder / "uploads",
            self.keys.uploads,
            self._url + "updates",
            plane.mib_per_s * 2**20,
            self.keys.authority.public_key,
        )
        self.objects = _s3(plane.s3) if plane.s3 else None
        self.releases = ReleaseFolder(
            settings.folder / "releases",
            self.config,
            self.store,
            self.keys.releases,
            self.shipped_keys,
            self.keys.repository,
            evaluate,
            self._announce,
            self.objects,
        )
        self.rollout = RolloutWatch(self.config, self.store, self.releases, self.roll_back)
        training = self.config.training
        self.above = (
            Above(settings, self.store, self.releases, self.config.federation.run, training.max_samples)
            if settings.above
            else None
        )
        made = RegionalReleases(self.releases) if self.above else self.releases
        self.engine = RoundEngine(self.config, self.store, made, self._selectable, self._open_stored)
        limits = Limits(update_bytes=int(self.config.communication.max_update_mib * 2**20))
        self.intake = Intake(
            region,
            self.config.federation.run,
            self.store,
            self.keys.authority.public_key,
            self.keys.sealing,
            self.engine.gathering,
            limits,
            SecondPlane(self.objects or self.blocks, int(plane.from_mib * 2**20)),
        )
        certificate, key = self.keys.authority.issue_client(settings.folder / "keys", AGGREGATOR)
        address = BrokerAddress(
            settings.broker.host, settings.broker.port, self.keys.authority.ca_path, certificate, key
        )
        self._inbox: queue.Queue[tuple[str, bytes]] = queue.Queue(MAX_QUEUED)
        self.link = Link(
            address, f"aggregator-{region}", [self._topics.uplink, self._topics.status], self._receive, self._connection
        )
        self._teller = Teller(self.engine, self.keys.sealing.public, self.keys.messages, self.link.publish)
        self.tracker = TRACKERS[settings.tracker](settings.folder, self.config, settings.tracker_address)
        self._tracked = 0  # the last round that the tracker was told of
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._repeat, args=(self._take_message,), name="intake", daemon=True),
            threading.Thread(target=self._repeat, args=(self._take_step,), name="rounds", daemon=True),
        ]

    def start(self) -> None:
        """Adopts the initial release, connects and begins."""
        self.releases.adopt(Path(self.settings.initial_release))
        self.link.start()
        if self.above:
            self.above.start()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends the threads; whatever they were at is taken up again by the next start."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(30)
        if self.above:
            self.above.stop()
        self.link.stop()
        self.store.close()

    @property
    def healthy(self) -> bool:
        """Connected to the broker, and both threads alive."""
        return self.link.connected.is_set() and all(thread.is_alive() for thread in self._threads)

    def online(self) -> list[str]:
        """Enrolled vehicles that were heard of lately."""
        earliest = time.monotonic() - OFFLINE_AFTER_S
        heard = {name for name, at in self.intake.heard.items() if at >= earliest}
        return [v.name for v in self.store.vehicles() if v.online and v.name in heard and self._enrolled(v.name)]

    def roll_back(self, version: int, reason: Rollback = Rollback.OPERATOR) -> int:
        """Publishes an old release's files as a new version and ends the round that trains from another; raises
        KeyError, for every version where the aggregator above makes the releases.
        """
        if self.above:
            raise KeyError("releases are made above")
        rolled = self.releases.roll_back(version, reason)
        self.engine.stop_round()
        return rolled

    @property
    def _url(self) -> str:
        """Of the vehicles' plane."""
        host = self.settings.public_host or self.settings.vehicles.host
        return f"https://{host}:{self.settings.vehicles.port}/v1/"

    def _selectable(self) -> list[str]:
        """Nobody while a release is tried: the next round trains from one that stays. In a region, nobody before the
        aggregator above asks.
        """
        if self.releases.canary:
            return []
        last = self.engine.round
        if self.above and not self.above.trainer.wants(last.number + 1 if last else 1):
            return []
        return self.online()

    def _enrolled(self, vehicle: str) -> bool:
        try:
            self.keys.authority.public_key(vehicle)
        except EnrolmentRefused:
            return False
        return True

    def _open_stored(self, run: str, round: int, vehicle: str, digest: str) -> bytes:
        return self.intake.open_stored(run, round, vehicle, digest)

    def _receive(self, topic: str, payload: bytes) -> None:
        try:
            self._inbox.put_nowait((topic, payload))
        except queue.Full:
            self.dropped += 1  # the sender asks and sends again

    def _connection(self, connected: bool) -> None:
        if connected:
            self._teller.forget()
            self._announce()

    def _repeat(self, action: Callable[[], None]) -> None:
        """A fault (a full disk, say) is logged and the action tried again: state moves only when a step is durable."""
        while not self._stopping.is_set():
            try:
                action()
            except Exception:
                if self._stopping.is_set():
                    return
                logger.exception("%s is at fault; trying again", threading.current_thread().name)
                self._stopping.wait(RETRY_AFTER_FAULT_S)

    def _take_message(self) -> None:
        try:
            topic, payload = self._inbox.get(timeout=TICK_S)
        except queue.Empty:
            return
        answer = self.intake.handle(topic, payload, time.monotonic())
        if answer is not None:
            vehicle, ack = answer
            self.link.publish(Topics(self._topics.region, vehicle).ack, encode(ack, self.keys.messages))

    def _take_step(self) -> None:
        self.releases.renew(time.monotonic())
        if self.above:
            self.above.step()
        else:
            self.rollout.step(time.monotonic())
        moved = self.engine.tick(time.monotonic())
        current = self.engine.round
        if current is not None and self.link.connected.is_set():
            self._teller.tell(current, time.monotonic())
        if current is not None and current.phase.ended and current.number > self._tracked:
            self.tracker.round_ended(current)
            self._tracked = current.number
        if not moved:
            self._stopping.wait(TICK_S)

    def _announce(self) -> None:
        pointer = Pointer(
            region=self._topics.region,
            version=self.releases.version,
            metadata=self.keys.repository.version,
            url=self._url,
        )
        self.link.publish(self._topics.model, encode(pointer, self.keys.messages), retain=True)
