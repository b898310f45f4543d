"""Which of CARLA's traffic lights govern a route, and where it has to stop for them."""

from collections.abc import Iterable, Mapping

import numpy as np
from carla_msgs.msg import CarlaTrafficLightInfo
from fed_vit_msgs.msg import TrafficLight
from geometry_msgs.msg import Point

from fed_vit_autorl.reinforcement.route import Route
from fed_vit_sim.carla_conversions import LIGHT_STATES, planar

STEP_M = 0.25
HORIZON_M = 120.0
BEHIND_M = 10.0


def stop_lines(route: Route, infos: Iterable[CarlaTrafficLightInfo]) -> dict[int, float]:
    """Arc length [m] at which the route first enters each light's trigger volume, by light id, for the lights on it.

    The trigger volume is a box around the lane before the junction; its size is full lengths and its centre is relative
    to the light's own pose.
    """
    samples = np.arange(0.0, route.length, STEP_M)
    points = route.at(samples)
    lines = {}
    for info in infos:
        inside = _inside(points, info)
        if inside.any():
            lines[info.id] = float(samples[np.argmax(inside)])
    return lines


def _inside(points: np.ndarray, info: CarlaTrafficLightInfo) -> np.ndarray:
    x, y, yaw = planar(info.transform)
    cos, sin = np.cos(yaw), np.sin(yaw)
    box = info.trigger_volume
    offset = points - (x, y)
    along = offset[:, 0] * cos + offset[:, 1] * sin - box.center.x
    across = offset[:, 1] * cos - offset[:, 0] * sin - box.center.y
    # A box thinner than the sampling step would be stepped over.
    return (np.abs(along) <= max(box.size.x / 2, STEP_M)) & (np.abs(across) <= max(box.size.y / 2, STEP_M))


def lights_ahead(
    route: Route, lines: Mapping[int, float], states: Mapping[int, int], front_s: float
) -> list[TrafficLight]:
    """The lights of the route around the vehicle, nearest first.

    Args:
        route: what is driven.
        lines: arc length [m] of each light's stop line, from ``stop_lines``.
        states: CARLA's state by light id; a light without one is UNKNOWN.
        front_s: arc length [m] of the vehicle's front on the route.
    """
    lights = []
    for light, s in sorted(lines.items(), key=lambda item: item[1]):
        if -BEHIND_M <= s - front_s <= HORIZON_M:
            x, y = route.at(np.array(s))
            state = LIGHT_STATES.get(states.get(light), TrafficLight.UNKNOWN)
            stop_line = Point(x=float(x), y=float(y))
            lights.append(TrafficLight(id=str(light), state=state, stop_line=stop_line, distance=s - front_s))
    return lights
