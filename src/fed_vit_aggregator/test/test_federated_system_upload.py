"""Large updates over the second plane: HTTPS to the aggregator's folder, or to S3; and releases back from there."""

import hashlib
import sqlite3
from urllib.parse import parse_qs, urlsplit

import boto3
import httpx
import pytest
from moto.server import ThreadedMotoServer

from fed_vit_autorl.deployment.pki import EnrolmentReason, EnrolmentRefused
from fed_vit_autorl.federated.cloud.folder_blocks import BLOCK_BYTES, FolderBlocks
from fed_vit_autorl.federated.cloud.second_plane import SecondPlane
from fed_vit_autorl.federated.protocol.transfer import Incoming
from fed_vit_autorl.federated.protocol.wire import Manifest, TransportRefused
from fed_vit_autorl.federated.vehicle.backoff import Backoff
from fed_vit_autorl.federated.vehicle.upload import BlockUpload

DIGEST = hashlib.sha256(b"update").hexdigest()
WIDTH = 700  # 1.96 MB an update, dense: two blocks of a folder, one of S3


def round_by(fleet):
    """One round of two vehicles; bytes that each sent over the second plane."""
    fleet.cloud.start()
    for vehicle in ("v1", "v2"):
        fleet.start_client(vehicle)
    state = fleet.finished()
    assert [(r["phase"], r["updates"]) for r in state["rounds"]] == [("released", 2)]
    assert state["refused"] == {}
    fleet.wait(lambda: all(client.releases.version == 2 for client in fleet.clients.values()))
    database = sqlite3.connect(fleet.cloud.folder / "state" / "state.sqlite")
    sizes = dict(database.execute("SELECT vehicle, size FROM updates"))
    database.close()
    assert all(size > WIDTH * WIDTH * 4 for size in sizes.values())
    return {name: client.uploads.bytes_sent for name, client in fleet.clients.items()}, sizes


def test_a_large_update_goes_to_the_aggregators_folder_once(make_fleet):
    fleet = make_fleet(rounds=1, compression="none", bits=32, plane="{from_mib: 1}", width=WIDTH)
    sent, sizes = round_by(fleet)
    assert sent == sizes
    assert not list((fleet.cloud.folder / "state" / "uploads").rglob("[0-9]"))


def test_updates_go_to_s3_and_releases_come_from_there(make_fleet, monkeypatch):
    server = ThreadedMotoServer(port=0)
    server.start()
    try:
        endpoint = "http://{}:{}".format(*server.get_host_and_port())
        for name, value in (("ACCESS_KEY_ID", "key"), ("SECRET_ACCESS_KEY", "secret")):
            monkeypatch.setenv(f"AWS_{name}", value)
        client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
        client.create_bucket(Bucket="fleet")
        plane = f"{{from_mib: 1, s3: {{bucket: fleet, endpoint: '{endpoint}'}}}}"
        fleet = make_fleet(rounds=1, compression="none", bits=32, plane=plane, width=WIDTH)
        sent, sizes = round_by(fleet)
        assert sent == sizes
        keys = {entry["Key"] for entry in client.list_objects_v2(Bucket="fleet")["Contents"]}
        assert "fed-vit-autorl/releases/2/linear.safetensors" in keys
        assert not [key for key in keys if "/updates/" in key]
        vehicle = fleet.settings("v1").identity
        url = f"https://127.0.0.1:{fleet.cloud.settings.vehicles.port}/v1/releases/2/linear.safetensors"
        with httpx.Client(verify=fleet.vehicle_context(vehicle)) as http:
            assert http.get(url).headers["location"].startswith(endpoint)
        fleet.stop()
    finally:
        server.stop()


@pytest.fixture
def blocks(tmp_path):
    def known(vehicle: str) -> None:
        if vehicle == "gone":
            raise EnrolmentRefused(EnrolmentReason.REVOKED_VEHICLE, vehicle)

    return FolderBlocks(tmp_path, b"k" * 32, "https://cloud/v1/updates", 100.0, known)


def ask(url: str) -> tuple[dict, dict]:
    """Path and query of a URL as the web app hands them over."""
    parts = urlsplit(url)
    vehicle, digest, block = parts.path.split("/")[-3:]
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    return {"vehicle": vehicle, "digest": digest, "block": block}, query


def refusal(blocks: FolderBlocks, path: dict, query: dict, length: str = "10") -> str:
    with pytest.raises(TransportRefused) as refused:
        blocks.admit(path, query, length)
    return refused.value.reason


def test_a_block_is_stored_under_its_own_url_only(blocks):
    path, query = ask(blocks.put_url("v1", DIGEST, 3, 10))
    assert blocks.admit(path, query, "10") == 10
    blocks.put(DIGEST, 3, b"0123456789")
    blocks.put(DIGEST, 3, b"0123456789")
    assert (blocks.arrived(DIGEST), blocks.read(DIGEST, 3)) == ({3}, b"0123456789")
    for change in ({"vehicle": "v2"}, {"digest": "0" * 64}, {"block": "4"}):
        assert refusal(blocks, path | change, query) == "bad_signature"
    for change in ({"size": "11"}, {"expires": "99999999999"}, {"signature": "0" * 64}):
        assert refusal(blocks, path, query | change) == "bad_signature"
    blocks.remove(DIGEST)
    assert blocks.arrived(DIGEST) == set()


@pytest.mark.parametrize("length", ["", "-1", "1e9", "9" * 30, "10 ", "ten"])
def test_a_length_that_is_none_is_malformed(blocks, length):
    assert refusal(blocks, *ask(blocks.put_url("v1", DIGEST, 0, 10)), length) == "malformed"


def test_another_length_a_late_put_and_a_revoked_vehicle_are_refused(blocks, monkeypatch):
    path, query = ask(blocks.put_url("v1", DIGEST, 0, 10))
    assert refusal(blocks, path, query, "11") == "too_large"
    assert refusal(blocks, *ask(blocks.put_url("gone", DIGEST, 0, 10))) == "revoked_vehicle"
    monkeypatch.setattr("time.time", lambda: int(query["expires"]) + 1.0)
    assert refusal(blocks, path, query) == "expired"


def test_a_vehicle_that_sends_too_fast_has_to_wait_and_others_do_not(blocks):
    def put(vehicle: str, block: int) -> int:
        return blocks.admit(*ask(blocks.put_url(vehicle, DIGEST, block, BLOCK_BYTES)), str(BLOCK_BYTES))

    assert put("v1", 0) == put("v1", 1) == BLOCK_BYTES
    path, query = ask(blocks.put_url("v1", DIGEST, 2, BLOCK_BYTES))
    assert refusal(blocks, path, query, str(BLOCK_BYTES)) == "rate_limited"
    assert put("v2", 0) == BLOCK_BYTES


def test_a_full_disk_is_said_before_a_byte_is_read(blocks, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("", (), {"free": 100 << 20}))
    assert refusal(blocks, *ask(blocks.put_url("v1", DIGEST, 0, 10))) == "storage_full"


def test_a_cut_costs_one_block_and_no_more(tmp_path):
    """Every fifth PUT is cut: half of them before the block was stored, half after."""
    content, chunk = bytes(range(256)) * 40_000, 120 * 1024  # 10.24 MB: eleven blocks
    (tmp_path / "update").write_bytes(content)
    manifest = Manifest(
        run="r",
        round=1,
        base_version=1,
        vehicle="v1",
        digest=hashlib.sha256(content).hexdigest(),
        size=len(content),
        chunk_bytes=chunk,
    )
    blocks = FolderBlocks(tmp_path / "blocks", b"k" * 32, "https://cloud/v1/updates", 1e9, lambda vehicle: None)
    cuts = []

    def put(url: str, data: bytes) -> int:
        path, query = ask(url)
        counts.append(len(data))
        lost = len(counts) % 5 == 0
        if not lost or len(cuts) % 2:
            blocks.admit(path, query, str(len(data)))
            blocks.put(path["digest"], int(path["block"]), data)
        if lost:
            cuts.append(url)
            raise OSError("cut")
        return 204

    counts: list[int] = []
    plane, upload = SecondPlane(blocks, 0), BlockUpload(put, Backoff(0.0, 0.0))
    incoming = Incoming(tmp_path, manifest)
    while missing := plane.missing(incoming):
        upload.begin(tmp_path / "update", plane.block_bytes(manifest), missing)
        upload.wait()
        assert upload.finished()
        incoming.close()
        incoming = Incoming(tmp_path, manifest)  # the aggregator was restarted
        plane.collect(incoming)
    assert incoming.complete
    assert incoming.finish() == content
    assert len(cuts) >= 2
    assert sum(counts) - len(content) <= len(cuts) * plane.block_bytes(manifest)
    incoming.close()


def test_a_store_that_is_away_only_delays(tmp_path):
    class Away:
        block_bytes = 1 << 20

        def arrived(self, digest: str) -> set[int]:
            raise OSError("away")

        remove = arrived

    manifest = Manifest(run="r", round=1, base_version=1, vehicle="v1", digest=DIGEST, size=10, chunk_bytes=10)
    incoming, plane = Incoming(tmp_path, manifest), SecondPlane(Away(), 0)
    assert plane.missing(incoming) == {}
    plane.collect(incoming)
    plane.forget(manifest)
    assert not incoming.complete
    incoming.close()


def test_the_web_refuses_strangers_urls_and_counts_them(make_fleet):
    fleet = make_fleet(rounds=1)
    fleet.cloud.start()
    identity = fleet.settings("v1").identity
    url = f"https://127.0.0.1:{fleet.cloud.settings.vehicles.port}/v1/updates/v1/{DIGEST}/0"
    with httpx.Client(verify=fleet.vehicle_context(identity)) as client:
        guess = {"size": "10", "expires": "99999999999", "signature": "0" * 64}
        assert client.put(url, params=guess, content=b"0123456789").status_code == 403
        assert client.put(url, content=b"0123456789").status_code == 400
        assert client.put(url + "/../../keys", content=b"x").status_code == 404
    with pytest.raises(httpx.HTTPError), fleet.cloud.client() as client:
        client.put(url, content=b"x")
    assert fleet.cloud.state()["refused"] == {"bad_signature": 1, "malformed": 1}
