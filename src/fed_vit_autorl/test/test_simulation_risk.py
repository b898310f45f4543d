"""Who is about to be met, by arithmetic."""

import numpy as np
import pytest

from fed_vit_autorl.simulation.risk import meets
from fed_vit_autorl.simulation.vehicle import VehicleState

CAR, WALKER = (4.6, 1.85, 1.5), (0.5, 0.5, 1.75)


def other(x, y, yaw=0.0, size=CAR):
    return np.array([[x, y, 0.8, *size, yaw]], np.float32)


@pytest.mark.parametrize(
    ("speed", "yaw_rate", "solid", "its_speed", "met"),
    [
        (10.0, 0.0, other(20, 0), 0.0, True),  # 30 m in 3 s
        (3.0, 0.0, other(20, 0), 0.0, False),  # 9 m
        (10.0, 0.0, other(20, 0), 10.0, False),  # drives ahead as fast
        (0.0, 0.0, other(20, 0, np.pi), 8.0, True),  # comes the other way, 24 m in 3 s
        (0.0, 0.0, other(20, 3.5, np.pi), 8.0, False),  # on its own lane
        (4.0, 0.0, other(10, 5, -np.pi / 2, WALKER), 1.4, True),  # after 2.6 s it is 1.4 m off, beside the ego
        (4.0, 0.0, other(10, 9, -np.pi / 2, WALKER), 1.4, False),
        (10.0, 0.5, other(25, 0), 0.0, False),  # the ego turns left with a radius of 20 m
        (10.0, 0.5, other(18.2, 9.2, 1.0), 0.0, True),  # and this one stands where it will be after 2 s
    ],
)
def test_who_is_met_within_three_seconds(speed, yaw_rate, solid, its_speed, met):
    assert meets(VehicleState(speed=speed, yaw_rate=yaw_rate), solid, np.array([its_speed])) is met


def test_an_empty_road_holds_no_risk():
    assert not meets(VehicleState(speed=30.0), np.zeros((0, 7), np.float32), np.zeros(0))
