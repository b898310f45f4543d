"""Secure aggregation: the sum comes out, nothing else does, and hostile parties are refused."""

import hashlib
import secrets

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fed_vit_autorl.privacy.secagg import (
    SecAggClient,
    SecAggReason,
    SecAggRefused,
    SecAggServer,
    SecAggSettings,
    shamir,
)
from fed_vit_autorl.privacy.secagg.keys import neighbours
from fed_vit_autorl.privacy.secagg.messages import (
    Advertisement,
    Roster,
    Shares,
    UnmaskReply,
    UnmaskRequest,
    decode,
    encode,
)
from fed_vit_autorl.privacy.secure_aggregation import SecureAggregator

MESSAGES = [Advertisement, Roster, Shares, UnmaskRequest, UnmaskReply]


def sign(name, message):
    return hashlib.sha256(name.encode() + message).digest()


def verify(member, message):
    return member.signature == sign(member.vehicle, message)


class Session:
    """All parties, driven step by step."""

    def __init__(self, count, threshold, degree=None, size=5):
        self.session = secrets.token_bytes(32)
        self.settings = SecAggSettings(count, threshold, degree)
        self.server = SecAggServer(self.session, self.settings, size)
        self.names = [f"v{index:03}" for index in range(count)]
        self.clients = {name: self.client(name) for name in self.names}
        generator = np.random.default_rng(count)
        self.values = {name: generator.uniform(-1, 1, size).astype(np.float32) for name in self.names}
        self.replies = {}

    def client(self, name):
        return SecAggClient(name, self.session, self.settings, lambda message: sign(name, message), verify)

    def advertise(self, names=None):
        for name in names or self.names:
            self.server.add_advertisement(self.clients[name].advertise())
        return self.server.roster()

    def share(self, names=None):
        roster = self.server.roster()
        for name in names or self.names:
            self.server.add_shares(self.clients[name].share(roster))

    def mask(self, names, weight=1.0):
        masked = {name: self.masked(name, weight) for name in names}
        for name, words in masked.items():
            self.server.add_masked(name, words)
        return masked

    def masked(self, name, weight=1.0):
        self.clients[name].collect(self.server.inbox(name))
        return self.clients[name].mask(self.values[name], weight)

    def unmask(self, names):
        request = self.server.request()
        for name in names:
            self.replies[name] = self.clients[name].unmask(request)
            self.server.add_reply(self.replies[name])
        return self.server.finish()

    def mean(self, names):
        return np.mean([self.values[name] for name in names], axis=0)


def reason_of(call, *arguments):
    with pytest.raises(SecAggRefused) as refused:
        call(*arguments)
    return refused.value.reason


@pytest.mark.parametrize(("count", "threshold", "degree"), [(5, 3, None), (9, 5, None), (24, 16, 10), (6, 4, 2)])
def test_all_survive(count, threshold, degree):
    session = Session(count, threshold, degree)
    session.advertise()
    session.share()
    session.mask(session.names)
    mean, weight = session.unmask(session.names)
    # A value is off by at most half a step of 1 / levels.
    np.testing.assert_allclose(mean, session.mean(session.names), atol=0.51 / session.settings.levels + 1e-7)
    assert weight == count


@pytest.mark.parametrize(("count", "threshold", "degree", "dropped"), [(9, 5, None, 4), (24, 16, 10, 3)])
def test_vehicles_drop_out_at_every_step(count, threshold, degree, dropped):
    session = Session(count, threshold, degree)
    session.advertise()
    session.share(session.names[: -dropped // 2])  # some leave after their keys
    survivors = session.names[:-dropped]  # some after their shares
    session.mask(survivors)
    answering = survivors[: max(threshold, len(survivors) - 1)]  # and one after its update, if it can be spared
    mean, weight = session.unmask(answering)
    np.testing.assert_allclose(mean, session.mean(survivors), atol=1e-6)
    assert weight == len(survivors)


def restarted(session, name):
    """The vehicle in a new process, with what the old one had stored."""
    client = session.client(name)
    client.load_state(session.clients[name].state())
    session.clients[name] = client


def test_a_vehicle_that_restarts_after_every_step_goes_on():
    session = Session(5, 3)
    session.advertise()
    restarted(session, "v001")
    session.share()
    restarted(session, "v001")
    session.clients["v001"].collect(session.server.inbox("v001"))
    restarted(session, "v001")
    session.server.add_masked("v001", session.clients["v001"].mask(session.values["v001"]))
    session.mask(["v000", "v002"])
    restarted(session, "v001")
    mean, _ = session.unmask(["v000", "v001", "v002"])
    np.testing.assert_allclose(mean, session.mean(["v000", "v001", "v002"]), atol=1e-6)
    restarted(session, "v001")
    assert reason_of(session.clients["v001"].unmask, session.server.request()) == SecAggReason.OUT_OF_ORDER


def test_the_state_of_another_vehicle_or_session_is_refused():
    session, other = Session(3, 2), Session(3, 2)
    stored = session.clients["v000"].state()
    for client in (session.clients["v001"], other.clients["v000"]):
        assert reason_of(client.load_state, stored) == SecAggReason.MALFORMED_MESSAGE


def test_weights_stay_hidden_and_weigh():
    session = Session(4, 3)
    session.advertise()
    session.share()
    session.mask(session.names[:2], weight=0.25)
    session.mask(session.names[2:], weight=1.0)
    mean, weight = session.unmask(session.names)
    expected = np.average([session.values[name] for name in session.names], axis=0, weights=[0.25, 0.25, 1, 1])
    np.testing.assert_allclose(mean, expected, atol=1e-6)
    assert weight == pytest.approx(2.5)


def test_the_server_never_has_both_secrets_of_a_vehicle():
    session = Session(9, 5)
    session.advertise()
    session.share()
    survivors = session.names[:6]
    session.mask(survivors)
    session.unmask(survivors)
    for owner in session.names:
        seeds = sum(owner in reply.seed_shares for reply in session.replies.values())
        keys = sum(owner in reply.key_shares for reply in session.replies.values())
        assert min(seeds, keys) == 0
        assert (seeds if owner in survivors else keys) >= 5


def test_a_late_update_of_a_vehicle_declared_lost_stays_masked_by_its_own_seed():
    session = Session(5, 3)
    session.advertise()
    session.share()
    late = session.masked("v004")
    session.mask(session.names[:4])
    session.unmask(session.names[:4])
    # The server has the key of v004 now, and may take all pairwise masks off; the seed's mask remains.
    shares = {session.server._number[name]: reply.key_shares["v004"] for name, reply in session.replies.items()}
    assert len(shares) == 4
    assert not any("v004" in reply.seed_shares for reply in session.replies.values())
    assert reason_of(session.server.add_masked, "v004", late) == SecAggReason.OUT_OF_ORDER


@pytest.mark.parametrize("split", range(1, 9))
def test_a_server_that_tells_two_stories_opens_nobody(split):
    session = Session(9, 5)
    session.advertise()
    session.share()
    for name in session.names:
        session.masked(name)
    victim = session.names[0]
    stories = [UnmaskRequest(session.session, session.names), UnmaskRequest(session.session, session.names[1:])]
    replies = [session.clients[n].unmask(stories[index >= split]) for index, n in enumerate(session.names)]
    seeds = sum(victim in reply.seed_shares for reply in replies)
    keys = sum(victim in reply.key_shares for reply in replies)
    assert min(seeds, keys) < session.settings.share_threshold(8)


def test_a_vehicle_answers_once_and_not_below_the_threshold():
    session = Session(5, 4)
    session.advertise()
    session.share()
    session.mask(session.names)
    client = session.clients["v000"]
    assert reason_of(client.unmask, UnmaskRequest(session.session, session.names[:3])) == SecAggReason.BELOW_THRESHOLD
    client.unmask(UnmaskRequest(session.session, session.names))
    assert reason_of(client.unmask, UnmaskRequest(session.session, session.names[:4])) == SecAggReason.OUT_OF_ORDER


def test_a_request_that_leaves_the_asked_vehicle_out_is_not_answered():
    session = Session(5, 3)
    session.advertise()
    session.share()
    session.mask(session.names)
    request = UnmaskRequest(session.session, session.names[1:])
    assert reason_of(session.clients["v000"].unmask, request) == SecAggReason.MALFORMED_MESSAGE


def test_below_the_threshold_the_server_stops_at_every_step():
    session = Session(5, 4)
    for name in session.names[:3]:
        session.server.add_advertisement(session.clients[name].advertise())
    assert reason_of(session.server.roster) == SecAggReason.BELOW_THRESHOLD
    session = Session(5, 4)
    session.advertise()
    session.share(session.names[:3])
    assert reason_of(session.server.inbox, "v000") == SecAggReason.BELOW_THRESHOLD
    session = Session(5, 4)
    session.advertise()
    session.share()
    session.mask(session.names[:3])
    assert reason_of(session.server.request) == SecAggReason.BELOW_THRESHOLD
    session = Session(5, 4)
    session.advertise()
    session.share()
    session.mask(session.names)
    assert reason_of(session.unmask, session.names[:3]) == SecAggReason.BELOW_THRESHOLD


def test_a_masked_zero_looks_random():
    session = Session(3, 2, size=200_000)
    session.advertise()
    session.share()
    client = session.clients["v000"]
    client.collect(session.server.inbox("v000"))
    words = client.mask(np.zeros(200_000, np.float32))
    # Bits of a uniform word: 6.4 million fair coins, σ of the share 0.0002.
    assert np.unpackbits(words.view(np.uint8)).mean() == pytest.approx(0.5, abs=0.0012)
    counts = np.bincount(words >> 24, minlength=256)
    # χ² with 255 degrees: mean 255, σ 22.6.
    assert ((counts - 200_000 / 256) ** 2 / (200_000 / 256)).sum() < 255 + 6 * 22.6


def test_masks_that_do_not_cancel_are_noticed():
    session = Session(5, 4, size=64)
    session.advertise()
    session.share()
    session.mask(session.names)
    session.server._sum += np.random.default_rng(0).integers(0, 2**32, 65, np.uint32)
    assert reason_of(session.unmask, session.names) == SecAggReason.UNMASK_MISMATCH


@pytest.mark.parametrize("secret", ["seed", "key"])
def test_wrong_shares_are_noticed(secret):
    session = Session(5, 3)
    session.advertise()
    session.share()
    session.mask(session.names[:4])
    request = session.server.request()
    for name in session.names[:4]:
        reply = session.clients[name].unmask(request)
        if name == "v000":
            shares = reply.seed_shares if secret == "seed" else reply.key_shares
            owner = "v001" if secret == "seed" else "v004"
            shares[owner] = (int.from_bytes(shares[owner]) ^ 1).to_bytes(shamir.SHARE_BYTES)
        session.server.add_reply(reply)
    assert reason_of(session.server.finish) == SecAggReason.BAD_SHARE


class TestHostileMessages:
    def test_keys_that_are_not_signed_by_their_vehicle(self):
        session = Session(4, 3)
        session.server.add_advertisement(session.clients["v000"].advertise())
        for name in session.names[1:]:
            forged = session.clients[name].advertise()
            if name == "v002":
                forged = msgspec.structs.replace(forged, signature=sign("v001", b""))
            session.server.add_advertisement(forged)
        assert reason_of(session.clients["v000"].share, session.server.roster()) == SecAggReason.BAD_SIGNATURE

    @pytest.mark.parametrize("change", ["without_me", "my_key", "session", "twice", "few"])
    def test_a_roster_that_is_not_the_vehicles(self, change):
        session = Session(4, 3)
        roster = session.advertise()
        members = list(roster.members)
        if change == "without_me":
            members = members[1:]
        elif change == "my_key":
            members[0] = msgspec.structs.replace(members[0], mask_key=bytes(32))
        elif change == "twice":
            members = [members[0], *members[:-1]]
        elif change == "few":
            members = members[:2]
        forged = Roster(bytes(32) if change == "session" else session.session, members)
        expected = SecAggReason.BELOW_THRESHOLD if change == "few" else SecAggReason.BAD_ROSTER
        assert reason_of(session.clients["v000"].share, forged) == expected

    def test_a_zero_public_key(self):
        # X25519 with a point of small order gives a shared secret that everybody knows.
        session = Session(3, 2)
        first = session.clients["v000"].advertise()
        zero = Advertisement("v001", bytes(32), bytes(32))
        zero = msgspec.structs.replace(zero, signature=sign("v001", zero.signed_part(session.session)))
        roster = Roster(session.session, [first, zero])
        assert reason_of(session.clients["v000"].share, roster) == SecAggReason.BAD_ROSTER

    def test_shares_that_were_tampered_with(self):
        session = Session(4, 3)
        session.advertise()
        session.share()
        inbox = session.server.inbox("v000")
        inbox["v001"] = inbox["v001"][:-1] + bytes([inbox["v001"][-1] ^ 1])
        assert reason_of(session.clients["v000"].collect, inbox) == SecAggReason.BAD_SHARE

    def test_an_inbox_with_too_few_or_unknown_senders(self):
        for inbox, expected in (({}, SecAggReason.BELOW_THRESHOLD), ({"x": b""}, SecAggReason.UNKNOWN_VEHICLE)):
            session = Session(4, 3)
            session.advertise()
            session.share()
            assert reason_of(session.clients["v000"].collect, inbox) == expected

    def test_steps_of_strangers_repeated_or_out_of_order(self):
        session = Session(4, 3)
        server = session.server
        assert reason_of(server.add_shares, Shares("v000", b"", {})) == SecAggReason.OUT_OF_ORDER
        assert reason_of(server.finish) == SecAggReason.OUT_OF_ORDER
        assert reason_of(server.add_advertisement, Advertisement("v9", b"", b"")) == SecAggReason.MALFORMED_MESSAGE
        session.advertise()
        assert reason_of(server.add_advertisement, Advertisement("v9", b"", b"")) == SecAggReason.OUT_OF_ORDER
        assert reason_of(server.add_shares, Shares("v9", b"", {})) == SecAggReason.UNKNOWN_VEHICLE
        assert reason_of(server.add_shares, Shares("v000", b"", {"v9": b""})) == SecAggReason.MALFORMED_MESSAGE
        session.share()
        assert reason_of(server.inbox, "v9") == SecAggReason.UNKNOWN_VEHICLE
        masked = session.mask(session.names)
        assert reason_of(server.add_masked, "v000", masked["v000"]) == SecAggReason.DUPLICATE
        assert reason_of(server.add_masked, "v9", masked["v000"]) == SecAggReason.UNKNOWN_VEHICLE
        request = server.request()
        reply = session.clients["v000"].unmask(request)
        stolen = UnmaskReply("v000", reply.seed_shares, {"v001": bytes(66)})
        assert reason_of(server.add_reply, stolen) == SecAggReason.MALFORMED_MESSAGE
        assert reason_of(server.add_reply, UnmaskReply("v9", {}, {})) == SecAggReason.UNKNOWN_VEHICLE

    def test_a_masked_update_of_another_length(self):
        session = Session(4, 3)
        session.advertise()
        session.share()
        session.server.inbox("v000")
        for words in (np.zeros(4, np.uint32), np.zeros(6, np.int64)):
            assert reason_of(session.server.add_masked, "v000", words) == SecAggReason.MALFORMED_MESSAGE

    @given(st.sampled_from(MESSAGES), st.binary(max_size=300))
    def test_random_bytes(self, expected, data):
        try:
            message = decode(data, expected)
        except SecAggRefused:
            return
        assert isinstance(message, expected)

    @given(st.data())
    @settings(max_examples=50, deadline=None)
    def test_a_damaged_message_is_refused_or_of_its_type(self, data):
        session = Session(3, 2)
        roster = session.advertise()
        wire = bytearray(encode(roster))
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
        try:
            damaged = decode(bytes(wire), Roster)
            session.clients["v000"].share(damaged)
        except SecAggRefused:
            return
        assert damaged == roster


@pytest.mark.parametrize(("count", "degree"), [(5, None), (12, 4), (30, 10), (11, 10)])
def test_the_graph_is_regular_symmetric_and_connected(count, degree):
    session = Session(count, count)
    graph = neighbours(session.advertise(), degree)
    assert {len(others) for others in graph.values()} == {degree or count - 1}
    assert all(name in graph[other] and other != name for name, others in graph.items() for other in others)
    reached, frontier = set(), {session.names[0]}
    while frontier:
        reached |= frontier
        frontier = {other for name in frontier for other in graph[name]} - reached
    assert len(reached) == count


class TestSecureAggregator:
    def test_documented_use(self):
        aggregator = SecureAggregator(num_vehicles=10, threshold=8, protocol="shamir_secret_sharing")
        generator = np.random.default_rng(0)
        for _ in range(2):  # a session each
            updates = {
                vehicle: {"w": generator.uniform(-1, 1, (3, 2)).astype(np.float32), "b": np.zeros(2, np.float32)}
                for vehicle in aggregator.vehicles
            }
            encrypted = [aggregator.encrypt_update(vehicle, update) for vehicle, update in updates.items()]
            mean = aggregator.decrypt(aggregator.aggregate_encrypted(encrypted[:8]))
            expected = np.mean([update["w"] for update in list(updates.values())[:8]], axis=0)
            np.testing.assert_allclose(mean["w"], expected, atol=1e-6)

    def test_below_the_threshold_nothing_is_read(self):
        aggregator = SecureAggregator(num_vehicles=10, threshold=8)
        some = [aggregator.encrypt_update(vehicle, {"w": np.ones(2)}) for vehicle in aggregator.vehicles[:7]]
        assert reason_of(aggregator.aggregate_encrypted, some) == SecAggReason.BELOW_THRESHOLD

    def test_unknown_protocols_and_vehicles_are_refused(self):
        with pytest.raises(SecAggRefused):
            SecureAggregator(protocol="one_float_masks_all")
        aggregator = SecureAggregator(num_vehicles=3, threshold=2)
        assert reason_of(aggregator.encrypt_update, "stranger", {"w": np.ones(1)}) == SecAggReason.UNKNOWN_VEHICLE
