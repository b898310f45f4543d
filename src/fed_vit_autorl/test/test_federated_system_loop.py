"""Clients, intake and rounds wired together in memory over a broker that loses, repeats and reorders."""

import random
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fed_vit_autorl.deployment.fleet_config import FleetConfig, from_mapping
from fed_vit_autorl.federated.client import ClientCore
from fed_vit_autorl.federated.intake import Intake
from fed_vit_autorl.federated.outbox import Outbox
from fed_vit_autorl.federated.rounds import RoundEngine
from fed_vit_autorl.federated.store import Phase, Store
from fed_vit_autorl.federated.virtual import VirtualKeeper, VirtualReleases, VirtualTrainer
from fed_vit_autorl.federated.wire import Pointer, Task, encode
from fed_vit_autorl.privacy.sealing import SealingKey

SHAPES = {"perception/a": (40, 50), "perception/b": (7,)}


class Fleet:
    """An aggregator and vehicles whose messages pass through `pass_on`, which may lose, repeat and reorder them."""

    def __init__(self, folder: Path, vehicles: int = 2, loss: float = 0.0, seed: int = 0, **federation) -> None:
        self.folder, self.random, self.loss, self.now = folder, random.Random(seed), loss, 0.0
        settings = {"vehicles_per_round": vehicles, "min_vehicles": 2, "num_rounds": 2, "gather_s": 0.0} | federation
        self.config = from_mapping({"federation": settings, "communication": {"compression_ratio": 0.1}}, FleetConfig)
        self.signing, self.sealing = Ed25519PrivateKey.generate(), SealingKey.generate()
        self.keys = {f"v{i}": Ed25519PrivateKey.generate() for i in range(vehicles)}
        self.clients: dict[str, ClientCore] = {}
        for name in self.keys:
            (folder / name).mkdir(parents=True)
            self.start_client(name)
        (folder / "aggregator").mkdir()
        (folder / "base").mkdir()
        zeros = {name.partition("/")[2]: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}
        safetensors.numpy.save_file(zeros, folder / "base" / "perception.safetensors")
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
            VirtualKeeper(self.folder / "base", 1),
            VirtualTrainer(name),
            chunk_bytes=256,
        )

    def start_aggregator(self) -> None:
        self.store = Store(self.folder / "aggregator")
        self.releases = VirtualReleases(self.store, SHAPES)
        self.engine = RoundEngine(
            self.config,
            self.store,
            self.releases,
            lambda: list(self.keys),
            lambda *args: self.intake.open_update(*args),
        )
        self.intake = Intake(
            "home", "main", self.store, lambda name: self.keys[name].public_key(), self.sealing, self.engine.pipeline
        )

    def pass_on(self, messages: list) -> list:
        kept = [message for message in messages if self.random.random() >= self.loss]
        if self.loss:
            kept += [message for message in kept if self.random.random() < self.loss]
        return kept

    def turn(self) -> None:
        self.now += 0.5
        while self.engine.tick(self.now):
            pass
        current = self.engine.round
        for name, client in self.clients.items():
            inbound = [(client.topics.model, self.pointer())]
            if current and current.phase is Phase.OPEN and name in current.selected:
                inbound.append((client.topics.task, self.task(name)))
            for topic, payload in self.pass_on(inbound):
                client.handle(topic, payload, self.now)
            client.work(self.now)
            for topic, payload, _ in self.pass_on(list(client.outgoing(self.now))):
                answer = self.intake.handle(topic, payload, self.now)
                if answer is not None:
                    for _, ack in self.pass_on([answer]):
                        client.handle(client.topics.ack, encode(ack, self.signing), self.now)

    def task(self, name: str) -> bytes:
        current = self.engine.round
        task = Task(
            run="main",
            round=current.number,
            base_version=current.base,
            vehicle=name,
            deadline_s=600.0,
            sealing_key=self.sealing.public,
            plan=self.engine.plan(),
        )
        return encode(task, self.signing)

    def pointer(self) -> bytes:
        version = self.releases.version
        pointer = Pointer(region="home", version=version, digest=self.releases.digest(version), url="", files={})
        return encode(pointer, self.signing)

    def run(self, turns: int = 3000) -> None:
        for _ in range(turns):
            self.turn()
            if self.engine.finished:
                return
        pytest.fail(f"not finished: {self.engine.round}, refused: {self.store.refusals()}")


def model(fleet: Fleet) -> dict:
    return fleet.releases.weights(fleet.releases.version)


def test_two_rounds_of_two_vehicles_move_the_model_by_the_mean_of_what_they_sent(tmp_path):
    fleet = Fleet(tmp_path)
    fleet.run()
    assert [r.phase for r in fleet.store.rounds("main")] == [Phase.RELEASED, Phase.RELEASED]
    assert fleet.releases.version == 3
    assert fleet.store.refusals() == {}
    assert all(client.outbox.counts() == {"accepted": 2} for client in fleet.clients.values())


def test_losses_and_repeats_change_nothing_in_the_result(tmp_path):
    clean, lossy = Fleet(tmp_path / "clean"), Fleet(tmp_path / "lossy", loss=0.3, seed=1)
    clean.run()
    lossy.run()
    for name, tensor in model(clean).items():
        np.testing.assert_array_equal(model(lossy)[name], tensor)
