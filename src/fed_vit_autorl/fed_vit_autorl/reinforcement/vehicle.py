"""The vehicle as its drivers see it: its rectangle, and the pedals that give an acceleration."""

from dataclasses import dataclass

from fed_vit_autorl.simulation.actors import EGO_KIND
from fed_vit_autorl.simulation.vehicle import VehicleParameters

HOLDING_BRAKE = 0.3


@dataclass(frozen=True)
class Footprint:
    """The ego's rectangle around the rear axle, in metres."""

    front: float = EGO_KIND.length - VehicleParameters.rear_overhang
    rear: float = VehicleParameters.rear_overhang
    width: float = EGO_KIND.width


def pedals(acceleration: float, speed: float, vehicle: VehicleParameters) -> tuple[float, float]:
    """(throttle, brake), each in [0, 1], for an acceleration in m/s² at `speed` m/s.

    The inverse of the vehicle model's longitudinal part, with drag and rolling resistance. A vehicle that stands and is
    not asked to move is held by a light brake.
    """
    if speed < 0.1 and acceleration <= 0.0:
        return 0.0, HOLDING_BRAKE
    force = acceleration + vehicle.rolling_resistance + vehicle.drag * speed * speed / vehicle.mass
    if force >= 0.0:
        return min(force / vehicle.max_acceleration, 1.0), 0.0
    return 0.0, min(-force / vehicle.max_deceleration, 1.0)


def acceleration_of(throttle: float, brake: float, speed: float, vehicle: VehicleParameters) -> float:
    """What `pedals` inverts: the acceleration in m/s² that pedals in [0, 1] give at `speed` m/s."""
    resistance = vehicle.rolling_resistance + vehicle.drag * speed * speed / vehicle.mass
    return throttle * vehicle.max_acceleration - brake * vehicle.max_deceleration - resistance
