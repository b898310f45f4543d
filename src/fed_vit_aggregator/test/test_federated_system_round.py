"""Rounds between real processes: mosquitto with TLS, the aggregator, clients that train in processes of their own."""

import os
import resource
import signal

import numpy as np
import pytest


def test_two_vehicles_learn_two_rounds_and_activate_both_releases(make_fleet):
    fleet = make_fleet()
    fleet.cloud.start()
    for vehicle in ("v1", "v2"):
        fleet.start_client(vehicle)
    state = fleet.finished()
    fleet.wait(lambda: all(client.releases.version == 3 for client in fleet.clients.values()))
    assert [r["phase"] for r in state["rounds"]] == ["released", "released"]
    assert [r["updates"] for r in state["rounds"]] == [2, 2]
    assert state["refused"] == {}
    assert not np.array_equal(fleet.weights(3)["weight"], fleet.weights(2)["weight"])
    assert all(client.outbox.counts() == {"accepted": 2} for client in fleet.clients.values())


@pytest.fixture(scope="module")
def undisturbed(make_module_fleet):
    """The model after one round of updates as they are, 360 KB each."""
    fleet = make_module_fleet(rounds=1, compression="none", bits=32)
    fleet.cloud.start()
    for vehicle in ("v1", "v2"):
        fleet.start_client(vehicle)
    fleet.finished()
    return fleet.weights(2)


def kill_aggregator(fleet):
    fleet.cloud.stop_aggregator(kill=True)
    fleet.cloud.start_aggregator()


def kill_broker(fleet):
    fleet.cloud.broker.stop(kill=True)
    fleet.cloud.broker.start()


def kill_both(fleet):
    """From outside, as the demo's user may; whoever runs the cloud here starts them again."""
    for pid in (fleet.cloud.broker.process.pid, fleet.cloud.aggregator_pid):
        os.kill(pid, signal.SIGKILL)
    revived = []
    fleet.wait(lambda: revived.extend(fleet.cloud.revive()) or len(revived) == 2)
    assert sorted(revived) == ["aggregator", "broker"]
    assert fleet.cloud.revive() == []


@pytest.mark.parametrize("fault", [kill_aggregator, kill_broker, kill_both])
def test_a_kill_in_mid_round_loses_and_doubles_nothing(make_fleet, undisturbed, fault):
    fleet = make_fleet(rounds=1, compression="none", bits=32)
    held = fleet.hold("v2")
    fleet.cloud.start()
    for vehicle in ("v1", "v2"):
        fleet.start_client(vehicle)
    fleet.until(lambda state: state["rounds"] and state["rounds"][0]["updates"] == 1)
    fault(fleet)
    held.unlink()
    state = fleet.finished()
    assert [(r["phase"], r["updates"]) for r in state["rounds"]] == [("released", 2)]
    # Who lost the broker hears that its update has arrived when it is back, maybe after the round's end.
    fleet.wait(lambda: all(client.outbox.counts() == {"accepted": 1} for client in fleet.clients.values()))
    for name, tensor in undisturbed.items():
        np.testing.assert_array_equal(fleet.weights(2)[name], tensor)


def test_a_full_disk_of_the_aggregator_only_delays_the_round(make_fleet, undisturbed):
    fleet = make_fleet(rounds=1, compression="none", bits=32)
    held = [fleet.hold(vehicle) for vehicle in ("v1", "v2")]
    fleet.cloud.start()
    # No file may grow beyond 300 KB: as for a full disk, writing an update fails, small state still fits.
    pid = fleet.cloud.aggregator_pid
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
    for vehicle in ("v1", "v2"):
        fleet.start_client(vehicle)
    for path in held:
        os.unlink(path)
    state = fleet.until(lambda state: state["refused"].get("storage_full"))
    assert state["rounds"][0]["updates"] == 0
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    fleet.finished()
    for name, tensor in undisturbed.items():
        np.testing.assert_array_equal(fleet.weights(2)[name], tensor)
