"""Clients, intake and rounds wired together in memory over a broker that loses, repeats and reorders."""

import hashlib
import random
from pathlib import Path

import msgspec
import numpy as np
import pytest
import safetensors.numpy
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fed_vit_autorl.deployment.fleet_config import FleetConfig, from_mapping
from fed_vit_autorl.deployment.pki import Authority
from fed_vit_autorl.federated.client import ClientCore
from fed_vit_autorl.federated.intake import Intake
from fed_vit_autorl.federated.outbox import Outbox
from fed_vit_autorl.federated.rounds import RoundEngine
from fed_vit_autorl.federated.store import Phase, Store
from fed_vit_autorl.federated.virtual import VirtualKeeper, VirtualReleases, VirtualTrainer
from fed_vit_autorl.federated.wire import Ack, Chunk, Fin, Manifest, Pointer, State, Task, encode, sealing_context
from fed_vit_autorl.privacy.sealing import SealingKey, seal

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


def model(fleet: Fleet) -> dict:
    return fleet.releases.weights(fleet.releases.version)


def test_two_rounds_of_two_vehicles_move_the_model_by_the_mean_of_what_they_sent(tmp_path):
    fleet = Fleet(tmp_path)
    fleet.run()
    assert [r.phase for r in fleet.store.rounds("main")] == [Phase.RELEASED, Phase.RELEASED]
    assert fleet.releases.version == 3
    assert fleet.store.refusals() == {}
    assert all(client.outbox.counts() == {"accepted": 2} for client in fleet.clients.values())


def test_updates_that_are_kept_until_the_end_of_a_round_are_spooled(tmp_path):
    fleet = Fleet(tmp_path, aggregation="median")
    fleet.run()
    assert [r.phase for r in fleet.store.rounds("main")] == [Phase.RELEASED, Phase.RELEASED]
    assert not (fleet.store.folder / "spool").exists()


def test_losses_and_repeats_change_nothing_in_the_result(tmp_path):
    clean, lossy = Fleet(tmp_path / "clean"), Fleet(tmp_path / "lossy", loss=0.3, seed=1)
    clean.run()
    lossy.run()
    for name, tensor in model(clean).items():
        np.testing.assert_array_equal(model(lossy)[name], tensor)


@pytest.fixture
def fleet(tmp_path):
    return Fleet(tmp_path)


def counted(fleet: Fleet, name: str = "v0") -> dict[str, int]:
    return {reason: count for (vehicle, reason), count in fleet.store.refusals().items() if vehicle == name}


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "malformed"),
        (b"GET / HTTP/1.1", "malformed"),
        (b"FV\x09\x02" + bytes(100), "unsupported_version"),
        (b"FV\x01\x01" + bytes(100), "unexpected_kind"),
        (b"FV\x01\x02" + bytes(100), "bad_signature"),
        (b"FV\x01\x02" + bytes(1 << 20), "too_large"),
    ],
    ids=["empty", "foreign", "version", "kind", "signature", "size"],
)
def test_garbage_instead_of_a_manifest_is_counted_and_not_answered(fleet, payload, reason):
    assert fleet.hear("v0", "manifest", payload) is None
    assert counted(fleet) == {reason: 1}


def test_a_manifest_signed_by_another_vehicle_is_refused(fleet):
    manifest, _ = fleet.prepared("v0")
    assert fleet.hear("v0", "manifest", encode(manifest, fleet.keys["v1"])) is None
    assert counted(fleet) == {"bad_signature": 1}


def test_a_manifest_on_another_vehicles_topic_is_refused(fleet):
    manifest, _ = fleet.prepared("v0")
    forged = msgspec.structs.replace(manifest, vehicle="v1")
    assert fleet.hear("v0", "manifest", encode(forged, fleet.keys["v0"])) is None
    assert counted(fleet) == {"foreign_topic": 1}


@pytest.mark.parametrize(
    "topic", ["fl/v1/away/v0/up/fin", "fl/v1/home/V0/up/fin", "fl/v1/home/v0", "x", "fl/v1/home/v0/down/ack"]
)
def test_foreign_topics_are_refused(fleet, topic):
    assert fleet.intake.handle(topic, b"", 0.0) is None
    assert sum(fleet.store.refusals().values()) == 1
    assert {reason for _, reason in fleet.store.refusals()} == {"foreign_topic"}


def test_an_unknown_vehicle_is_refused(tmp_path):
    fleet = Fleet(tmp_path)
    manifest, _ = fleet.prepared("v0")
    authority = Authority(tmp_path / "pki")
    fleet.intake = Intake("home", "main", fleet.store, authority.public_key, fleet.sealing, fleet.engine.pipeline)
    assert fleet.hear("v0", "manifest", encode(manifest, fleet.keys["v0"])) is None
    assert counted(fleet) == {"unknown_vehicle": 1}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"run": "other"}, "wrong_run"),
        ({"round": 7}, "stale_round"),
        ({"base_version": 9}, "wrong_base"),
        ({"size": 1 << 27, "chunk_bytes": 4096}, "too_large"),
    ],
)
def test_a_manifest_that_does_not_fit_the_round_is_refused_for_good(fleet, change, reason):
    manifest, _ = fleet.prepared("v0")
    answer = fleet.hear("v0", "manifest", encode(msgspec.structs.replace(manifest, **change), fleet.keys["v0"]))
    assert (answer.state, answer.reason) == (State.REFUSED, reason)


def test_only_selected_vehicles_are_heard(tmp_path):
    fleet = Fleet(tmp_path, vehicles=3, vehicles_per_round=2)
    manifest, _ = fleet.prepared("v0")
    [outsider] = set(fleet.keys) - set(fleet.engine.round.selected)
    forged = msgspec.structs.replace(manifest, vehicle=outsider)
    answer = fleet.hear(outsider, "manifest", encode(forged, fleet.keys[outsider]))
    assert (answer.state, answer.reason) == (State.REFUSED, "not_selected")


def test_a_replayed_update_changes_nothing_and_is_answered_as_before(fleet):
    manifest, sealed = fleet.prepared("v0")
    assert fleet.send(manifest, sealed, fleet.keys["v0"]).state is State.ACCEPTED
    assert fleet.send(manifest, sealed, fleet.keys["v0"]).state is State.ACCEPTED
    assert len(fleet.store.updates("main", 1)) == 1


def test_a_second_update_of_a_round_is_refused(fleet):
    manifest, sealed = fleet.prepared("v0")
    fleet.send(manifest, sealed, fleet.keys["v0"])
    second = msgspec.structs.replace(manifest, digest="5" * 64)
    assert fleet.send(second, sealed, fleet.keys["v0"]).reason == "already_submitted"


def test_an_update_sealed_for_another_round_does_not_open(fleet):
    manifest, sealed = fleet.prepared("v0")
    plain = fleet.sealing.open(sealed, sealing_context("main", 1, "v0"))
    again = seal(plain, fleet.sealing.public, sealing_context("main", 2, "v0"))
    forged = msgspec.structs.replace(manifest, digest=hashlib.sha256(again).hexdigest(), size=len(again))
    assert fleet.send(forged, again, fleet.keys["v0"]).reason == "not_opened"


def test_an_update_that_claims_to_be_anothers_is_refused(fleet):
    manifest, _ = fleet.prepared("v0")
    theirs = fleet.clients["v1"]
    fleet.prepared("v1")
    plain = theirs.outbox.encoded(theirs.outbox.pending()[0])
    again = seal(plain, fleet.sealing.public, sealing_context("main", 1, "v0"))
    forged = msgspec.structs.replace(manifest, digest=hashlib.sha256(again).hexdigest(), size=len(again))
    assert fleet.send(forged, again, fleet.keys["v0"]).reason == "header_mismatch"


def test_garbage_in_a_sealed_update_is_refused_with_the_decoders_reason(fleet):
    manifest, _ = fleet.prepared("v0")
    sealed = seal(b"no update", fleet.sealing.public, sealing_context("main", 1, "v0"))
    forged = msgspec.structs.replace(manifest, digest=hashlib.sha256(sealed).hexdigest(), size=len(sealed))
    assert fleet.send(forged, sealed, fleet.keys["v0"]).reason == "bad_magic"


def test_wrong_bytes_are_asked_for_again_three_times_and_then_refused(fleet):
    manifest, sealed = fleet.prepared("v0")
    for _ in range(2):
        answer = fleet.send(manifest, sealed[::-1], fleet.keys["v0"])
        assert (answer.state, answer.reason, set(answer.have)) == (State.RECEIVING, "digest_mismatch", {0})
    assert fleet.send(manifest, sealed[::-1], fleet.keys["v0"]).state is State.REFUSED


def test_a_flood_is_cut_off(fleet):
    for _ in range(2100):
        fleet.hear("v0", "fin", encode(Fin(digest="0" * 64, query=0)))
    assert counted(fleet)["rate_limited"] == 100
    assert fleet.hear("v1", "fin", encode(Fin(digest="0" * 64, query=0))).state is State.UNKNOWN


def test_what_a_refused_update_held_goes_out_with_the_next_one(tmp_path):
    """Top-k sends a tenth; after a refusal the residual holds everything that training found, not nine tenths of it."""
    fleet = Fleet(tmp_path)
    fleet.prepared("v0")
    client = fleet.clients["v0"]
    entry = client.outbox.pending()[0]
    layout = entry.recipe.layout
    sent = layout.flatten(fleet.engine.pipeline(1).decode(client.outbox.encoded(entry)).tensors)
    left = client.outbox.residual()["residual"]
    list(client.outgoing(fleet.now))
    refusal = Ack(digest=entry.manifest.digest, state=State.REFUSED, reason="stale_round")
    client.handle(client.topics.ack, encode(refusal, fleet.signing), fleet.now)
    np.testing.assert_array_equal(client.outbox.residual()["residual"], left + sent)
    assert client.outbox.counts() == {"refused": 1}


@pytest.mark.parametrize("who", ["aggregator", "vehicles", "both"])
def test_a_restart_at_any_turn_gives_the_same_model(tmp_path, who):
    clean, shaken = Fleet(tmp_path / "clean"), Fleet(tmp_path / "shaken", loss=0.2)
    clean.run()
    for _ in range(3000):
        if shaken.random.random() < 0.2:
            if who != "vehicles":
                shaken.store.close()
                shaken.start_aggregator()
            if who != "aggregator":
                for name in shaken.keys:
                    shaken.start_client(name)
        shaken.turn()
        if shaken.engine.finished:
            break
    assert all(client.outbox.counts() == {"accepted": 2} for client in shaken.clients.values())
    for name, tensor in model(clean).items():
        np.testing.assert_array_equal(model(shaken)[name], tensor)


def test_a_round_with_too_few_updates_is_abandoned_at_its_deadline_and_the_next_one_begins(tmp_path):
    fleet = Fleet(tmp_path, deadline_s=5.0)
    manifest, sealed = fleet.prepared("v0")
    fleet.send(manifest, sealed, fleet.keys["v0"])
    fleet.engine.tick(100.0)
    fleet.engine.tick(106.0)
    assert (fleet.store.round("main", 1).phase, fleet.store.round("main", 1).reason) == (
        Phase.ABANDONED,
        "too_few_vehicles",
    )
    fleet.engine.tick(107.0)
    assert fleet.engine.round.number == 2


def test_a_candidate_that_is_worse_by_more_than_the_gate_is_held(tmp_path):
    fleet = Fleet(tmp_path)
    figures = iter([0.5, 0.44, 0.46])
    fleet.releases.evaluate = lambda version, weights: {"map50": 0.5 if weights is None else next(figures)}
    next(figures)
    fleet.run()
    held, released = fleet.store.rounds("main")
    assert (held.phase, held.reason, held.metrics) == (Phase.HELD, "drift", {"map50": 0.44})
    assert (released.phase, released.base, released.release) == (Phase.RELEASED, 1, 2)
