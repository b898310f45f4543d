"""The ego's motion: a dynamic bicycle model with actuator limits, as pure functions."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass
from enum import StrEnum
from functools import cached_property

from fed_vit_autorl.compiled import compiled
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

    @cached_property
    def numbers(self) -> tuple[float, ...]:
        """The 16 of them in the order above."""
        return tuple(map(float, astuple(self)))

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
    before = (
        state.x, state.y, state.yaw, state.speed, state.lateral_speed, state.yaw_rate, state.steering_angle,
        state.acceleration,
    )  # fmt: skip
    pedals = control.throttle, control.brake
    return VehicleState(*_advance(before, control.steering_angle, pedals, inner, dt / inner, vehicle.numbers, grip))


@compiled("float64(float64, float64)")
def _clip(value: float, limit: float) -> float:
    return min(max(value, -limit), limit)


@compiled(
    "UniTuple(float64, 8)(UniTuple(float64, 8), float64, UniTuple(float64, 2), int64, float64, UniTuple(float64, 16),"
    " float64)"
)
def _advance(
    state: tuple[float, ...],
    steering: float,
    pedals: tuple[float, float],
    count: int,
    h: float,
    vehicle: tuple[float, ...],
    grip: float,
) -> tuple[float, ...]:
    """A `VehicleState`'s numbers after `count` steps of `h` seconds; `vehicle`: `VehicleParameters.numbers`."""
    x, y, yaw, speed, lateral, rate, angle, acceleration = state
    (
        mass, yaw_inertia, a, b, front_stiffness, rear_stiffness, _, lock, angle_rate, strongest, hardest, fastest,
        jerk_limit, drag, rolling, friction,
    ) = vehicle  # fmt: skip
    wheelbase, friction = a + b, friction * grip
    throttle, brake = min(max(pedals[0], 0.0), 1.0), min(max(pedals[1], 0.0), 1.0)
    front_limit, rear_limit = friction * (mass * GRAVITY * b / wheelbase), friction * (mass * GRAVITY * a / wheelbase)
    for _step in range(count):
        angle += _clip(_clip(steering, lock) - angle, angle_rate * h)
        # What pedals, drag and friction allow, limited in jerk.
        resistance = rolling + drag * speed * speed / mass if speed > 0.0 else 0.0
        wanted = _clip(throttle * strongest - brake * hardest - resistance, friction * GRAVITY)
        wanted = min(max(wanted, acceleration - jerk_limit * h), acceleration + jerk_limit * h)
        before, speed = speed, min(max(speed + wanted * h, 0.0), fastest)
        if speed == 0.0:
            lateral = rate = acceleration = 0.0
            continue
        new_rate = speed * math.tan(angle) / wheelbase
        new_lateral = new_rate * b
        weight = min(max((speed - KINEMATIC_BELOW) / (DYNAMIC_ABOVE - KINEMATIC_BELOW), 0.0), 1.0)
        if weight > 0.0:
            # Tyres: semi-implicit, an axle's force limited by friction.
            front = _clip(front_stiffness * (angle - (lateral + a * rate) / speed), front_limit)
            rear = _clip(-rear_stiffness * (lateral - b * rate) / speed, rear_limit)
            dynamic_lateral = lateral + ((front * math.cos(angle) + rear) / mass - speed * rate) * h
            dynamic_rate = rate + (a * front * math.cos(angle) - b * rear) / yaw_inertia * h
            new_lateral += weight * (dynamic_lateral - new_lateral)
            new_rate += weight * (dynamic_rate - new_rate)
        yaw += 0.5 * (rate + new_rate) * h
        lateral, rate = new_lateral, new_rate
        rear_lateral = lateral - b * rate
        x += (speed * math.cos(yaw) - rear_lateral * math.sin(yaw)) * h
        y += (speed * math.sin(yaw) + rear_lateral * math.cos(yaw)) * h
        yaw = (yaw + math.pi) % (2.0 * math.pi) - math.pi
        acceleration = (speed - before) / h
    return x, y, yaw, speed, lateral, rate, angle, acceleration
