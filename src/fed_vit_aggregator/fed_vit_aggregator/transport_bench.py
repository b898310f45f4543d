"""Bench `transport`: one update of 350 MB from a vehicle to the aggregator's disk, over a radio link that loses 5 %
and is cut three times.
"""

from __future__ import annotations

import hashlib
import os
import queue
import socket
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace

from fed_vit_aggregator.keyring import Keyring
from fed_vit_autorl.deployment.broker import Broker
from fed_vit_autorl.deployment.identity import Identity
from fed_vit_autorl.deployment.pki import AGGREGATOR
from fed_vit_autorl.federated.cloud.intake import MAX_CREDIT, Intake
from fed_vit_autorl.federated.cloud.store import Store
from fed_vit_autorl.federated.protocol.limits import Limits
from fed_vit_autorl.federated.protocol.topics import Topics
from fed_vit_autorl.federated.protocol.transfer import Sender
from fed_vit_autorl.federated.protocol.transport import BrokerAddress, Link
from fed_vit_autorl.federated.protocol.wire import CHUNK_BYTES, Ack, Chunk, Fin, Manifest, State, decode, encode
from fed_vit_autorl.federated.update import UpdateMetadata
from fed_vit_autorl.privacy.sealing import seal
from fed_vit_autorl.simulation import network
from fed_vit_autorl.simulation.network_proxy import NetworkProxy

SIZE_BYTES = 350_000_000
RADIO = network.Link(loss=0.05, latency_s=0.010, bandwidth=200e6, hops=1)
CUTS = (0.25, 0.5, 0.75)
REGION, RUN, VEHICLE = "bench", "bench", "v1"
TIMEOUT_S = 900.0


class Uplink:
    """Both ends around a broker: the aggregator beside it, the vehicle behind the radio link."""

    def __init__(self, folder: Path) -> None:
        keys = Keyring(folder)
        self.signing, self.sealing, self.authority = keys.messages, keys.sealing, keys.authority
        self.identity = keys.enrol(VEHICLE, folder / "identity", [])
        self.broker = Broker(folder / "broker", REGION, self.authority)
        self.store = Store(folder)
        self.store.open_round(RUN, 1, 1, [VEHICLE])
        # Any bytes are an update here: what is measured is the way, not the decoder.
        raw = SimpleNamespace(
            origin=lambda current, number: current,
            admits=lambda origin, vehicle: True,
            check=lambda origin, encoded: UpdateMetadata(1, 1, VEHICLE, 1),
            pipelines=SimpleNamespace(of=lambda version: SimpleNamespace(max_bytes=2 * SIZE_BYTES)),
        )
        limits = Limits(update_bytes=2 * SIZE_BYTES, messages_per_s=1e6, burst=1e6)
        self.intake = Intake(REGION, RUN, self.store, self.authority.public_key, self.sealing, raw, limits)
        self._inbox: queue.Queue[tuple[str, bytes]] = queue.Queue()
        certificate, key = self.authority.issue_client(folder, AGGREGATOR)
        address = BrokerAddress("127.0.0.1", self.broker.port, self.authority.ca_path, certificate, key)
        uplink = Topics(REGION).uplink
        self._link = Link(address, "aggregator", [uplink], lambda topic, payload: self._inbox.put((topic, payload)))
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._answer, daemon=True)

    def start(self) -> None:
        self.broker.start()
        self._link.start()
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(10)
        self._link.stop()
        self.broker.stop()
        self.store.close()

    def _answer(self) -> None:
        while not self._stopping.is_set():
            try:
                topic, payload = self._inbox.get(timeout=0.1)
            except queue.Empty:
                continue
            answer = self.intake.handle(topic, payload, time.monotonic())
            if answer is not None:
                self._link.publish(Topics(REGION, VEHICLE).ack, encode(answer[1], self.signing))


def send(uplink: Uplink, identity: Identity, port: int, path: Path, manifest: Manifest, proxy: NetworkProxy) -> Sender:
    """The vehicle's side until the aggregator has settled it; cuts the link on the way."""
    inbox: queue.Queue[bytes | None] = queue.Queue()
    address = BrokerAddress("127.0.0.1", port, identity.ca_path, identity.certificate_path, identity.key_path)
    topics = Topics(REGION, VEHICLE)
    link = Link(
        address,
        "vehicle",
        [topics.ack],
        lambda topic, payload: inbox.put(payload),
        lambda connected: inbox.put(None) if connected else None,
    )
    sender, key = Sender(manifest, path), identity.signing_key()
    names = {Manifest: topics.manifest, Chunk: topics.chunk, Fin: topics.fin}
    link.start()
    cuts, deadline = list(CUTS), time.monotonic() + TIMEOUT_S
    while not sender.done and time.monotonic() < deadline:
        try:
            payload = inbox.get(timeout=0.1)
            while True:
                if payload is None:
                    sender.reconnected(time.monotonic())
                else:
                    sender.on_ack(decode(payload, Ack, uplink.signing.public_key()), time.monotonic())
                payload = inbox.get_nowait()
        except queue.Empty:
            pass
        if link.connected.is_set():
            for message in sender.outgoing(time.monotonic()):
                link.publish(names[type(message)], encode(message, key))
        if cuts and sender.bytes_sent >= cuts[0] * manifest.size:
            cuts.pop(0)
            proxy.cut()
    link.stop()
    return sender


def plain_copy_s(content: bytes) -> float:
    """Seconds that the same bytes take over the same radio link on a bare TCP connection: the physical floor."""
    server = socket.create_server(("127.0.0.1", 0))

    def drain() -> None:
        connection, _ = server.accept()
        with connection:
            while connection.recv(1 << 20):
                pass
            connection.sendall(b"done")

    threading.Thread(target=drain, daemon=True).start()
    with NetworkProxy("127.0.0.1", server.getsockname()[1], lambda seconds: RADIO) as proxy, server:
        started = time.monotonic()
        with socket.create_connection(("127.0.0.1", proxy.port)) as client:
            client.sendall(content)
            client.shutdown(socket.SHUT_WR)
            while proxy.bytes_up < len(content):
                time.sleep(0.01)
        return time.monotonic() - started


def bench() -> dict:
    """`resent_bytes_per_cut` counts what the vehicle sent beyond the update's size; `window_bytes` is what may be
    under way.
    """
    with tempfile.TemporaryDirectory(prefix="fedvit-transport-") as name:
        folder = Path(name)
        uplink = Uplink(folder)
        content = seal(
            os.urandom(SIZE_BYTES), uplink.sealing.public, f"fed-vit-autorl update/{RUN}/1/{VEHICLE}".encode()
        )
        path = folder / "update"
        path.write_bytes(content)
        floor = plain_copy_s(content)
        manifest = Manifest(
            run=RUN,
            round=1,
            base_version=1,
            vehicle=VEHICLE,
            digest=hashlib.sha256(content).hexdigest(),
            size=len(content),
            chunk_bytes=CHUNK_BYTES,
        )
        del content
        uplink.start()
        try:
            with NetworkProxy("127.0.0.1", uplink.broker.port, lambda seconds: RADIO) as proxy:
                started = time.monotonic()
                sender = send(uplink, uplink.identity, proxy.port, path, manifest, proxy)
                seconds = time.monotonic() - started
            stored = uplink.store.update_with(VEHICLE, manifest.digest)
        finally:
            uplink.stop()
    return {
        "completed": sender.done and sender.answer.state is State.ACCEPTED and stored,
        "bytes": manifest.size,
        "seconds": seconds,
        "floor_s": floor,
        "ratio": floor / seconds,
        "cuts": len(CUTS),
        "resent_bytes_per_cut": (proxy.bytes_up - manifest.size) / len(CUTS),
        "window_bytes": MAX_CREDIT * CHUNK_BYTES,
        "loss": RADIO.loss,
        "bandwidth_mbit_s": RADIO.bandwidth / 1e6,
    }
