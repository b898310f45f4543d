"""Vehicles of unlike towns: what each lacks alone it has from the fleet; the drives that it learns from are real."""

import numpy as np
import pytest
import torch

from fed_vit_autorl.reinforcement.driving_log import load_drives
from fed_vit_autorl.reinforcement.fleet_learning import (
    TOWNS,
    FleetSettings,
    drive_town,
    error,
    learn_alone,
    learn_together,
)
from fed_vit_autorl.reinforcement.policy import VisionPolicy
from fed_vit_autorl.reinforcement.policy_io import input_shapes
from fed_vit_autorl.reinforcement.train_fleet_policy import elsewhere
from fed_vit_autorl.simulation.boxtraffic import Behaviour
from fed_vit_autorl.simulation.boxworld import EGO, BoxWorld

WIDTH = 4
ARCHITECTURE = {"feature_width": WIDTH, "width": 16}
SETTINGS = FleetSettings(rounds=5, epochs=12, learning_rate=0.01)


def rows_of(sign: int, count: int = 192) -> dict[str, np.ndarray]:
    """A town in which the shield brakes at one sign (one place of `ego`) and elsewhere lets the policy roll."""
    generator = np.random.default_rng(sign)
    rows = {name: np.zeros((count, *shape), np.float32) for name, shape in input_shapes(WIDTH).items()}
    rows["route"][..., 0] = 0.1 * np.arange(1, 21)
    rows["ego"][:, 0] = 0.8
    shown = generator.random(count) < 0.5
    rows["ego"][:, sign] = shown
    rows["control"] = np.stack([np.zeros(count), np.where(shown, -3.0, 0.0)], axis=1).astype(np.float32)
    rows["corrected"] = shown.astype(np.float32)
    rows["reward"] = np.ones(count, np.float32)
    return rows


def test_the_fleets_policy_knows_the_others_towns_as_well():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    weights = {name: value.numpy().copy() for name, value in VisionPolicy(**ARCHITECTURE).state_dict().items()}
    towns = {"red": rows_of(7), "lead": rows_of(12)}
    alone = {town: learn_alone(ARCHITECTURE, weights, rows, SETTINGS) for town, rows in towns.items()}
    fleet = learn_together(ARCHITECTURE, weights, towns, SETTINGS)
    for town, other in (("red", "lead"), ("lead", "red")):
        own = error(ARCHITECTURE, alone[town], towns[town])
        assert own < 0.3 * error(ARCHITECTURE, weights, towns[town])
        assert error(ARCHITECTURE, fleet, towns[other]) < 0.7 * error(ARCHITECTURE, alone[town], towns[other])


def test_a_town_has_only_its_own_road_users():
    view = BoxWorld(TOWNS["pavements"]).reset(3)[EGO]
    kinds = {name.rsplit("_", 1)[0] for name in view.truth.users}
    assert kinds <= {Behaviour.WALKS.name.lower(), Behaviour.JAYWALKS.name.lower(), Behaviour.ONCOMING.name.lower()}
    assert len(BoxWorld().reset(3)[EGO].truth.users) > len(view.truth.users)


def test_a_drive_behind_the_shield_leaves_its_log(tmp_path):
    torch.manual_seed(0)
    weights = {name: value.numpy() for name, value in VisionPolicy(**ARCHITECTURE).state_dict().items()}
    driven = drive_town(ARCHITECTURE, weights, "queues", 1, 3.0, tmp_path)
    rows = load_drives(tmp_path, WIDTH, 100)
    assert 10 <= len(rows["reward"]) <= 15  # five a second
    assert driven.reward == pytest.approx(float(rows["reward"].mean()))
    assert driven.metres > 0.0


def test_elsewhere_leaves_the_own_town_out():
    figures = {name: {town: number for number, town in enumerate(TOWNS)} for name in (*TOWNS, "fleet", "shipped")}
    figures["queues"] = {"queues": 100.0, "pavements": 4.0, "parking": 6.0}
    assert elsewhere(figures)["queues"] == {"own": 5.0, "fleet": 1.5, "shipped": 1.5}
