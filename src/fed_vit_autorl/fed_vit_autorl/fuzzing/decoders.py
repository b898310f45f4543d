"""Every decoder that faces the network, by name, with bytes that it takes: what fuzzing starts from.

A decoder's only way to refuse is a `Refused`; anything else that it raises is a fault. Where the protocol puts a
signature before a parser, the bytes here are what is signed, so that the parser behind it is reached.
"""

from __future__ import annotations

import hashlib
import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import msgspec
import numpy as np
import safetensors.numpy
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fed_vit_autorl.deployment import release
from fed_vit_autorl.deployment.identity import Identity
from fed_vit_autorl.deployment.offers import Channel, Offer
from fed_vit_autorl.deployment.pki import Authority
from fed_vit_autorl.deployment.tuf_client import ReleaseFeed
from fed_vit_autorl.deployment.tuf_repository import create
from fed_vit_autorl.federated.cloud.folder_blocks import FolderBlocks
from fed_vit_autorl.federated.pipeline import Pipeline
from fed_vit_autorl.federated.protocol import topics, wire
from fed_vit_autorl.federated.protocol.masking import SessionMessage, Step
from fed_vit_autorl.federated.protocol.transfer import Sender
from fed_vit_autorl.federated.update import Layout, Update, UpdateMetadata
from fed_vit_autorl.privacy import sealing
from fed_vit_autorl.privacy.sealing import SealingKey, seal
from fed_vit_autorl.privacy.secagg import messages as secagg

DIGEST = hashlib.sha256(b"update").hexdigest()
STAGES = {
    "sparse": ["clip", {"top_k": {"ratio": 0.1}}, {"quantise": {"bits": 8}}],
    "random": [{"random_k": {"ratio": 0.1}}, {"quantise": {"bits": 4}}],
    "dense": [],
}
_FOLDERS: list[tempfile.TemporaryDirectory] = []  # until the process ends
_KEY = Ed25519PrivateKey.from_private_bytes(b"fuzzing" + bytes(25))


@dataclass(frozen=True)
class Decoder:
    """`decode(data)` returns or raises a `Refused`; `seeds` are bytes that it takes."""

    seeds: tuple[bytes, ...]
    decode: Callable[[bytes], object]


def _folder() -> Path:
    _FOLDERS.append(tempfile.TemporaryDirectory(prefix="fedvit-fuzz-"))
    return Path(_FOLDERS[-1].name)


def _signed(kind: type[wire.Message], *messages: wire.Message) -> Decoder:
    head = struct.pack("<2sBB", wire.MAGIC, wire.VERSION, kind.kind)
    domain, public = f"message/{wire.VERSION}/{kind.__name__}", _KEY.public_key()

    def decode(body: bytes) -> object:
        return wire.decode(head + sealing.sign(_KEY, domain, body) + body, kind, public)

    return Decoder(tuple(map(msgspec.msgpack.encode, messages)), decode)


def _task() -> Decoder:
    plan = {"stages": STAGES["sparse"], "trainable": ["*"], "training": {"lr": 0.1}}
    names = {"run": "main", "round": 3, "base_version": 2, "vehicle": "v1"}
    return _signed(wire.Task, wire.Task(**names, deadline_s=60.0, sealing_key=bytes(sealing.PUBLIC_BYTES), plan=plan))


def _manifest() -> Decoder:
    names = {"run": "main", "round": 3, "base_version": 2, "vehicle": "v1"}
    return _signed(wire.Manifest, wire.Manifest(**names, digest=DIGEST, size=1000, chunk_bytes=100))


def _ack() -> Decoder:
    """What the aggregator answers, and what the sender makes of it."""
    own = wire.Manifest(run="m", round=1, base_version=1, vehicle="v", digest=DIGEST, size=90, chunk_bytes=10)
    parsed = _signed(
        wire.Ack,
        wire.Ack(digest=DIGEST, state=wire.State.RECEIVING, have=b"\x05\x00", credit=64, query=1),
        wire.Ack(digest=DIGEST, state=wire.State.RECEIVING, blocks={1: "https://x/1"}, block_bytes=40),
    )

    def decode(body: bytes) -> object:
        sender = Sender(own, Path("/dev/zero"))
        sender.on_ack(parsed.decode(body), 1.0)
        return [message for _, message in zip(range(200), sender.outgoing(2.0), strict=False)]

    return Decoder(parsed.seeds, decode)


def _pointer() -> Decoder:
    return _signed(wire.Pointer, wire.Pointer(region="home", version=7, metadata=3, url="https://x/v1/"))


def _session() -> Decoder:
    message = SessionMessage(run="main", round=1, vehicle="v1", step=Step.SHARES, part=0, parts=2, data=b"12345")
    return _signed(SessionMessage, message)


def _plain() -> Decoder:
    """The kinds without a signature, as whole messages: the first byte says which is expected."""
    kinds = (wire.Chunk, wire.Fin, wire.Status)
    messages = (
        wire.Chunk(digest=DIGEST, index=2, data=b"12"),
        wire.Fin(digest=DIGEST, query=4),
        wire.Status(online=True, activity="training", metrics={"map50": 0.5}),
    )
    return Decoder(
        tuple(bytes([number]) + wire.encode(message) for number, message in enumerate(messages)),
        lambda data: wire.decode(data[1:], kinds[(data[0] if data else 0) % len(kinds)]),
    )


def _topic() -> Decoder:
    return Decoder(
        (b"fl/v1/home/v1/up/chunk", b"fl/v1/home/v1/status"),
        lambda data: topics.parse(data.decode(errors="replace"), "home"),
    )


def _secagg() -> Decoder:
    """Messages of a session: the first byte says which is expected."""
    advertisement = secagg.Advertisement("v1", bytes(32), bytes(32), bytes(64))
    messages = (
        advertisement,
        secagg.Roster(b"main/1", [advertisement]),
        secagg.Shares("v1", bytes(32), {"v2": bytes(60)}),
        secagg.UnmaskRequest(b"main/1", ["v1", "v2"]),
        secagg.UnmaskReply("v1", {"v2": bytes(66)}, {}),
    )
    kinds = [type(message) for message in messages]
    return Decoder(
        tuple(bytes([number]) + secagg.encode(message) for number, message in enumerate(messages)),
        lambda data: secagg.decode(data[1:], kinds[(data[0] if data else 0) % len(kinds)]),
    )


def _update(stages: str) -> Callable[[], Decoder]:
    def make() -> Decoder:
        tensors = {"a": np.linspace(-1, 1, 300, dtype=np.float32).reshape(20, 15), "b": np.ones(7, np.float32)}
        pipeline = Pipeline.from_config(STAGES[stages], Layout.of(tensors))
        metadata = UpdateMetadata(3, 2, "v1", 32, {"loss": 0.5})
        return Decoder((pipeline.encode(Update(tensors, metadata)),), pipeline.decode)

    return make


def _sealed() -> Decoder:
    key = SealingKey.generate()
    return Decoder((seal(b"update", key.public, b"context"),), lambda data: key.open(data, b"context"))


def _weights() -> Decoder:
    tensors = {"w": np.ones((3, 4), np.float32), "h": np.ones(5, np.float16), "i": np.arange(3)}
    return Decoder((safetensors.numpy.save(tensors),), release.decode_weights)


def _golden() -> Decoder:
    batch = {"x": np.ones((1, 4), np.uint8)}, {"y": np.ones((1, 2), np.float32)}
    return Decoder((release.pack_golden({"model": batch}),), lambda data: release.unpack_golden(data, "model"))


def _release() -> Decoder:
    files = {"a.onnx": release.FileEntry(DIGEST, 10)}
    manifest = release.Manifest(version=1, architecture={"a": {"width": 3}}, files=files, created="2026-01-01")
    return Decoder((release.encode_manifest(manifest),), release.decode_manifest)


def _metadata() -> Decoder:
    """The fleet's TUF metadata: the first byte says which file is the attacker's. New ones are what a vehicle that was
    enrolled just now asks for.
    """
    folder = _folder()
    keys = {role: Ed25519PrivateKey.generate() for role in ("root", "targets", "snapshot", "timestamp")}
    repository = create(folder / "metadata", keys)
    (folder / "root.json").write_bytes(repository.root_bytes())
    repository.offer({Channel.FLEET: Offer(1, DIGEST, 10), Channel.CANARY: Offer(2, DIGEST, 10, 1 << 40)})
    names = ("timestamp.json", "1.snapshot.json", "1.targets.json", "2.root.json")
    contents = {path.name: path.read_bytes() for path in repository.folder.iterdir()}
    contents["2.root.json"] = contents["1.root.json"]

    def decode(data: bytes) -> object:
        forged = names[(data[0] if data else 0) % len(names)]

        def read(url: str) -> tuple[int, bytes]:
            name = url.rsplit("/", 1)[1]
            content = data[1:] if name == forged else contents.get(name) if name != "2.root.json" else None
            return (404, b"") if content is None else (200, content)

        with tempfile.TemporaryDirectory(dir=folder) as state:
            return ReleaseFeed(Path(state), folder / "root.json", "v1", read).look("https://x/v1/metadata/")

    return Decoder(tuple(bytes([number]) + contents[name] for number, name in enumerate(names)), decode)


def _upload() -> Decoder:
    """Path, query and Content-Length of a PUT: six lines."""
    folder = _folder()
    blocks = FolderBlocks(folder, b"k" * 32, "https://x/v1/updates", 1e12, lambda vehicle: None)

    def decode(data: bytes) -> object:
        lines = [*data.decode("latin-1").split("\n"), *[""] * 7]
        path = dict(zip(("vehicle", "digest", "block"), lines, strict=False))
        query = dict(zip(("size", "expires", "signature"), lines[3:], strict=False))
        return blocks.admit(path, query, lines[6])

    parts = blocks.put_url("v1", DIGEST, 3, 10).rpartition("updates/")[2].replace("?", "/").replace("&", "/").split("/")
    lines = [*parts[:3], *(part.partition("=")[2] for part in parts[3:]), "10"]
    return Decoder(("\n".join(lines).encode(),), decode)


def _enrolment() -> Decoder:
    """A signing request of whoever holds a claim."""
    folder = _folder()
    authority = Authority(folder / "pki")

    def decode(data: bytes) -> object:
        return authority.enrol("v1", authority.claim("v1"), data)

    return Decoder((Identity(folder / "v1").request("v1"),), decode)


DECODERS: dict[str, Callable[[], Decoder]] = {
    "task": _task,
    "manifest": _manifest,
    "ack": _ack,
    "pointer": _pointer,
    "session": _session,
    "plain": _plain,
    "topic": _topic,
    "secagg": _secagg,
    "update_sparse": _update("sparse"),
    "update_random": _update("random"),
    "update_dense": _update("dense"),
    "sealed": _sealed,
    "weights": _weights,
    "golden": _golden,
    "release": _release,
    "metadata": _metadata,
    "upload": _upload,
    "enrolment": _enrolment,
}


@cache
def decoder(name: str) -> Decoder:
    """By name; raises KeyError."""
    return DECODERS[name]()
