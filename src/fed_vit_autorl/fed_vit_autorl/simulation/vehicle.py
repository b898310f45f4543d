"""The ego's motion: a dynamic bicycle model with actuator limits, as pure functions."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum

from fed_vit_autorl.refusal import Refused

GRAVITY = 9.81


class ControlReason(StrEnum):
    """Why a control was refused."""

    NOT_FINITE = "control_not_finite"


class ControlRefused(Refused):
    """A control that cannot be executed; `reason` says why."""


@dataclass(frozen=True)
class Control:
    """What a driver asks for: road-wheel `steering_angle` [rad], positive left; `throttle`, `brake` in [0, 1].

    `step` clips to the actuators' range; NaN or infinity raises `ControlRefused`.
    """

    steering_angle: float = 0.0
    throttle: float = 0.0
    brake: float = 0.0

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.steering_angle, self.throttle, self.brake))):
            raise ControlRefused(ControlReason.NOT_FINITE, str(self))


FULL_BRAKE = Control(brake=1.0)


@dataclass(frozen=True)
class VehicleParameters:
    """A mid-size car. Lengths in m, stiffness of an axle in N/rad, limits as named.

    The steady state obeys r = v δ / (L + K v²) with K = m (b C_r - a C_f) / (C_f C_r L) (Rajamani, Vehicle Dynamics
    and Control, 2nd ed., eq. 3.12 ff.): K > 0 here, mild understeer.
    """

    mass: float = 1500.0
    yaw_inertia: float = 2600.0
    front_axle: float = 1.25
    rear_axle: float = 1.45
    front_stiffness: float = 110e3
    rear_stiffness: float = 120e3
    rear_overhang: float = 0.95
    max_steering_angle: float = 0.61
    max_steering_rate: float = 0.9
    max_acceleration: float = 3.5
    max_deceleration: float = 8.0
    max_speed: float = 40.0
    jerk_limit: float = 40.0
    drag: float = 0.4
    rolling_resistance: float = 0.12
    friction: float = 0.9

    @property
    def wheelbase(self) -> float:
        """Distance of the axles [m]."""
        return self.front_axle + self.rear_axle

    @property
    def understeer_gradient(self) -> float:
        """K in s²/m of r = v δ / (L + K v²)."""
        a, b, cf, cr = self.front_axle, self.rear_axle, self.front_stiffness, self.rear_stiffness
        return self.mass * (b * cr - a * cf) / (cf * cr * self.wheelbase)


@dataclass(frozen=True)
class VehicleState:
    """Pose of `base_link` (rear axle's centre) in `map`: `x`, `y` [m], `yaw` [rad]; `speed` [m/s] forward and
    `lateral_speed` [m/s, + left] of the centre of mass in the vehicle's frame, `yaw_rate` [rad/s], actual
    `steering_angle` [rad], `acceleration` [m/s²] along x.
    """

    x: float = 0.0
    y: float = 0.0
    yaw: float = 0.0
    speed: float = 0.0
    lateral_speed: float = 0.0
    yaw_rate: float = 0.0
    steering_angle: float = 0.0
    acceleration: float = 0.0


KINEMATIC_BELOW = 3.0
DYNAMIC_ABOVE = 6.0
INNER_STEP_S = 0.01


def step(
    state: VehicleState, control: Control, dt: float, vehicle: VehicleParameters, grip: float = 1.0
) -> VehicleState:
    """The state `dt` seconds later. `grip` in (0, 1] scales the road's friction (rain).

    Below 3 m/s the motion is kinematic, above 6 m/s dynamic, blended between, because tyre slip angles are undefined
    at standstill. The car does not roll backwards.
    """
    inner = max(1, round(dt / INNER_STEP_S))
    for _ in range(inner):
        state = _advance(state, control, dt / inner, vehicle, vehicle.friction * grip)
    return state


def _advance(s: VehicleState, control: Control, h: float, p: VehicleParameters, friction: float) -> VehicleState:
    wanted = _clip(control.steering_angle, p.max_steering_angle)
    steering = s.steering_angle + _clip(wanted - s.steering_angle, p.max_steering_rate * h)
    acceleration = _longitudinal(s, control, h, p, friction)
    speed = min(max(s.speed + acceleration * h, 0.0), p.max_speed)
    if speed == 0.0:
        return replace(s, speed=0.0, lateral_speed=0.0, yaw_rate=0.0, steering_angle=steering, acceleration=0.0)
    kinematic_rate = speed * math.tan(steering) / p.wheelbase
    kinematic_lateral = kinematic_rate * p.rear_axle
    weight = min(max((speed - KINEMATIC_BELOW) / (DYNAMIC_ABOVE - KINEMATIC_BELOW), 0.0), 1.0)
    lateral, rate = kinematic_lateral, kinematic_rate
    if weight > 0.0:
        dynamic_lateral, dynamic_rate = _tyres(s, speed, steering, h, p, friction)
        lateral += weight * (dynamic_lateral - kinematic_lateral)
        rate += weight * (dynamic_rate - kinematic_rate)
    yaw = s.yaw + 0.5 * (s.yaw_rate + rate) * h
    rear_lateral = lateral - p.rear_axle * rate
    x = s.x + (speed * math.cos(yaw) - rear_lateral * math.sin(yaw)) * h
    y = s.y + (speed * math.sin(yaw) + rear_lateral * math.cos(yaw)) * h
    return VehicleState(x, y, _wrap(yaw), speed, lateral, rate, steering, (speed - s.speed) / h)


def _longitudinal(s: VehicleState, control: Control, h: float, p: VehicleParameters, friction: float) -> float:
    """Acceleration [m/s²] that pedals, drag and friction allow, limited in jerk."""
    throttle, brake = min(max(control.throttle, 0.0), 1.0), min(max(control.brake, 0.0), 1.0)
    resistance = p.rolling_resistance + p.drag * s.speed * s.speed / p.mass if s.speed > 0 else 0.0
    wanted = throttle * p.max_acceleration - brake * p.max_deceleration - resistance
    wanted = _clip(wanted, friction * GRAVITY)
    change = p.jerk_limit * h
    return min(max(wanted, s.acceleration - change), s.acceleration + change)


def _tyres(
    s: VehicleState, speed: float, steering: float, h: float, p: VehicleParameters, friction: float
) -> tuple[float, float]:
    """Lateral speed [m/s] and yaw rate [rad/s] after `h`, semi-implicit, axle forces limited by friction."""
    a, b = p.front_axle, p.rear_axle
    front_load = p.mass * GRAVITY * b / p.wheelbase
    rear_load = p.mass * GRAVITY * a / p.wheelbase
    front = _clip(p.front_stiffness * (steering - (s.lateral_speed + a * s.yaw_rate) / speed), friction * front_load)
    rear = _clip(-p.rear_stiffness * (s.lateral_speed - b * s.yaw_rate) / speed, friction * rear_load)
    lateral = s.lateral_speed + ((front * math.cos(steering) + rear) / p.mass - speed * s.yaw_rate) * h
    rate = s.yaw_rate + (a * front * math.cos(steering) - b * rear) / p.yaw_inertia * h
    return lateral, rate


def _clip(value: float, limit: float) -> float:
    return min(max(value, -limit), limit)


def _wrap(angle: float) -> float:
    return (angle + math.pi) % (2 * math.pi) - math.pi
