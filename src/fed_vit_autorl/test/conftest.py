"""A fleet in memory for tests of the federation: clients, intake and rounds over a broker that loses, repeats and
reorders.
"""

import hashlib
import os
import random
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import safetensors.numpy
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fed_vit_autorl.deployment.config_file import from_mapping
from fed_vit_autorl.deployment.fleet_config import FleetConfig
from fed_vit_autorl.federated.cloud.intake import Intake
from fed_vit_autorl.federated.cloud.rounds import RoundEngine
from fed_vit_autorl.federated.cloud.store import Store
from fed_vit_autorl.federated.cloud.telling import Teller
from fed_vit_autorl.federated.control import CONTROL
from fed_vit_autorl.federated.protocol.wire import Ack, Chunk, Fin, Manifest, Pointer, State, encode
from fed_vit_autorl.federated.vehicle.client import ClientCore
from fed_vit_autorl.federated.vehicle.masking import Member
from fed_vit_autorl.federated.vehicle.outbox import Outbox
from fed_vit_autorl.federated.vehicle.training import Trainer
from fed_vit_autorl.federated.vehicle.upload import BlockUpload
from fed_vit_autorl.federated.virtual.vehicles import VirtualKeeper, VirtualReleases, VirtualTrainer
from fed_vit_autorl.privacy.sealing import SealingKey

SHAPES = {"perception/a": (40, 50), "perception/b": (7,)}


class Keeper(VirtualKeeper):
    """One folder per release."""

    def folder(self, version: int) -> Path | None:
        return self._folder / str(version) if version <= self.version else None


class MemoryFleet:
    """An aggregator and vehicles whose messages pass through `pass_on`, which may lose, repeat and reorder them.

    `sections`: of the fleet's file, beside `federation`. `down`: vehicles that are out of reach.
    """

    def __init__(
        self,
        folder: Path,
        vehicles: int = 2,
        loss: float = 0.0,
        luck: int = 0,
        sections: dict | None = None,
        make_trainer: Callable[[str], Trainer] = VirtualTrainer,
        shapes: Mapping[str, tuple[int, ...]] = SHAPES,
        **federation,
    ) -> None:
        self.make_trainer, self.shapes = make_trainer, shapes
        self.folder, self.random, self.loss, self.now = folder, random.Random(luck), loss, 0.0
        self.down: set[str] = set()
        settings = {"vehicles_per_round": vehicles, "min_vehicles": 2, "num_rounds": 2, "gather_s": 0.0} | federation
        content = {"communication": {"compression_ratio": 0.1}} | (sections or {}) | {"federation": settings}
        self.config = from_mapping(content, FleetConfig)
        self.signing, self.sealing = Ed25519PrivateKey.generate(), SealingKey.generate()
        self.keys = {f"v{i}": Ed25519PrivateKey.generate() for i in range(vehicles)}
        self.clients: dict[str, ClientCore] = {}
        for name in self.keys:
            (folder / name).mkdir(parents=True)
            self.start_client(name)
        (folder / "aggregator").mkdir()
        self.start_aggregator()

    def start_client(self, name: str) -> None:
        if name in self.clients:
            self.clients[name].outbox.close()
        self.clients[name] = ClientCore(
            "home",
            name,
            self.keys[name],
            [self.signing.public_key()],
            Outbox(self.folder / name),
            Keeper(self.folder / "releases", 1),
            self.make_trainer(name),
            self.member(name),
            BlockUpload(lambda url, content: 403),
            chunk_bytes=256,
        )

    def member(self, name: str) -> Member:
        def verify(member, message):
            return member.signature == sign(member.vehicle.encode() + message)

        def sign(message):
            return hashlib.sha256(b"key of" + message).digest()

        return Member(self.folder / name, name, b"", lambda message: sign(name.encode() + message), verify)

    def start_aggregator(self) -> None:
        self.store = Store(self.folder / "aggregator")
        self.releases = VirtualReleases(self.store, self.shapes, self.export)
        self.export(self.releases.version)
        self.engine = RoundEngine(
            self.config,
            self.store,
            self.releases,
            lambda: [name for name in self.keys if name not in self.down],
            lambda *args: self.intake.open_stored(*args),
        )
        self.told: list[tuple[str, bytes]] = []
        self.teller = Teller(
            self.engine, self.sealing.public, self.signing, lambda topic, payload: self.told.append((topic, payload))
        )
        self.intake = Intake(
            "home", "main", self.store, lambda name: self.keys[name].public_key(), self.sealing, self.engine.gathering
        )

    def export(self, version: int) -> None:
        """A release's files, where vehicles find them."""
        folder = self.folder / "releases" / str(version)
        folder.mkdir(parents=True, exist_ok=True)
        weights = {name.partition("/")[2]: tensor for name, tensor in self.releases.weights(version).items()}
        safetensors.numpy.save_file(weights, folder / "perception.safetensors")
        if self.releases.control:
            safetensors.numpy.save_file(self.releases.control, folder / CONTROL)

    def pass_on(self, messages: list) -> list:
        kept = [message for message in messages if self.random.random() >= self.loss]
        if self.loss:
            kept += [message for message in kept if self.random.random() < self.loss]
        return kept

    def turn(self) -> None:
        self.now += 0.5
        while self.engine.tick(self.now):
            pass
        told: list[tuple[str, bytes]] = []
        if self.engine.round is not None:
            self.teller.tell(self.engine.round, self.now)
            told, self.told = self.told, told
        for name, client in self.clients.items():
            if name in self.down:
                continue
            own = f"fl/v1/home/{name}/"
            inbound = [(client.topics.model, self.pointer()), *(each for each in told if each[0].startswith(own))]
            for topic, payload in self.pass_on(inbound):
                client.handle(topic, payload, self.now)
            client.work(self.now)
            for topic, payload, _ in self.pass_on(list(client.outgoing(self.now))):
                answer = self.intake.handle(topic, payload, self.now)
                if answer is not None:
                    for _, ack in self.pass_on([answer]):
                        client.handle(client.topics.ack, encode(ack, self.signing), self.now)

    def task(self, name: str) -> bytes:
        return encode(self.teller.task(self.engine.round, name), self.signing)

    def pointer(self) -> bytes:
        return encode(Pointer(region="home", version=self.releases.version, metadata=1, url=""), self.signing)

    def hear(self, name: str, part: str, payload: bytes) -> Ack | None:
        """The aggregator's answer to something that arrives on a vehicle's topic."""
        answer = self.intake.handle(f"fl/v1/home/{name}/up/{part}", payload, self.now)
        return answer[1] if answer else None

    def prepared(self, name: str) -> tuple[Manifest, bytes]:
        """A vehicle's manifest and sealed bytes, trained but not sent."""
        client = self.clients[name]
        while self.engine.tick(self.now):
            pass
        client.handle(client.topics.task, self.task(name), self.now)
        while not client.outbox.pending():
            client.work(self.now)
        manifest = client.outbox.pending()[0].manifest
        return manifest, client.outbox.objects.read(manifest.digest)

    def send(self, manifest: Manifest, sealed: bytes, key: Ed25519PrivateKey) -> Ack:
        """A whole transfer; the last answer."""
        answer = self.hear(manifest.vehicle, "manifest", encode(manifest, key))
        if answer.state is not State.RECEIVING:
            return answer
        for index in range(manifest.chunks):
            data = sealed[index * manifest.chunk_bytes :][: manifest.chunk_bytes]
            self.hear(manifest.vehicle, "chunk", encode(Chunk(digest=manifest.digest, index=index, data=data)))
        return self.hear(manifest.vehicle, "fin", encode(Fin(digest=manifest.digest, query=1)))

    def run(self, turns: int = 3000) -> None:
        for _ in range(turns):
            self.turn()
            if self.engine.finished:
                return
        pytest.fail(f"not finished: {self.engine.round}, refused: {self.store.refusals()}")


@pytest.fixture
def memory_fleet(monkeypatch) -> type[MemoryFleet]:
    """The class: `memory_fleet(folder, vehicles=…, loss=…, …)`."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # objects restart here, machines do not
    return MemoryFleet
