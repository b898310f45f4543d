"""The aggregator's side of the uplink: every message from the broker is checked here, and an update is acknowledged
only once it is safe.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from fed_vit_autorl.privacy.sealing import SealingKey, SealingRefused

from ...privacy.secagg import SecAggRefused
from ...refusal import Refused
from ..protocol.limits import DEFAULT, Limits, TokenBucket
from ..protocol.masking import SessionMessage
from ..protocol.topics import parse
from ..protocol.transfer import Incoming
from ..protocol.wire import (
    Ack,
    Chunk,
    Fin,
    Manifest,
    State,
    Status,
    TransportReason,
    TransportRefused,
    decode,
    sealing_context,
)
from ..refusal import UpdateRefused
from .admission import Admission
from .gathering import Gathering
from .records import Phase, StoredUpdate, VehicleRecord
from .second_plane import SecondPlane
from .store import Store

logger = logging.getLogger(__name__)

MAX_CREDIT = 64
TOTAL_CREDIT = 4096  # chunks under way from all vehicles: what the broker may have to queue for us
MAX_DIGEST_FAILURES = 3
_SILENT = frozenset(  # not provably from the vehicle, or too many to answer: counted only
    {
        TransportReason.BAD_SIGNATURE,
        TransportReason.MALFORMED,
        TransportReason.UNSUPPORTED_VERSION,
        TransportReason.UNEXPECTED_KIND,
        TransportReason.FOREIGN_TOPIC,
        TransportReason.UNKNOWN_VEHICLE,
        TransportReason.REVOKED_VEHICLE,
        TransportReason.RATE_LIMITED,
        TransportReason.BAD_CHUNK,
    }
)
_FOR_NOW = frozenset({TransportReason.STORAGE_FULL, TransportReason.DIGEST_MISMATCH, TransportReason.BETWEEN_ROUNDS})


class Intake:
    """Not safe between threads: one thread hands messages over, in the order of their arrival."""

    def __init__(
        self,
        region: str,
        run: str,
        store: Store,
        public_key: Callable[[str], Ed25519PublicKey],
        sealing_key: SealingKey,
        gathering: Gathering,
        limits: Limits = DEFAULT,
        second_plane: SecondPlane | None = None,
    ) -> None:
        """`public_key(vehicle)` raises ValueError with a `reason` for a vehicle that isn't known; `gathering` says what
        counts in a round.
        """
        self._region, self._run, self._store, self._limits = region, run, store, limits
        self._public_key, self._sealing_key, self._gathering = public_key, sealing_key, gathering
        self._admission = Admission(run, store, gathering, limits.update_bytes)
        self._second_plane = second_plane
        self.heard: dict[str, float] = {}  # vehicle → when it last said how it is, on the steady clock
        self._folder = store.folder / "incoming"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._active: dict[str, Incoming] = {}
        self._queries: dict[str, int] = {}
        self._failures: dict[str, int] = {}
        self._meters: dict[str, TokenBucket] = {}

    def handle(self, topic: str, payload: bytes, now: float) -> tuple[str, Ack] | None:
        """Takes one message; (vehicle, answer) if there is one to send. `now` is a steady clock in seconds."""
        vehicle = ""
        try:
            vehicle, rest = parse(topic, self._region)
            fresh = TokenBucket(self._limits.messages_per_s, self._limits.burst)
            if not self._meters.setdefault(vehicle, fresh).take(now):
                raise TransportRefused(TransportReason.RATE_LIMITED)
            answer = self._dispatch(vehicle, rest, payload, now)
        except TransportRefused as refusal:
            self._count(vehicle, refusal)
            return None
        return (vehicle, answer) if answer is not None else None

    def open_stored(self, run: str, round: int, vehicle: str, digest: str) -> bytes:
        """The encoded bytes of the update for a round whose sealed bytes are stored as `digest`."""
        return self._open(self._store.objects.read(digest), run, round, vehicle)

    def _dispatch(self, vehicle: str, rest: str, payload: bytes, now: float) -> Ack | None:
        key = self._key(vehicle)
        if rest == "status":
            status = decode(payload, Status)
            self.heard[vehicle] = now
            self._store.seen(VehicleRecord(vehicle, status.online, status.activity, status.release, status.metrics))
            return None
        if rest == "up/chunk":
            return self._chunk(vehicle, decode(payload, Chunk))
        if rest == "up/fin":
            return self._fin(vehicle, decode(payload, Fin))
        if rest == "up/manifest":
            return self._manifest(vehicle, decode(payload, Manifest, key))
        if rest == "up/session":
            self._session(vehicle, decode(payload, SessionMessage, key))
            return None
        raise TransportRefused(TransportReason.FOREIGN_TOPIC, rest[:100])

    def _manifest(self, vehicle: str, manifest: Manifest) -> Ack:
        if manifest.vehicle != vehicle:
            raise TransportRefused(
                TransportReason.FOREIGN_TOPIC, f"a manifest of {manifest.vehicle} on the topic of {vehicle}"
            )
        if self._store.update_with(vehicle, manifest.digest):
            return Ack(digest=manifest.digest, state=State.ACCEPTED)
        try:
            self._admission.admit(manifest)
            return self._receiving(vehicle, self._begin(manifest))
        except TransportRefused as refusal:
            return self._refuse(vehicle, manifest.digest, refusal)

    def _key(self, vehicle: str) -> Ed25519PublicKey:
        try:
            return self._public_key(vehicle)
        except Refused as refusal:
            raise TransportRefused(TransportReason(refusal.reason), vehicle) from refusal

    def _session(self, vehicle: str, message: SessionMessage) -> None:
        current = self._store.last_round(self._run)
        if message.vehicle != vehicle:
            raise TransportRefused(TransportReason.FOREIGN_TOPIC, f"{message.vehicle} on the topic of {vehicle}")
        if current is None or current.phase not in (Phase.OPEN, Phase.CLOSED):
            raise TransportRefused(TransportReason.STALE_ROUND, f"round {message.round} has no session")
        try:
            self._gathering.take(current, message)
        except SecAggRefused as refusal:
            logger.info("session of round %d: %s: %s", message.round, vehicle, refusal)
            self._store.count_refusal(vehicle, refusal.reason)

    def _begin(self, manifest: Manifest) -> Incoming:
        active = self._active.get(manifest.vehicle)
        if active is not None and active.manifest == manifest:
            return active
        if active is not None:
            self._drop(manifest.vehicle)
        under_way = sum(incoming.manifest.size for incoming in self._active.values())
        free = shutil.disk_usage(self._folder).free - self._limits.spare_bytes
        if under_way + manifest.size > self._limits.incoming_bytes or manifest.size > free:
            raise TransportRefused(TransportReason.STORAGE_FULL, "no room for this update now")
        incoming = self._active[manifest.vehicle] = Incoming(self._folder_of(manifest.round), manifest)
        self._queries[manifest.vehicle] = 0
        return incoming

    def _folder_of(self, round: int) -> Path:
        """Transfers of a round; what is left of earlier rounds' goes."""
        folder = self._folder / str(round)
        if not folder.exists():
            for vehicle in list(self._active):
                self._drop(vehicle)
            for old in self._folder.iterdir():
                shutil.rmtree(old)
            folder.mkdir()
        return folder

    def _chunk(self, vehicle: str, chunk: Chunk) -> Ack | None:
        incoming = self._active.get(vehicle)
        if incoming is None or incoming.manifest.digest != chunk.digest:
            return self._unknown(vehicle, chunk.digest) if incoming is None else None
        try:
            incoming.write(chunk)
        except TransportRefused as refusal:
            if refusal.reason in _SILENT:
                raise
            return self._refuse(vehicle, chunk.digest, refusal)
        if incoming.since_ack < max(1, self._credit() // 2):
            return None
        return self._receiving(vehicle, incoming)

    def _fin(self, vehicle: str, fin: Fin) -> Ack:
        incoming = self._active.get(vehicle)
        if incoming is None or incoming.manifest.digest != fin.digest:
            return self._unknown(vehicle, fin.digest, fin.query)
        self._queries[vehicle] = fin.query
        try:
            if (plane := self._plane(incoming)) is not None:
                plane.collect(incoming)
            if not incoming.complete:
                return self._receiving(vehicle, incoming)
            self._accept(vehicle, incoming)
        except (TransportRefused, UpdateRefused) as refusal:
            return self._refuse(vehicle, fin.digest, refusal)
        return Ack(digest=fin.digest, state=State.ACCEPTED, query=fin.query)

    def _accept(self, vehicle: str, incoming: Incoming) -> None:
        """Synced file, then unique row, and only then an acknowledgement: raises what makes it impossible."""
        manifest = incoming.manifest
        content = incoming.finish()
        current, origin = self._admission.admit(manifest)
        encoded = self._open(content, manifest.run, manifest.round, vehicle)
        metadata = self._gathering.check(origin, encoded)
        if (metadata.vehicle, metadata.round, metadata.base_version) != (vehicle, origin.number, origin.base):
            raise TransportRefused(
                TransportReason.HEADER_MISMATCH, "the sealed header names another vehicle, round or base"
            )
        incoming.hand_over(self._store.objects)
        entered = self._store.add_update(
            StoredUpdate(
                manifest.run,
                current.number,
                manifest.round,
                vehicle,
                manifest.digest,
                metadata.samples,
                manifest.size,
                metadata.metrics,
                time.time(),
            )
        )
        if not entered:
            self._store.objects.remove(manifest.digest)
            raise TransportRefused(TransportReason.STALE_ROUND, "the round closed meanwhile")
        self._drop(vehicle)

    def _open(self, content: bytes, run: str, round: int, vehicle: str) -> bytes:
        try:
            return self._sealing_key.open(content, sealing_context(run, round, vehicle))
        except SealingRefused as error:
            raise TransportRefused(TransportReason.NOT_OPENED, str(error)) from error

    def _receiving(self, vehicle: str, incoming: Incoming, reason: str = "") -> Ack:
        incoming.since_ack = 0
        plane = self._plane(incoming)
        return Ack(
            digest=incoming.manifest.digest,
            state=State.RECEIVING,
            reason=reason,
            query=self._queries.get(vehicle, 0),
            credit=self._credit() if plane is None else 0,
            have=incoming.bitmap,
            block_bytes=plane.block_bytes(incoming.manifest) if plane is not None else 0,
            blocks=plane.missing(incoming) if plane is not None else {},
        )

    def _plane(self, incoming: Incoming) -> SecondPlane | None:
        """The way of an update if it isn't MQTT."""
        plane = self._second_plane
        return plane if plane is not None and plane.carries(incoming.manifest) else None

    def _unknown(self, vehicle: str, digest: str, query: int = 0) -> Ack:
        accepted = self._store.update_with(vehicle, digest)
        return Ack(digest=digest, state=State.ACCEPTED if accepted else State.UNKNOWN, query=query)

    def _refuse(self, vehicle: str, digest: str, refusal: TransportRefused | UpdateRefused) -> Ack:
        """Counted and answered; for good, or for now when a later try may go well."""
        self._count(vehicle, refusal)
        self._failures[digest] = self._failures.get(digest, 0) + (refusal.reason is TransportReason.DIGEST_MISMATCH)
        incoming = self._active.get(vehicle)
        if refusal.reason in _FOR_NOW and self._failures[digest] < MAX_DIGEST_FAILURES:
            if incoming is None:
                return Ack(digest=digest, state=State.UNKNOWN, reason=refusal.reason, credit=0)
            return self._receiving(vehicle, incoming, refusal.reason)
        self._drop(vehicle)
        self._failures.pop(digest, None)
        return Ack(digest=digest, state=State.REFUSED, reason=refusal.reason)

    def _drop(self, vehicle: str) -> None:
        if vehicle in self._active:
            incoming = self._active.pop(vehicle)
            incoming.discard()
            if (plane := self._plane(incoming)) is not None:
                plane.forget(incoming.manifest)

    def _credit(self) -> int:
        return max(1, min(MAX_CREDIT, TOTAL_CREDIT // max(1, len(self._active))))

    def _count(self, vehicle: str, refusal: TransportRefused | UpdateRefused) -> None:
        logger.info("refused from %s: %s", vehicle or "an unknown topic", refusal)
        self._store.count_refusal(vehicle, refusal.reason)
