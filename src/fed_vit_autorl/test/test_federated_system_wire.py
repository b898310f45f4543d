"""Bytes on the wire: what is encoded comes back, anything else is refused with a reason, never otherwise."""

import hashlib

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from fed_vit_autorl.federated.protocol import wire
from fed_vit_autorl.federated.protocol.wire import (
    Ack,
    Chunk,
    Fin,
    Manifest,
    Pointer,
    State,
    Status,
    Task,
    TransportRefused,
)
from fed_vit_autorl.privacy import sealing
from fed_vit_autorl.privacy.sealing import SealingKey, SealingRefused, seal

KEY, STRANGER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
SEALING = SealingKey.generate()
DIGEST = hashlib.sha256(b"x").hexdigest()
MESSAGES = [
    Task(
        run="main",
        round=3,
        base_version=2,
        vehicle="v1",
        deadline_s=60.0,
        sealing_key=SEALING.public,
        plan={"stages": ["clip"]},
    ),
    Manifest(run="main", round=3, base_version=2, vehicle="v1", digest=DIGEST, size=10, chunk_bytes=4),
    Chunk(digest=DIGEST, index=2, data=b"12"),
    Fin(digest=DIGEST, query=4),
    Ack(digest=DIGEST, state=State.RECEIVING, have=b"\x05", credit=64),
    Pointer(region="home", version=7, metadata=3, url="https://x/v1/"),
    Status(online=True, activity="training", metrics={"map50": 0.5}),
]
KINDS = [type(message) for message in MESSAGES]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_comes_back_as_it_was(message):
    assert wire.decode(wire.encode(message, KEY), type(message), KEY.public_key()) == message


@pytest.mark.parametrize("message", [m for m in MESSAGES if m.signed], ids=lambda message: type(message).__name__)
def test_a_signed_message_needs_a_trusted_key(message):
    with pytest.raises(TransportRefused, match="bad_signature"):
        wire.decode(wire.encode(message, STRANGER), type(message), KEY.public_key())
    with pytest.raises(ValueError, match="needs a key"):
        wire.encode(message)


def test_a_signature_for_one_purpose_is_worthless_for_another():
    signature = sealing.sign(KEY, "release", b"content")
    with pytest.raises(SealingRefused, match="bad_signature"):
        sealing.verify(KEY.public_key(), "message", b"content", signature)


@settings(deadline=None)
@given(kind=st.sampled_from(KINDS), data=st.binary(max_size=300))
def test_random_bytes_are_refused(kind, data):
    with pytest.raises(TransportRefused):
        wire.decode(data, kind, KEY.public_key())


@settings(max_examples=200, deadline=None)
@given(message=st.sampled_from(MESSAGES), where=st.integers(0, 1 << 16), value=st.integers(0, 255), cut=st.booleans())
def test_a_changed_or_cut_message_is_refused_or_still_well_formed(message, where, value, cut):
    data = bytearray(wire.encode(message, KEY))
    position = where % len(data)
    changed = data[:position] if cut else data[:position] + bytes([value]) + data[position + 1 :]
    try:
        found = wire.decode(bytes(changed), type(message), KEY.public_key())
    except TransportRefused:
        return
    assert changed == data or not message.signed
    assert isinstance(found, type(message))


@settings(deadline=None)
@given(size=st.integers(1, 10**8), chunk_bytes=st.integers(2000, wire.CHUNK_BYTES))
def test_chunks_cover_the_size(size, chunk_bytes):
    manifest = Manifest(
        run="r", round=1, base_version=1, vehicle="v", digest=DIGEST, size=size, chunk_bytes=chunk_bytes
    )
    assert (manifest.chunks - 1) * chunk_bytes < size <= manifest.chunks * chunk_bytes


def test_a_manifest_of_more_chunks_than_a_bitmap_holds_is_refused():
    fields = {"run": "r", "round": 1, "base_version": 1, "vehicle": "v", "digest": DIGEST, "size": 1 << 30}
    body = msgspec.msgpack.encode({**fields, "chunk_bytes": 1})
    signature = sealing.sign(KEY, "message/1/Manifest", body)
    with pytest.raises(TransportRefused, match="malformed: 1073741824 chunks"):
        wire.decode(b"FV\x01\x02" + signature + body, Manifest, KEY.public_key())


def test_a_long_name_or_a_path_as_name_is_refused():
    for name in ("v" * 64, "../v1", "v/1", "V1", "", "v#", "v+"):
        message = Manifest(run="main", round=1, base_version=1, vehicle=name, digest=DIGEST, size=1, chunk_bytes=1)
        with pytest.raises(TransportRefused, match="malformed"):
            wire.decode(wire.encode(message, KEY), Manifest, KEY.public_key())


@given(plaintext=st.binary(max_size=2000), context=st.binary(max_size=50))
@settings(max_examples=25, deadline=None)
def test_sealed_bytes_open_with_the_key_and_the_context_only(plaintext, context):
    sealed = seal(plaintext, SEALING.public, context)
    assert len(sealed) == len(plaintext) + sealing.OVERHEAD_BYTES
    assert SealingKey.from_bytes(SEALING.to_bytes()).open(sealed, context) == plaintext
    for wrong in ((sealed, context + b"x"), (sealed[:-1], context), (bytes(len(sealed)), context), (b"", context)):
        with pytest.raises(SealingRefused, match="not_opened"):
            SEALING.open(*wrong)
    with pytest.raises(SealingRefused, match="not_opened"):
        SealingKey.generate().open(sealed, context)


@pytest.mark.parametrize("length", [0, 32, sealing.PUBLIC_BYTES - 1])
def test_a_key_of_another_length_is_refused(length):
    with pytest.raises(SealingRefused, match="bad_key"):
        seal(b"x", bytes(length), b"")
    with pytest.raises(SealingRefused, match="bad_key"):
        SealingKey.from_bytes(bytes(length))
