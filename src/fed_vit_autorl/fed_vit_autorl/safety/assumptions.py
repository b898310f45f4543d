"""Every number the shield relies on, with its unit and where it comes from. `table()` prints them for the handbook."""

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray


def _assume(value: float, unit: str, source: str) -> Any:
    return field(default=value, metadata={"unit": unit, "source": source})


@dataclass(frozen=True)
class Assumptions:
    """Worst cases about the ego, its surroundings and its sensors; each field names its unit and its source."""

    # The ego
    wheelbase: float = _assume(2.7, "m", "vehicle: simulation.vehicle.VehicleParameters")
    front: float = _assume(3.7, "m", "vehicle: rear axle to front bumper")
    rear: float = _assume(0.95, "m", "vehicle: rear axle to rear bumper")
    width: float = _assume(1.85, "m", "vehicle: body")
    full_throttle: float = _assume(3.5, "m/s²", "vehicle: acceleration at throttle 1")
    full_brake: float = _assume(8.0, "m/s²", "vehicle: deceleration at brake 1; SPEC F2")
    response_time: float = _assume(0.3, "s", "scan period 0.1 + transport 0.05 + shield 0.02 + brake build-up 0.1")
    assured_brake: float = _assume(5.0, "m/s²", "wet asphalt, friction 0.5; a dry road gives 8.0")
    comfortable_brake: float = _assume(4.0, "m/s²", "UN R157 5.3: minimum risk manoeuvre at most 4.0")
    max_acceleration: float = _assume(3.0, "m/s²", "SPEC F2")
    max_deceleration: float = _assume(8.0, "m/s²", "SPEC F2")
    max_steering_angle: float = _assume(0.61, "rad", "vehicle: road wheel")
    max_steering_rate: float = _assume(0.5, "rad/s", "SPEC F2")
    max_lateral_acceleration: float = _assume(3.6, "m/s²", "openpilot: limit of its safety code")
    bend_acceleration: float = _assume(3.0, "m/s²", "UN R79 5.6.2: lane keeping; what is more is kept for corrections")
    passing_speed: float = _assume(13.9, "1/s", "own: 50 km/h where 1 m is kept beside what stands, less in proportion")
    hesitant_speed: float = _assume(9.0, "1/s", "own: two thirds of that beside what drove within 2 s and may go on")
    max_speed: float = _assume(30.0, "m/s", "SPEC F1")
    # Its surroundings
    min_gap: float = _assume(3.0, "m", "SPEC F1: collision distance")
    start_gap: float = _assume(0.3, "m", "more than that must be free before a standing ego goes: LiDAR noise is less")
    lateral_clearance: float = _assume(0.25, "m", "0.1 lane fluctuation (RSS) + 0.15 LiDAR and steering error")
    lead_brake: float = _assume(8.0, "m/s²", "RSS: the strongest braking of a vehicle ahead")
    oncoming_brake: float = _assume(4.0, "m/s²", "RSS: the least braking of a vehicle that keeps its side")
    other_response_time: float = _assume(0.5, "s", "RSS: response of another road user")
    other_acceleration: float = _assume(2.6, "m/s²", "SUMO: passenger car, accel")
    other_length: float = _assume(5.0, "m", "passenger car; while a longer one is still passing, it is an obstacle")
    lateral_acceleration: float = _assume(0.2, "m/s²", "ad_rss default: lateral acceleration within the response time")
    lateral_brake: float = _assume(0.8, "m/s²", "ad_rss default: least lateral braking")
    lateral_fluctuation: float = _assume(0.1, "m", "RSS: lateral fluctuation margin")
    crossing_speed: float = _assume(3.0, "m/s", "above it a road user brakes along its own way, not sideways")
    crossing_gap: float = _assume(1.0, "s", "time left between the ego and whoever crosses")
    max_lane_deviation: float = _assume(1.0, "m", "SPEC F1")
    lane_reserve: float = _assume(0.25, "m", "kept for steering error before the lane deviation is reached")
    stop_line_gap: float = _assume(0.5, "m", "front bumper to stop line")
    yellow_brake: float = _assume(3.0, "m/s²", "stop at yellow when this much is enough (SUMO: tls.yellow.min-decel)")
    # Its sensors
    kerb_height: float = _assume(0.2, "m", "kerb 0.15 + LiDAR noise 0.05: lower is ground")
    ground_slope: float = _assume(0.012, "m/m", "change of slope within view: added to the kerb height with distance")
    clear_height: float = _assume(2.4, "m", "vehicle 1.5 + suspension and pitch: higher is passed under")
    least_obstacle: float = _assume(0.1, "m²", "0.25 m x 0.4 m, a child's trunk: what shows less is no obstacle")
    lidar_cell: float = _assume(6.1e-4, "sr", "one return of a 16 x 360 scan over 30°: 1° x 2°")
    lidar_column: float = _assume(0.0175, "rad", "column of a 360-column scan: an edge is seen no more exactly")
    spray_share: float = _assume(0.5, "1", "of the least obstacle's returns, around each one: half may be hidden")
    lidar_range: float = _assume(80.0, "m", "farther returns are ignored")
    min_returns: float = _assume(100, "points", "a scan with fewer is empty")
    sector_returns: float = _assume(2, "points", "a 5° sector with fewer is blind: a car 20 m ahead spans that")
    scan_deadline: float = _assume(0.25, "s", "issue 5: LiDAR silent, brake within 0.3")
    odometry_deadline: float = _assume(0.2, "s", "topic table")
    proposal_deadline: float = _assume(0.15, "s", "SPEC A4: 0.1 + one period; policy killed, brake within 0.2")
    lights_deadline: float = _assume(0.5, "s", "topic table")
    scene_deadline: float = _assume(0.3, "s", "a learned scene this old says nothing")
    future_tolerance: float = _assume(0.05, "s", "stamps ahead of the clock by one frame are clock skew")
    clock_jump: float = _assume(1.0, "s", "the clock may not advance more between two ticks")
    frozen_scans: float = _assume(3, "scans", "identical while moving: the sensor repeats itself")
    frozen_speed: float = _assume(0.5, "m/s", "below it identical scans are a quiet scene")
    frozen_odometry: float = _assume(0.4, "s", "identical odometry for so long while accelerating, or moving")
    jump_distance: float = _assume(1.0, "m", "a pose this far from the dead-reckoned one is a jump")
    recovery_time: float = _assume(0.4, "s", "inputs healthy for so long before a recoverable stop ends")
    standstill: float = _assume(0.1, "m/s", "UN R157: slower is standing")

    def __post_init__(self) -> None:
        wrong = [item.name for item in fields(self) if not 0.0 < getattr(self, item.name) < float("inf")]
        if wrong:
            raise ValueError(f"these must be finite and above 0: {', '.join(wrong)}")

    @property
    def half_width(self) -> float:
        """Half the body's width [m]."""
        return 0.5 * self.width

    def least_returns(self, square: NDArray) -> NDArray:
        """How many returns the least obstacle gives at a squared distance [m²] from the sensor."""
        return self.least_obstacle / (self.lidar_cell * np.maximum(square, 1.0))


def table(assumptions: Assumptions | None = None) -> str:
    """The assumptions as a Markdown table: name, value, unit, source."""
    assumptions = assumptions or Assumptions()
    rows = [
        f"| `{item.name}` | {getattr(assumptions, item.name):g} | {item.metadata['unit']} | {item.metadata['source']} |"
        for item in fields(assumptions)
    ]
    return "\n".join(["| assumption | value | unit | source |", "|---|---|---|---|", *rows])
