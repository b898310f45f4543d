"""Who may fetch, act and speak: operators, vehicles, and vehicles that are no longer any."""

import json

import httpx
import pytest
from click.testing import CliRunner

from fed_vit_aggregator import enrolment
from fed_vit_autorl.deployment.identity import Identity
from fed_vit_autorl.deployment.pki import EnrolmentRefused


def test_only_operators_act_and_only_vehicles_fetch(make_fleet):
    fleet = make_fleet(rounds=1)
    fleet.cloud.start()
    with fleet.cloud.client() as client:
        assert client.post("/api/actions/pause", json={}).status_code == 401
        assert client.post("/api/login", json={"token": "guess"}).status_code == 401
        assert client.post("/api/login", content="token=guess").status_code == 415
        assert client.post("/api/login", json={"token": "x" * 40_000}).status_code == 413
        bearer = {"Authorization": f"Bearer {fleet.cloud.operator_token}"}
        assert client.post("/api/actions/roll_back", json={"version": 99}, headers=bearer).status_code == 400
        assert client.post("/api/actions/pause", json={}, headers=bearer).status_code == 200
        assert client.get("/api/state").json()["paused"]
        assert "fedvit_release 1.0" in client.get("/metrics").text
        assert client.get("/healthz").status_code == 200
        files = f"https://127.0.0.1:{fleet.cloud.settings.vehicles.port}/v1/releases/1/manifest.json"
        with pytest.raises(httpx.HTTPError):
            client.get(files)
    vehicle = fleet.settings("v1").identity
    context = fleet.vehicle_context(vehicle)
    with httpx.Client(verify=context) as client:
        assert client.get(files).status_code == 200
        assert client.get(files, headers={"Range": "bytes=2-5"}).content == client.get(files).content[2:6]
        assert client.get(files.replace("manifest.json", "..%2F..%2Fkeys%2Fsealing.key")).status_code == 404
        assert client.get(files.replace("/1/", "/7/")).status_code == 404


def test_a_vehicle_enrols_over_the_network_with_its_claim_once_and_can_be_revoked(make_fleet, tmp_path):
    fleet = make_fleet(rounds=1)
    fleet.cloud.start()
    identity = Identity(tmp_path / "v9")
    body = {
        "vehicle": "v9",
        "claim": fleet.cloud.keys.authority.claim("v9"),
        "request": identity.request("v9").decode(),
    }
    with fleet.cloud.client() as client:
        assert client.post("/v1/enrol", json=body | {"claim": "guess"}).json() == {"reason": "bad_claim"}
        answer = client.post("/v1/enrol", json=body)
        assert answer.status_code == 200
        assert client.post("/v1/enrol", json=body).json() == {"reason": "bad_claim"}
    identity.take(answer.json())
    assert identity.vehicle == "v9"
    url = f"https://127.0.0.1:{fleet.cloud.settings.vehicles.port}/v1/releases/1/manifest.json"
    assert reaches(fleet, identity, url)
    fleet.cloud.keys.authority.revoke("v9")
    fleet.wait(lambda: not reaches(fleet, identity, url))


def test_revoke_cuts_a_connected_vehicle_off_at_the_broker_and_at_the_aggregator(make_fleet):
    fleet = make_fleet(rounds=1)
    fleet.cloud.start()
    hold = fleet.hold("v1")
    clients = [fleet.start_client(name) for name in ("v1", "v2")]
    fleet.wait(lambda: clients[0].core.task)
    done = CliRunner().invoke(enrolment.revoke, [str(fleet.cloud.folder / "aggregator.yaml"), "v1", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.output.splitlines()[-1])["broker_told"]
    hold.unlink()  # its update is made and sent from now on
    fleet.wait(lambda: clients[0].core.sender)
    assert fleet.wait(lambda: clients[1].core.settled == {"accepted": 1})
    # The aggregator alone refuses too, whatever a broker elsewhere lets through.
    with pytest.raises(EnrolmentRefused, match="revoked_vehicle"):
        fleet.cloud.keys.authority.public_key("v1")
    clients[0].stop()
    fleet.start_client("v1")
    fleet.start_client("v3")
    fleet.wait(lambda: fleet.clients["v3"].link.connected.is_set())
    assert not fleet.clients["v1"].link.connected.is_set()
    [round] = fleet.cloud.state()["rounds"]
    assert round["updates"] == 1


def reaches(fleet, identity: Identity, url: str) -> bool:
    """Whether a new connection of a vehicle is let in."""
    try:
        with httpx.Client(verify=fleet.vehicle_context(identity.folder)) as client:
            return client.get(url).status_code == 200
    except httpx.HTTPError:
        return False
