"""Who gets a certificate, who loses it, and what the broker lets a vehicle do."""

import base64
import os
import tempfile
import threading
import time
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from fed_vit_autorl.deployment.broker import MAX_PACKET_BYTES, Broker, enforce
from fed_vit_autorl.deployment.identity import Identity
from fed_vit_autorl.deployment.pki import AGGREGATOR, Authority, EnrolmentRefused, enrol_locally
from fed_vit_autorl.deployment.tuf_repository import create
from fed_vit_autorl.federated.protocol.transport import BrokerAddress, Link

SIGNER = Ed25519PrivateKey.generate().public_key()

with tempfile.TemporaryDirectory() as _folder:
    _KEYS = {role: Ed25519PrivateKey.generate() for role in ("root", "targets", "snapshot", "timestamp")}
    ROOT = create(Path(_folder), _KEYS).root_bytes()


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path / "pki")


def test_a_claim_enrols_once_and_the_key_never_leaves_the_vehicle(authority, tmp_path):
    identity, claim = Identity(tmp_path / "v1"), authority.claim("v1")
    certificate = authority.enrol("v1", claim, identity.request("v1"))
    identity.install(certificate, authority.ca_path.read_bytes(), SIGNER, ROOT, [])
    assert identity.vehicle == "v1"
    assert authority.public_key("v1") == identity.signing_key().public_key()
    assert authority.vehicles() == ["v1"]
    secret = identity.key_path.read_bytes()
    assert not any(secret in path.read_bytes() for path in authority.folder.rglob("*") if path.is_file())
    with pytest.raises(EnrolmentRefused, match="bad_claim"):
        authority.enrol("v1", claim, identity.request("v1"))


def test_a_claim_is_for_one_vehicle_and_expires(authority, tmp_path):
    request = Identity(tmp_path / "v1").request("v1")
    for vehicle, claim in (("v2", authority.claim("v1")), ("v1", authority.claim("v1", lifetime_s=-1)), ("v1", "")):
        with pytest.raises(EnrolmentRefused, match="bad_claim"):
            authority.enrol(vehicle, claim, request)


@pytest.mark.parametrize("name", ["aggregator", "broker", "model", "../v1", "V1", "+", ""])
def test_reserved_and_impossible_names_are_refused(authority, name):
    with pytest.raises(EnrolmentRefused, match="bad_name"):
        authority.claim(name)


# The fuzzer's find: a signing request for a key of the type 1.3.101.114, which nobody knows.
UNKNOWN_KEY = b"""-----BEGIN CERTIFICATE REQUEST-----
MIGMMEACAQAwDTELMAkGA0UEAwwCdjEwKjAFBgMrZXIDIQCwTr80ff6SJydzpUzQ
nnhsMoKWrgIM+nq9x0e4UXNeKaAAMAUGAytlcANBADaREVzKNXQjxpl9S+VtDOls
nRS/LlnngIetRyeLgmuP5AaYDXky0M7xW9RG7oQZDbNUFYTQueNlXePAcU8O4QQ=
-----END CERTIFICATE REQUEST-----
"""


def test_a_request_with_another_kind_of_key_or_garbage_is_refused(authority):
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "v1")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    elliptic = builder.sign(ec.generate_private_key(ec.SECP256R1()), SHA256()).public_bytes(Encoding.PEM)
    for request in (elliptic, UNKNOWN_KEY, b"garbage", b""):
        with pytest.raises(EnrolmentRefused, match="bad_request"):
            authority.enrol("v1", authority.claim("v1"), request)


def test_a_request_of_a_version_that_does_not_exist_is_refused(authority, tmp_path):
    """PKCS #10 knows version 0 only (RFC 2986, 4.1); found by the fuzzer."""
    pem = Identity(tmp_path / "v1").request("v1").decode()
    request = base64.b64decode("".join(line for line in pem.splitlines() if "-" not in line))
    body = base64.encodebytes(request.replace(b"\x02\x01\x00", b"\x02\x01\x02", 1))
    forged = b"-----BEGIN CERTIFICATE REQUEST-----\n" + body + b"-----END CERTIFICATE REQUEST-----\n"
    with pytest.raises(EnrolmentRefused, match="bad_request"):
        authority.enrol("v1", authority.claim("v1"), forged)


def test_a_revoked_vehicle_is_known_no_more_until_it_enrols_again(authority, tmp_path):
    enrol_locally(authority, "v1", tmp_path / "v1", SIGNER, ROOT)
    assert authority.public_key("v1")
    authority.revoke("v1")
    with pytest.raises(EnrolmentRefused, match="revoked_vehicle"):
        authority.public_key("v1")
    with pytest.raises(EnrolmentRefused, match="unknown_vehicle"):
        authority.public_key("v2")
    enrol_locally(authority, "v1", tmp_path / "again", SIGNER, ROOT)
    assert authority.public_key("v1") == Identity(tmp_path / "again").signing_key().public_key()


class Client:
    """One link to the broker and what it heard."""

    def __init__(self, broker: Broker, authority: Authority, name: str, certificate, key, topics) -> None:
        self.heard, self.ended = [], threading.Event()
        address = BrokerAddress("127.0.0.1", broker.port, authority.ca_path, certificate, key)
        self.link = Link(
            address,
            name,
            topics,
            lambda topic, payload: self.heard.append((topic, payload)),
            lambda connected: None if connected else self.ended.set(),
        )
        self.link.start()

    def connected(self, limit_s: float = 10.0) -> bool:
        return self.link.connected.wait(limit_s)


def until(condition, limit_s: float = 15.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def region(authority, tmp_path):
    """A broker, a client as the aggregator that hears everything, and a way to start vehicles."""
    broker = Broker(tmp_path / "broker", "home", authority)
    started = []

    def start(name, certificate, key, topics):
        started.append(Client(broker, authority, name, certificate, key, topics))
        return started[-1]

    with broker:
        yield broker, start
        for client in started:
            client.link.stop()


def vehicle(authority, tmp_path, start, name, topics):
    identity = enrol_locally(authority, name, tmp_path / name, SIGNER, ROOT)
    return start(name, identity.certificate_path, identity.key_path, topics)


def test_a_vehicle_writes_below_its_own_topic_and_hears_its_own_only(authority, tmp_path, region):
    _, start = region
    cloud = start("cloud", *authority.issue_client(tmp_path, AGGREGATOR), ["fl/v1/home/#"])
    one = vehicle(authority, tmp_path, start, "v1", ["fl/v1/home/+/down/#", "fl/v1/home/model/current"])
    two = vehicle(authority, tmp_path, start, "v2", ["fl/v1/home/v1/down/#", "fl/v1/home/v2/down/#"])
    assert all(client.connected() for client in (cloud, one, two))
    for topic in ("v2/up/fin", "v1/down/ack", "model/current", "v2/status", "v1/up/fin"):
        one.link.publish(f"fl/v1/home/{topic}", b"1")
    until(lambda: ("fl/v1/home/v1/up/fin", b"1") in cloud.heard)
    assert [topic for topic, _ in cloud.heard] == ["fl/v1/home/v1/up/fin"]
    for topic in ("v1/down/task", "v2/down/task", "model/current"):
        cloud.link.publish(f"fl/v1/home/{topic}", b"2")
    until(lambda: len(one.heard) == 2 and len(two.heard) == 1)
    assert {topic for topic, _ in one.heard} == {"fl/v1/home/v1/down/task", "fl/v1/home/model/current"}
    assert {topic for topic, _ in two.heard} == {"fl/v1/home/v2/down/task"}


def test_a_packet_that_is_too_large_ends_the_connection(authority, tmp_path, region):
    _, start = region
    one = vehicle(authority, tmp_path, start, "v1", [])
    assert one.connected()
    one.link.publish("fl/v1/home/v1/up/chunk", bytes(MAX_PACKET_BYTES + 1))
    assert one.ended.wait(15)


def test_a_vehicle_revoked_while_it_is_connected_says_and_hears_no_more_until_it_enrols_again(
    authority, tmp_path, region
):
    broker, start = region
    cloud = start("cloud", *authority.issue_client(tmp_path, AGGREGATOR), ["fl/v1/home/#"])
    one, two = (vehicle(authority, tmp_path, start, name, [f"fl/v1/home/{name}/down/#"]) for name in ("v1", "v2"))
    assert all(client.connected() for client in (cloud, one, two))
    authority.revoke("v1")
    assert enforce(broker.folder, "home", authority)

    def say(client, name: str, word: bytes) -> None:
        client.link.publish(f"fl/v1/home/{name}/up/fin", word)

    def silenced() -> bool:
        """The broker reads its list in its own time: each try of both ends with the word of the one that may speak."""
        cloud.heard.clear()
        say(one, "v1", b"?")
        say(two, "v2", b"!")
        until(lambda: ("fl/v1/home/v2/up/fin", b"!") in cloud.heard)
        return ("fl/v1/home/v1/up/fin", b"?") not in cloud.heard

    until(lambda: silenced() and silenced())
    one.heard.clear()
    for name in ("v1", "v2"):
        cloud.link.publish(f"fl/v1/home/{name}/down/task", b"2")
    until(lambda: two.heard)
    assert not one.heard
    again = enrol_locally(authority, "v1", tmp_path / "again", SIGNER, ROOT)
    assert enforce(broker.folder, "home", authority)
    back = start("v1 again", again.certificate_path, again.key_path, [])
    assert back.connected()
    until(lambda: say(back, "v1", b"back") or ("fl/v1/home/v1/up/fin", b"back") in cloud.heard)


def test_a_folder_without_a_running_broker_is_not_told(authority, tmp_path):
    assert not enforce(tmp_path / "broker", "home", authority)
    (tmp_path / "broker" / "mosquitto.pid").write_text(str(os.getpid()))
    assert not enforce(tmp_path / "broker", "home", authority)


def test_strangers_and_revoked_vehicles_do_not_get_in(authority, tmp_path, region):
    broker, start = region
    one = vehicle(authority, tmp_path, start, "v1", [])
    assert one.connected()
    one.link.stop()
    authority.revoke("v1")
    assert enforce(broker.folder, "home", authority)
    stranger = enrol_locally(Authority(tmp_path / "other"), "v3", tmp_path / "v3", SIGNER, ROOT)
    refused = [Identity(tmp_path / "v1"), stranger]

    def gets_in(identity) -> bool:
        client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        address = BrokerAddress(
            "127.0.0.1", broker.port, authority.ca_path, identity.certificate_path, identity.key_path
        )
        client.tls_set_context(address.context())
        answered = threading.Event()
        client.on_connect = lambda *_: answered.set()
        client.on_disconnect = lambda *_: None
        client.connect("127.0.0.1", broker.port)
        client.loop_start()
        found = answered.wait(2)
        client.loop_stop()
        return found

    until(lambda: not gets_in(refused[0]))
    assert not gets_in(refused[1])
