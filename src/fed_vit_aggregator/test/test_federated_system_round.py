"""Rounds between real processes: mosquitto with TLS, the aggregator, clients that train in processes of their own."""

import numpy as np
import safetensors.numpy


def weights(fleet, version: int) -> dict[str, np.ndarray]:
    return safetensors.numpy.load_file(fleet.cloud.folder / "state" / "releases" / str(version) / "linear.safetensors")


def finished(fleet) -> dict | None:
    state = fleet.cloud.state()
    return state if state["finished"] else None


def test_two_vehicles_learn_two_rounds_and_activate_both_releases(make_fleet):
    fleet = make_fleet()
    with fleet.cloud:
        for vehicle in ("v1", "v2"):
            fleet.start_client(vehicle)
        state = fleet.wait(lambda: finished(fleet))
        fleet.wait(lambda: all(client.releases.version == 3 for client in fleet.clients.values()))
        assert [r["phase"] for r in state["rounds"]] == ["released", "released"]
        assert [r["updates"] for r in state["rounds"]] == [2, 2]
        assert state["refused"] == {}
        assert not np.array_equal(weights(fleet, 3)["weight"], weights(fleet, 2)["weight"])
        assert all(client.outbox.counts() == {"accepted": 2} for client in fleet.clients.values())
