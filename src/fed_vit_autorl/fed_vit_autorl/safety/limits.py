"""What the vehicle may be asked for [F2], and the nearest action that all constraints allow [F3]."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from .assumptions import Assumptions
from .reasons import Reason
from .types import Action, Command

CRAWL_M_S = 2.0
TOLERANCE = 1e-6
HOLD_BRAKE = 0.4
START_ACCELERATION = 0.3


@dataclass(frozen=True, slots=True)
class Constraint:
    """What one rule allows: an upper bound of the acceleration [m/s²] and an interval of the road-wheel angle [rad]."""

    reason: Reason
    acceleration: float = math.inf
    steering: tuple[float, float] = (-math.inf, math.inf)

    def binds(self, action: Action) -> bool:
        """Whether the action breaks it."""
        low, high = self.steering
        return (
            action.acceleration > self.acceleration + TOLERANCE
            or action.steering < low - TOLERANCE
            or action.steering > high + TOLERANCE
        )


def steering_range(speed: float, a: Assumptions) -> float:
    """Greatest road-wheel angle [rad]: v² tan δ / L within the lateral acceleration; the vehicle's range at a crawl."""
    if abs(speed) < CRAWL_M_S:
        return a.max_steering_angle
    return min(a.max_steering_angle, math.atan(a.max_lateral_acceleration * a.wheelbase / speed**2))


def steering_rate(speed: float, a: Assumptions) -> float:
    """Greatest rate of the road wheels [rad/s]: v² δ' / L builds up the lateral acceleration's bound no faster than
    within the response time; the vehicle's own rate at a crawl.
    """
    if abs(speed) < CRAWL_M_S:
        return a.max_steering_rate
    jerk = a.max_lateral_acceleration / a.response_time
    return min(a.max_steering_rate, jerk * a.wheelbase / speed**2)


class ConstraintHandler:
    """Limits of the vehicle and projection onto what the constraints allow.

    The constraints are a box, so the projection, nearest in every weighted norm, is closed form: each coordinate is
    clipped on its own. Where steering intervals exclude each other, the one that comes first has the last word.
    """

    def __init__(self, assumptions: Assumptions | None = None) -> None:
        self.assumptions = assumptions or Assumptions()

    def limits(self, speed: float, previous_steering: float, dt: float) -> list[Constraint]:
        """The vehicle's own limits at this speed [m/s], `dt` [s] after the previous steering [rad]."""
        a = self.assumptions
        widest, change = steering_range(speed, a), steering_rate(speed, a) * max(dt, 0.0)
        return [
            Constraint(Reason.STEERING_RATE, steering=(previous_steering - change, previous_steering + change)),
            Constraint(Reason.STEERING_RANGE, steering=(-widest, widest)),
            Constraint(Reason.ACCELERATION_LIMIT, acceleration=a.max_acceleration),
        ]

    def project(self, action: Action, constraints: Iterable[Constraint]) -> tuple[Action, tuple[Reason, ...]]:
        """The nearest allowed action and the reasons that moved it, the tightest bound of the acceleration first."""
        constraints = list(constraints)
        steering = action.steering
        for constraint in reversed(constraints):
            steering = min(max(steering, constraint.steering[0]), constraint.steering[1])
        bound = min((constraint.acceleration for constraint in constraints), default=math.inf)
        acceleration = max(min(action.acceleration, bound), -self.assumptions.max_deceleration)
        binding = sorted((c for c in constraints if c.binds(action)), key=lambda constraint: constraint.acceleration)
        return Action(steering, acceleration), tuple(dict.fromkeys(constraint.reason for constraint in binding))

    def action(self, steering: float, throttle: float, brake: float) -> Action:
        """Pedals in [0, 1] as an action; both at once are taken as what they sum to."""
        a = self.assumptions
        return Action(steering, throttle * a.full_throttle - brake * a.full_brake)

    def command(self, action: Action, standing: bool, hand_brake: bool = False, hazard_lights: bool = False) -> Command:
        """An action as pedals; a vehicle that stands and is not to go is held by the brake."""
        a = self.assumptions
        throttle = min(max(action.acceleration / a.full_throttle, 0.0), 1.0)
        brake = min(max(-action.acceleration / a.full_brake, 0.0), 1.0)
        if standing and action.acceleration < START_ACCELERATION:
            throttle, brake = 0.0, HOLD_BRAKE
        return Command(action.steering, throttle, brake, hand_brake, hazard_lights)
