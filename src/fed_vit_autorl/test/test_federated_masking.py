"""Secure aggregation in rounds between vehicles and an aggregator: losses, drop-outs, restarts, hostile words."""

import os
import stat
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fed_vit_autorl.deployment.identity import Identity
from fed_vit_autorl.deployment.pki import Authority
from fed_vit_autorl.federated.cloud.records import Phase
from fed_vit_autorl.federated.pipeline import Pipeline
from fed_vit_autorl.federated.protocol.masking import MAX_PARTS, PART_BYTES, Assembly, SessionMessage, Step, in_parts
from fed_vit_autorl.federated.protocol.wire import encode
from fed_vit_autorl.federated.stages import SecureMask
from fed_vit_autorl.federated.strategies import STRATEGIES
from fed_vit_autorl.federated.update import Layout, Update, UpdateMetadata
from fed_vit_autorl.federated.vehicle.masking import SECRETS, Member
from fed_vit_autorl.federated.vehicle.peers import certificate_bytes, signer, verifier
from fed_vit_autorl.privacy.mechanisms import noise_multiplier
from fed_vit_autorl.privacy.secagg import SecAggReason, SecAggRefused
from fed_vit_autorl.privacy.secagg.messages import Advertisement

MASKED = {
    "privacy": {"secure_aggregation": True},
    "communication": {"compression": "none", "quantization_bits": 32},
}
SPARSE = MASKED | {"communication": {"compression": "random_k", "compression_ratio": 0.2, "quantization_bits": 32}}
OPEN = {"communication": MASKED["communication"]}


@pytest.fixture
def make(memory_fleet, tmp_path):
    """A fleet of four, three of which must be in a sum, and one round."""

    def of(name="fleet", sections=MASKED, **options):
        options = {
            "vehicles": 4,
            "min_vehicles": 3,
            "deadline_s": 60.0,
            "num_rounds": 1,
            "weighting": "uniform",
        } | options
        return memory_fleet(tmp_path / name, sections=sections, **options)

    return of


def weights(fleet):
    return fleet.releases.weights(fleet.releases.version)


@pytest.mark.parametrize(("weighting", "least"), [("uniform", 1), ("samples", 32 / 512)])
def test_masked_rounds_move_the_model_by_the_mean_that_open_rounds_move_it_by(make, weighting, least):
    masked, readable = make("masked", weighting=weighting), make("open", OPEN, weighting=weighting)
    for fleet in (masked, readable):
        fleet.run()
        assert [r.phase for r in fleet.store.rounds("main")] == [Phase.RELEASED]
    assert masked.store.refusals() == {}
    for name, tensor in weights(readable).items():
        # Each round is within half a step of the fixed point: 2^24 levels for 1, of which a weight leaves a part.
        np.testing.assert_allclose(weights(masked)[name], tensor, atol=1 / 2**24 / least + 1e-7)


def test_random_k_under_the_mask_sends_a_fifth_and_keeps_the_rest_in_the_residual(make):
    masked = make("masked", SPARSE)
    readable = make("open", {"communication": SPARSE["communication"]})
    for fleet in (masked, readable):
        fleet.run()
    for name, tensor in weights(readable).items():
        np.testing.assert_allclose(weights(masked)[name], tensor, atol=4 / 2**24)
    sizes = {fleet: fleet.store.updates("main", 1)[0].size for fleet in (masked, readable)}
    assert sizes[masked] < sizes[readable] + 200  # the words are as wide as the values
    assert masked.clients["v0"].outbox.kept()["residual"].any()


def test_losses_repeats_and_restarts_of_everybody_change_nothing(make):
    calm, wild = make("calm", num_rounds=2), make("wild", loss=0.2, num_rounds=2)
    calm.run()
    for _ in range(3000):
        if wild.random.random() < 0.1:
            wild.store.close()
            wild.start_aggregator()
        if wild.random.random() < 0.2:
            wild.start_client(wild.random.choice(list(wild.keys)))
        wild.turn()
        if wild.engine.finished:
            break
    assert [len(r.participants) for r in wild.store.rounds("main")] == [4, 4]
    for name, tensor in weights(calm).items():
        np.testing.assert_array_equal(weights(wild)[name], tensor)


def until(fleet, condition, turns=400):
    for _ in range(turns):
        if condition():
            return
        fleet.turn()
    pytest.fail(f"not so: {fleet.engine.round}, refused: {fleet.store.refusals()}")


def test_a_vehicle_that_drops_out_after_its_shares_is_unmasked_by_the_others(make):
    fleet, without = make(), make("open", OPEN, vehicles=3)
    sessions = fleet.engine.gathering.sessions
    until(fleet, lambda: fleet.engine.round is not None and sessions.sharers(fleet.engine.round))
    fleet.down.add("v3")
    fleet.run()
    without.run()
    assert [vehicle for vehicle, _ in fleet.engine.round.participants] == ["v0", "v1", "v2"]
    for name, tensor in weights(without).items():
        np.testing.assert_allclose(weights(fleet)[name], tensor, atol=2 / 2**24)


def test_a_vehicle_that_leaves_after_its_update_is_still_counted(make):
    fleet, everybody = make(), make("open", OPEN)
    until(fleet, lambda: fleet.engine.round is not None and fleet.store.has_update("main", 1, "v3"))
    fleet.down.add("v3")
    fleet.run()
    everybody.run()
    assert fleet.engine.round.phase is Phase.RELEASED
    for name, tensor in weights(everybody).items():
        np.testing.assert_allclose(weights(fleet)[name], tensor, atol=2 / 2**24)


def test_below_the_threshold_a_round_ends_with_the_reason_and_nothing_can_be_read(make):
    fleet = make()
    until(fleet, lambda: fleet.store.arrived("main", 1) == 4)
    fleet.down |= {"v2", "v3"}  # two are left to reveal their shares, three are needed
    for _ in range(20):
        fleet.turn()
    closed = fleet.engine.round
    assert closed.phase is Phase.CLOSED
    strategy = STRATEGIES.build("fedavg")
    strategy.begin(weights(fleet), 1)
    with pytest.raises(SecAggRefused) as refused:
        fleet.engine.gathering.feed(closed, strategy)
    assert refused.value.reason == SecAggReason.BELOW_THRESHOLD
    until(fleet, lambda: fleet.engine.round.phase.ended)
    assert fleet.engine.round.phase is Phase.ABANDONED
    assert "below_threshold" in fleet.engine.round.reason
    assert fleet.releases.version == 1
    fleet.turn()
    for _, digest in closed.participants:  # what was sent is gone, and so are the words that would open it
        with pytest.raises(FileNotFoundError):
            fleet.store.objects.read(digest)


def test_too_few_for_a_session_end_the_round_at_its_deadline(make):
    fleet = make()
    until(fleet, lambda: fleet.engine.round is not None)
    fleet.down |= {"v2", "v3"}
    until(fleet, lambda: fleet.engine.round.phase.ended)
    assert fleet.engine.round.reason == "too_few_vehicles"


def test_an_update_alone_says_nothing(make):
    """The stored masked update of a vehicle with zeros to say looks like any other: half of its bits are set."""
    fleet = make()
    until(fleet, lambda: fleet.engine.round is not None and fleet.store.has_update("main", 1, "v0"))
    stored = fleet.store.updates("main", 1)[0]
    encoded = fleet.intake.open_stored("main", 1, stored.vehicle, stored.digest)
    _, words = fleet.engine.gathering.pipelines.of(1).decode_masked(encoded)
    bits = np.unpackbits(words.view(np.uint8))
    # σ of the share of 64,256 fair coins is 0.002
    assert bits.mean() == pytest.approx(0.5, abs=0.012)


def test_secrets_lie_where_only_the_vehicle_reads_them_and_for_one_round(make):
    fleet = make(num_rounds=2)
    until(fleet, lambda: (fleet.folder / "v0" / SECRETS).exists())
    path = fleet.folder / "v0" / SECRETS
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    first = path.read_bytes()
    fleet.run()
    assert first not in path.read_bytes()


def test_what_a_refused_masked_update_held_goes_out_with_the_next_one(make):
    fleet = make("sparse", SPARSE)
    until(fleet, lambda: bool(fleet.clients["v0"].outbox.pending()))
    client = fleet.clients["v0"]
    entry, before = client.outbox.pending()[0], client.outbox.kept()["residual"]
    client._maker.take_back(entry, "stale_round")
    held = client.outbox.kept()["residual"] - before
    assert 0 < np.count_nonzero(held) <= -(-2007 * 0.2 // 1)


class TestHostileWords:
    def opened(self, make):
        fleet = make()
        while fleet.engine.tick(fleet.now):
            pass
        return fleet

    def say(self, fleet, name, step, data, key=None, **change):
        fields = {"run": "main", "round": 1, "vehicle": name, "step": step, "data": data} | change
        message = encode(SessionMessage(**fields), key or fleet.keys[name])
        fleet.intake.handle(f"fl/v1/home/{name}/up/session", message, fleet.now)

    @pytest.mark.parametrize(
        ("step", "data", "reason"),
        [
            (Step.KEYS, b"junk", SecAggReason.MALFORMED_MESSAGE),
            (Step.SHARES, b"\x80", SecAggReason.MALFORMED_MESSAGE),
            (Step.READY, b"", SecAggReason.OUT_OF_ORDER),
            (Step.ROSTER, b"", SecAggReason.MALFORMED_MESSAGE),
        ],
    )
    def test_words_that_cannot_be_are_counted(self, make, step, data, reason):
        fleet = self.opened(make)
        self.say(fleet, "v0", step, data)
        assert fleet.store.refusals() == {("v0", reason): 1}

    def test_another_vehicles_signature_is_refused(self, make):
        fleet = self.opened(make)
        self.say(fleet, "v0", Step.KEYS, b"", key=fleet.keys["v1"])
        assert fleet.store.refusals() == {("v0", "bad_signature"): 1}

    def test_another_round_is_refused(self, make):
        fleet = self.opened(make)
        self.say(fleet, "v0", Step.KEYS, b"", round=7)
        assert fleet.store.refusals() == {("v0", SecAggReason.UNKNOWN_VEHICLE): 1}

    def test_an_update_without_a_session_is_refused(self, make):
        fleet, other = make(), make("other", OPEN)
        manifest, sealed = other.prepared("v0")
        while fleet.engine.tick(fleet.now):
            pass
        assert fleet.send(manifest, sealed, fleet.keys["v0"]).reason == "not_selected"


def test_a_large_message_travels_in_parts_in_any_order():
    data = os.urandom(3 * PART_BYTES + 7)
    messages = list(in_parts("run", 3, "v", Step.ROSTER, data))
    assert len(messages) == 4
    for order in ([3, 1, 0, 2], [0, 0, 1, 2, 3]):
        assembly, wholes = Assembly(), []
        for index in order:
            wholes.append(assembly.add(messages[index]))
        assert wholes[-1] == data
        assert wholes[:-1] == [None] * (len(order) - 1)
    with pytest.raises(ValueError, match="at most"):
        list(in_parts("run", 3, "v", Step.ROSTER, bytes(MAX_PARTS * PART_BYTES + 1)))


def test_noise_in_parts_makes_the_whole_in_the_sum_and_the_ledger_is_asked_first(make):
    private = MASKED | {"privacy": {"secure_aggregation": True, "mechanism": "central_dp", "epsilon": 8.0}}
    fleet = make(sections=private)
    until(fleet, lambda: fleet.engine.round is not None)
    spent, budget = fleet.engine.privacy
    assert 7.9 < spent <= budget == 8.0  # one round has it all
    fleet.run()
    moved = np.concatenate([tensor.ravel() for tensor in weights(fleet).values()])
    # Four vehicles with a third of the variance (z C)² each, and the mean of four; what they learned is far less.
    expected = noise_multiplier(8.0, 1e-5, 1) * np.sqrt(4 / 3) / 4
    assert moved.std() == pytest.approx(expected, rel=0.1)


def test_without_budget_no_session_opens(make):
    private = MASKED | {"privacy": {"secure_aggregation": True, "mechanism": "central_dp", "epsilon": 8.0}}
    fleet = make(sections=private, num_rounds=1)
    fleet.engine._ledger.authorise("an earlier run", fleet.config.round_cost)
    for _ in range(5):
        fleet.turn()
    assert fleet.engine.round is None
    assert fleet.engine.paused


def test_what_the_mask_has_no_room_for_stays_in_the_residual():
    layout = Layout(("w",), ((4,),))
    mask = {"secure_mask": {"num_vehicles": 3, "threshold": 2, "value_range": 1.0}}
    pipeline = Pipeline.from_config([{"random_k": {"ratio": 1.0}}, mask], layout)
    sent = []

    def keep(values):
        sent.append(values)
        return np.zeros(values.size + 1, np.uint32)

    values = np.array([0.5, -3.0, 1.5, 0.0], np.float32)
    pipeline.encode(Update({"w": values}, UpdateMetadata(1, 1, "v", 1)), keep)
    np.testing.assert_array_equal(sent[0], [0.5, -1.0, 1.0, 0.0])
    np.testing.assert_array_equal(pipeline.state_dict()["residual"], [0.0, -2.0, 0.5, 0.0])


@settings(max_examples=40, deadline=None)
@given(words=st.lists(st.tuples(st.sampled_from(Step), st.binary(max_size=200)), max_size=4))
def test_no_word_of_the_aggregator_breaks_a_vehicle(tmp_path_factory, words):
    task = SimpleNamespace(run="main", round=1)
    member = Member(tmp_path_factory.mktemp("v"), "v0", b"", lambda message: b"", lambda member, message: True)
    [keys] = member.begin(task, SecureMask(3, 2))
    for step, data in words:
        try:
            list(member.handle(SessionMessage(run="main", round=1, vehicle="v0", step=step, data=data)))
        except SecAggRefused:
            continue
    assert list(member.begin(task, SecureMask(3, 2))) == [keys]  # it still waits for the roster


@given(st.binary(max_size=5 * PART_BYTES), st.randoms(use_true_random=False))
def test_parts_in_any_order_with_repeats_are_the_whole(data, random):
    messages = list(in_parts("run", 3, "v", Step.SHARES, data))
    order = messages + random.sample(messages, random.randrange(len(messages)))
    random.shuffle(order)
    assembly, missing = Assembly(), {message.part for message in messages}
    for message in order:
        whole, missing = assembly.add(message), missing - {message.part}
        if not missing:
            assert whole == data
            return
        assert whole is None


class TestPeers:
    @pytest.fixture
    def enrolled(self, tmp_path):
        """(certificate authority's PEM, vehicle → (key, certificate DER))"""
        authority, vehicles = Authority(tmp_path / "pki"), {}
        for name in ("v0", "v1"):
            identity = Identity(tmp_path / name)
            pem = authority.enrol(name, authority.claim(name), identity.request(name))
            vehicles[name] = identity.signing_key(), certificate_bytes(pem)
        return authority.ca_path.read_bytes(), vehicles

    def advertisement(self, name, key, certificate):
        unsigned = Advertisement(name, bytes(32), bytes(32), certificate=certificate)
        return msgspec.structs.replace(unsigned, signature=signer(key)(unsigned.signed_part(b"s")))

    def test_a_vehicles_own_keys_are_known_by_its_certificate(self, enrolled):
        ca, vehicles = enrolled
        member = self.advertisement("v0", *vehicles["v0"])
        assert verifier(ca)(member, member.signed_part(b"s"))
        assert not verifier(ca)(member, member.signed_part(b"another session"))

    def test_keys_in_anothers_name_are_refused(self, enrolled, tmp_path):
        ca, vehicles = enrolled
        key, certificate = vehicles["v0"]
        elsewhere = Authority(tmp_path / "elsewhere").ca_path.read_bytes()
        for verify, member in (
            (verifier(ca), self.advertisement("v1", key, certificate)),  # a certificate of another name
            (verifier(ca), self.advertisement("v1", key, vehicles["v1"][1])),  # and of another key
            (verifier(elsewhere), self.advertisement("v0", key, certificate)),  # of another authority
            (verifier(ca), self.advertisement("v0", key, b"junk")),
        ):
            assert not verify(member, member.signed_part(b"s"))
