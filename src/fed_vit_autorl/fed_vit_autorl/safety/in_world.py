"""The embedded world's observations as the shield's inputs, for evaluations without ROS."""

from __future__ import annotations

import math

from fed_vit_autorl.reinforcement.route import Route
from fed_vit_autorl.simulation.boxworld import BoxView
from fed_vit_autorl.simulation.events import Collision
from fed_vit_autorl.simulation.observation import Observation
from fed_vit_autorl.simulation.routes import PlannedRoute
from fed_vit_autorl.simulation.vehicle import Control

from .types import Command, Light, Lights, LightState, Odometry, Proposal, Scan, ShieldInputs


def route_of(planned: PlannedRoute) -> Route:
    """The route with its speed limits."""
    return Route(planned.points, planned.speed_limits)


def light_of(seen: Observation | BoxView) -> Light | None:
    """The next light on the route."""
    return None if seen.light is None else Light(LightState[seen.light.state.upper()], seen.light.distance)


def inputs_of(seen: Observation | BoxView, route: Route, proposal: Proposal | None) -> ShieldInputs:
    """What the shield of a vehicle with this observation and proposal would know."""
    ego, light = seen.ego, light_of(seen)
    x, y, z = (float(value) for value in ego.position)
    half = 0.5 * ego.yaw
    return ShieldInputs(
        proposal=proposal,
        odometry=Odometry(ego.stamp, (x, y, z), (0.0, 0.0, math.sin(half), math.cos(half)), ego.speed, ego.yaw_rate),
        scan=None if seen.points is None else Scan(seen.stamp, seen.points),
        lights=Lights(seen.stamp, () if light is None else (light,)),
        route=route,
        collision=any(isinstance(event, Collision) for event in seen.events),
    )


def control_of(command: Command) -> Control:
    """The world's control."""
    return Control(command.steering_angle, command.throttle, command.brake)
