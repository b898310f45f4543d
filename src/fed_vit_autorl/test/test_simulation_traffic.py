"""How SUMO's road users meet an ego, which SUMO does not steer."""

import numpy as np

from fed_vit_autorl.simulation.actors import KINDS
from fed_vit_autorl.simulation.config import EgoConfig, WorldConfig
from fed_vit_autorl.simulation.town import TownSpec
from fed_vit_autorl.simulation.traffic import RoadUserState, Traffic
from fed_vit_autorl.simulation.world import World

AWAY = {"ego": (1e4, 1e4, 0.0)}
HALF_WAY_M = 1.4
"""From the rear axle to the middle of the vehicle."""


def only(traffic: Traffic, egos) -> RoadUserState | None:
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
        walker = only(world.traffic, AWAY)
        ahead = np.array([np.cos(walker.yaw), np.sin(walker.yaw)])
        in_the_way = _before(walker)
        for _ in range(80):
            waiting = only(world.traffic, in_the_way)
        for _ in range(100):
            later = only(world.traffic, AWAY)
        gone = [only(world.traffic, _before(later)) for _ in range(120)]
    assert None in gone
    walked = np.array([waiting.x - walker.x, waiting.y - walker.y]) @ ahead
    assert 0.5 < walked < 2.1
    assert np.hypot(later.x - waiting.x, later.y - waiting.y) > 4.0


def test_nobody_drives_into_an_ego_that_turns():
    """It stands across the lane, turned by 0.9 rad as on a junction; then it is gone."""
    town, egos = TownSpec(seed=3, size=3), {"ego": EgoConfig("noon", 120.0)}
    with World(WorldConfig(town, egos, vehicles=1, pedestrians=0, image=False, scan=False)) as world:
        world.reset(2)
        traffic = world.traffic
        while (driver := only(traffic, AWAY)).speed < 7.0:
            pass
        ahead = np.array([np.cos(driver.yaw), np.sin(driver.yaw)])
        turning = {"ego": (*((driver.x, driver.y) + 14.0 * ahead), driver.yaw + 0.9)}
        for _ in range(120):
            behind = only(traffic, turning)
        for _ in range(60):
            later = only(traffic, AWAY)
    front = np.array([behind.x - driver.x, behind.y - driver.y]) @ ahead + 0.5 * KINDS[world.traffic.kinds[0]].length
    # The rear corner nearest to it: 0.95 m behind the axle, half of 1.85 m beside it.
    corner = 14.0 - 0.95 * np.cos(0.9) - 0.925 * np.sin(0.9)
    assert behind.speed == 0.0
    assert corner - 3.0 < front < corner
    assert later.speed > 3.0
