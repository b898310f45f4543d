"""Secure aggregation between real processes over mosquitto: one vehicle drops out, everybody else is killed once."""

import sqlite3

import numpy as np
import pytest
import safetensors.numpy

from fed_vit_aggregator.virtual_fleet import VirtualFleet
from fed_vit_autorl.deployment.config_file import from_mapping
from fed_vit_autorl.deployment.fleet_config import FleetConfig
from fed_vit_autorl.federated.protocol.masking import Step
from fed_vit_autorl.federated.virtual.vehicles import virtual_delta

VEHICLES = ["v0", "v1", "v2", "v3"]
CONFIG = {
    "federation": {
        "run": "masked",
        "region": "test",
        "num_rounds": 1,
        "vehicles_per_round": 4,
        "min_vehicles": 3,
        "deadline_s": 30.0,
        "weighting": "uniform",
    },
    "privacy": {"secure_aggregation": True},
    "communication": {"compression": "none", "quantization_bits": 32},
}


@pytest.fixture
def fleet(tmp_path):
    made = VirtualFleet(tmp_path, from_mapping(CONFIG, FleetConfig), VEHICLES, len(VEHICLES), width=40)
    yield made
    made.stop()


def taken(fleet, step):
    """Vehicles that have taken a step of the round's session."""
    path = fleet.cloud.folder / "state" / "sessions.sqlite"
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    rows = database.execute("SELECT vehicle FROM said WHERE step=?", (step,)).fetchall()
    database.close()
    return {row[0] for row in rows}


def test_the_sum_of_the_survivors_comes_out_after_kills_everywhere(fleet):
    fleet.hold.touch()
    fleet.start()
    fleet.cloud.wait(lambda state: taken(fleet, Step.READY) == set(VEHICLES), 60.0)
    fleet.kill_host(3)  # for good: its keys and shares are out, its update never comes
    fleet.kill_host(0)
    fleet.start_host(0)
    fleet.cloud.stop_aggregator(kill=True)
    fleet.cloud.start_aggregator()
    fleet.hold.unlink()
    state = fleet.cloud.wait(lambda state: bool(state["rounds"]) and state["rounds"][0]["updates"] == 3, 60.0)
    fleet.kill_host(1)
    fleet.start_host(1)
    state = fleet.cloud.wait(lambda state: state["finished"], 120.0)
    assert [(r["phase"], r["updates"]) for r in state["rounds"]] == [("released", 3)]
    fleet.cloud.wait(lambda state: not taken(fleet, Step.SHARES), 30.0)  # nothing is kept of an ended session
    found = safetensors.numpy.load_file(fleet.cloud.folder / "state" / "releases" / "2" / "linear.safetensors")
    before = safetensors.numpy.load_file(fleet.folder / "base" / "linear.safetensors")
    model = {f"linear/{name}": before[name] for name in sorted(before)}
    deltas = [virtual_delta(vehicle, "masked", 1, model) for vehicle in VEHICLES[:3]]
    for name, tensor in before.items():
        mean = np.mean([delta[f"linear/{name}"] for delta in deltas], axis=0)
        np.testing.assert_allclose(found[name], tensor + mean, atol=1e-6)
