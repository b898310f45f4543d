"""Clients, intake and rounds wired together in memory over a broker that loses, repeats and reorders."""

import hashlib

import msgspec
import numpy as np
import pytest

from fed_vit_autorl.deployment.pki import Authority, EnrolmentReason, EnrolmentRefused
from fed_vit_autorl.federated.cloud.intake import Intake
from fed_vit_autorl.federated.cloud.records import Phase
from fed_vit_autorl.federated.protocol.wire import Ack, Chunk, Fin, State, Status, encode, sealing_context
from fed_vit_autorl.privacy.sealing import seal


def model(fleet) -> dict:
    return fleet.releases.weights(fleet.releases.version)


def test_two_rounds_of_two_vehicles_move_the_model_by_the_mean_of_what_they_sent(memory_fleet, tmp_path):
    fleet = memory_fleet(tmp_path)
    fleet.run()
    assert [r.phase for r in fleet.store.rounds("main")] == [Phase.RELEASED, Phase.RELEASED]
    assert fleet.releases.version == 3
    assert fleet.store.refusals() == {}
    assert all(client.outbox.counts() == {"accepted": 2} for client in fleet.clients.values())


def test_updates_that_are_kept_until_the_end_of_a_round_are_spooled(memory_fleet, tmp_path):
    fleet = memory_fleet(tmp_path, aggregation="median")
    fleet.run()
    assert [r.phase for r in fleet.store.rounds("main")] == [Phase.RELEASED, Phase.RELEASED]
    assert not (fleet.store.folder / "spool").exists()


def test_losses_and_repeats_change_nothing_in_the_result(memory_fleet, tmp_path):
    clean, lossy = memory_fleet(tmp_path / "clean"), memory_fleet(tmp_path / "lossy", loss=0.3, luck=1)
    clean.run()
    lossy.run()
    for name, tensor in model(clean).items():
        np.testing.assert_array_equal(model(lossy)[name], tensor)


@pytest.fixture
def fleet(memory_fleet, tmp_path):
    return memory_fleet(tmp_path)


def counted(fleet, name: str = "v0") -> dict[str, int]:
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


def test_an_unknown_vehicle_is_refused(memory_fleet, tmp_path):
    fleet = memory_fleet(tmp_path)
    manifest, _ = fleet.prepared("v0")
    authority = Authority(tmp_path / "pki")
    fleet.intake = Intake("home", "main", fleet.store, authority.public_key, fleet.sealing, fleet.engine.gathering)
    assert fleet.hear("v0", "manifest", encode(manifest, fleet.keys["v0"])) is None
    assert counted(fleet) == {"unknown_vehicle": 1}


def test_a_vehicle_revoked_in_the_middle_of_a_transfer_is_refused_whatever_it_sends(memory_fleet, tmp_path):
    fleet = memory_fleet(tmp_path)
    manifest, sealed = fleet.prepared("v0")
    revoked: set[str] = set()

    def public_key(name: str):
        if name in revoked:
            raise EnrolmentRefused(EnrolmentReason.REVOKED_VEHICLE, name)
        return fleet.keys[name].public_key()

    fleet.intake = Intake("home", "main", fleet.store, public_key, fleet.sealing, fleet.engine.gathering)
    parts = [sealed[start:][: manifest.chunk_bytes] for start in range(0, len(sealed), manifest.chunk_bytes)]
    assert fleet.hear("v0", "manifest", encode(manifest, fleet.keys["v0"])).state is State.RECEIVING
    for index, data in enumerate(parts[:-1]):
        fleet.hear("v0", "chunk", encode(Chunk(digest=manifest.digest, index=index, data=data)))
    revoked.add("v0")
    last = Chunk(digest=manifest.digest, index=len(parts) - 1, data=parts[-1])
    assert fleet.hear("v0", "chunk", encode(last)) is None
    assert fleet.hear("v0", "fin", encode(Fin(digest=manifest.digest, query=1))) is None
    assert fleet.intake.handle("fl/v1/home/v0/status", encode(Status(online=True)), fleet.now) is None
    assert counted(fleet) == {"revoked_vehicle": 3}
    assert not fleet.store.update_with("v0", manifest.digest)
    assert "v0" not in fleet.intake.heard


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


def test_only_selected_vehicles_are_heard(memory_fleet, tmp_path):
    fleet = memory_fleet(tmp_path, vehicles=3, vehicles_per_round=2)
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


def test_what_a_refused_update_held_goes_out_with_the_next_one(memory_fleet, tmp_path):
    """Top-k sends a tenth; after a refusal the residual holds everything that training found, not nine tenths of it."""
    fleet = memory_fleet(tmp_path)
    fleet.prepared("v0")
    client = fleet.clients["v0"]
    entry = client.outbox.pending()[0]
    layout = entry.recipe.layout
    sent = layout.flatten(fleet.engine.gathering.pipelines.of(1).decode(client.outbox.encoded(entry)).tensors)
    left = client.outbox.kept()["residual"]
    list(client.outgoing(fleet.now))
    refusal = Ack(digest=entry.manifest.digest, state=State.REFUSED, reason="stale_round")
    client.handle(client.topics.ack, encode(refusal, fleet.signing), fleet.now)
    np.testing.assert_array_equal(client.outbox.kept()["residual"], left + sent)
    assert client.outbox.counts() == {"refused": 1}


@pytest.mark.parametrize("who", ["aggregator", "vehicles", "both"])
def test_a_restart_at_any_turn_gives_the_same_model(memory_fleet, tmp_path, who):
    clean, shaken = memory_fleet(tmp_path / "clean"), memory_fleet(tmp_path / "shaken", loss=0.2)
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
        if shaken.engine.finished and not any(client.outbox.pending() for client in shaken.clients.values()):
            break
    assert all(client.outbox.counts() == {"accepted": 2} for client in shaken.clients.values())
    for name, tensor in model(clean).items():
        np.testing.assert_array_equal(model(shaken)[name], tensor)


def test_a_round_with_too_few_updates_is_abandoned_at_its_deadline_and_the_next_one_begins(memory_fleet, tmp_path):
    fleet = memory_fleet(tmp_path, deadline_s=5.0)
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


def test_a_candidate_that_is_worse_by_more_than_the_gate_is_held(memory_fleet, tmp_path):
    fleet = memory_fleet(tmp_path)
    figures = iter([0.5, 0.44, 0.46])
    fleet.releases.evaluate = lambda version, weights: {"map50": 0.5 if weights is None else next(figures)}
    next(figures)
    fleet.run()
    held, released = fleet.store.rounds("main")
    assert (held.phase, held.reason, held.metrics) == (Phase.HELD, "drift", {"map50": 0.44})
    assert (released.phase, released.base, released.release) == (Phase.RELEASED, 1, 2)
