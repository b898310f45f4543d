"""How SUMO's road users meet an ego, which SUMO does not steer."""

import numpy as np

from fed_vit_autorl.simulation.config import EgoConfig, WorldConfig
from fed_vit_autorl.simulation.town import TownSpec
from fed_vit_autorl.simulation.traffic import RoadUserState, Traffic
from fed_vit_autorl.simulation.world import World

AWAY = {"ego": (1e4, 1e4, 0.0)}
HALF_WAY_M = 1.4
"""From the rear axle to the middle of the vehicle."""


def pedestrian(traffic: Traffic, egos) -> RoadUserState | None:
    """The only road user after a step with the egos at these poses; None while it is away."""
    traffic.step(egos)
    return traffic.states()[0]


def _before(walker: RoadUserState) -> dict[str, tuple[float, float, float]]:
    """An ego across the way of somebody who walks, its side 2.1 m ahead."""
    ahead = np.array([np.cos(walker.yaw), np.sin(walker.yaw)])
    x, y = (walker.x, walker.y) + 3.0 * ahead - HALF_WAY_M * np.array([-ahead[1], ahead[0]])
    return {"ego": (x, y, walker.yaw + 0.5 * np.pi)}


def test_nobody_walks_into_a_standing_ego():
    """It is put down in somebody's way and taken away again; then in their way for longer than people wait."""
    town, egos = TownSpec(seed=3, size=3), {"ego": EgoConfig("noon", 120.0)}
    with World(WorldConfig(town, egos, vehicles=0, pedestrians=1, image=False, scan=False)) as world:
        world.reset(2)
        walker = pedestrian(world.traffic, AWAY)
        ahead = np.array([np.cos(walker.yaw), np.sin(walker.yaw)])
        in_the_way = _before(walker)
        for _ in range(80):
            waiting = pedestrian(world.traffic, in_the_way)
        for _ in range(100):
            later = pedestrian(world.traffic, AWAY)
        gone = [pedestrian(world.traffic, _before(later)) for _ in range(120)]
    assert None in gone
    walked = np.array([waiting.x - walker.x, waiting.y - walker.y]) @ ahead
    assert 0.5 < walked < 2.1
    assert np.hypot(later.x - waiting.x, later.y - waiting.y) > 4.0
