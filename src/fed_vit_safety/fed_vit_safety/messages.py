"""The safety node's messages as the shield's types and back. Values are judged by the shield, shapes here."""

import numpy as np
from fed_vit_msgs import msg
from nav_msgs.msg import Odometry as OdometryMessage
from sensor_msgs.msg import PointCloud2

from fed_vit_autorl.reinforcement.route import Route, RouteRefused
from fed_vit_autorl.safety.mrm import Manoeuvre, MrmState
from fed_vit_autorl.safety.types import Light, Lights, LightState, Odometry, Proposal, Scan, SceneHint, ShieldOutput
from fed_vit_common.conversions import path_array, points, seconds
from fed_vit_common.node import InputRefused

MAX_LIGHTS = 32
MAX_OBJECTS = 256
MIN_SCORE = 0.5
MAX_PATH = 1000
STATES = {
    MrmState.NORMAL: msg.SafetyState.NORMAL,
    MrmState.OPERATING: msg.SafetyState.OPERATING,
    MrmState.SUCCEEDED: msg.SafetyState.SUCCEEDED,
    MrmState.FAILED: msg.SafetyState.FAILED,
}


def scan(message: PointCloud2) -> Scan:
    """The LiDAR's sweep; NaN rows are left out by `points`.

    Raises:
        InputRefused: malformed, truncated, too large or without a finite point.
    """
    return Scan(seconds(message.header.stamp), points(message))


def odometry(message: OdometryMessage) -> Odometry:
    """Pose and speed, not judged yet."""
    p, q, twist = message.pose.pose.position, message.pose.pose.orientation, message.twist.twist
    stamp = seconds(message.header.stamp)
    return Odometry(stamp, (p.x, p.y, p.z), (q.x, q.y, q.z, q.w), twist.linear.x, twist.angular.z)


def proposal(message: msg.ControlProposal) -> Proposal:
    """What the policy wants, not judged yet."""
    path = path_array(message.path[:MAX_PATH])
    stamp = seconds(message.header.stamp)
    return Proposal(stamp, message.steering_angle, message.throttle, message.brake, path)


def lights(message: msg.TrafficLights) -> Lights:
    """The lights on the route; a state that is not known by its number is unknown, and means stop."""
    known = {state.value for state in LightState}
    found = (
        Light(LightState(light.state if light.state in known else 0), light.distance)
        for light in message.lights[:MAX_LIGHTS]
    )
    return Lights(seconds(message.header.stamp), tuple(found))


def route(message: msg.RouteCommand) -> Route:
    """The commanded route.

    Raises:
        InputRefused: it can't be driven.
    """
    limits = np.array(message.speed_limits, np.float64) if len(message.speed_limits) else None
    try:
        return Route(path_array(message.path), limits)
    except RouteRefused as refusal:
        raise InputRefused(refusal.reason, str(refusal)) from refusal


def scene(message: msg.Scene) -> SceneHint:
    """Where the learned perception is sure enough of a road user whose position it knows."""
    sure = [item for item in message.objects[:MAX_OBJECTS] if item.has_position and item.score >= MIN_SCORE]
    positions = np.array([(item.position.x, item.position.y) for item in sure], np.float64).reshape(-1, 2)
    return SceneHint(seconds(message.header.stamp), positions)


def command(output: ShieldOutput) -> msg.ControlCommand:
    """The command without header and trace."""
    control = output.control
    return msg.ControlCommand(
        steering_angle=control.steering_angle,
        throttle=control.throttle,
        brake=control.brake,
        hand_brake=control.hand_brake,
        hazard_lights=control.hazard_lights,
        reason=",".join(output.reasons),
    )


def state(manoeuvre: Manoeuvre, interventions: int) -> msg.SafetyState:
    """The state of the minimum-risk manoeuvre without header."""
    return msg.SafetyState(
        state=STATES[manoeuvre.state],
        behaviour=manoeuvre.behaviour.label,
        reasons=[str(reason) for reason in manoeuvre.reasons],
        latched=manoeuvre.latched,
        clears_when=manoeuvre.clears_when,
        interventions=interventions,
    )
