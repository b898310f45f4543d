"""Why the shield does what it does: one code per cause, what it leads to, and what clears it."""

from dataclasses import dataclass
from enum import IntEnum, StrEnum


class Reason(StrEnum):
    """Reason codes of the shield; published with every intervention."""

    # Inputs that can't be used
    CLOCK_JUMP = "clock_jump"
    PROPOSAL_MISSING = "proposal_missing"
    PROPOSAL_STALE = "proposal_stale"
    PROPOSAL_FROM_FUTURE = "proposal_from_future"
    PROPOSAL_NOT_FINITE = "proposal_not_finite"
    PROPOSAL_OUT_OF_RANGE = "proposal_out_of_range"
    PATH_INVALID = "path_invalid"
    ODOMETRY_MISSING = "odometry_missing"
    ODOMETRY_STALE = "odometry_stale"
    ODOMETRY_FROM_FUTURE = "odometry_from_future"
    ODOMETRY_NOT_FINITE = "odometry_not_finite"
    ODOMETRY_OUT_OF_RANGE = "odometry_out_of_range"
    ODOMETRY_QUATERNION = "odometry_quaternion"
    ODOMETRY_FROZEN = "odometry_frozen"
    ODOMETRY_JUMP = "odometry_jump"
    LIDAR_MISSING = "lidar_missing"
    LIDAR_STALE = "lidar_stale"
    LIDAR_FROM_FUTURE = "lidar_from_future"
    LIDAR_NOT_FINITE = "lidar_not_finite"
    LIDAR_EMPTY = "lidar_empty"
    LIDAR_FROZEN = "lidar_frozen"
    LIDAR_BLIND_SECTOR = "lidar_blind_sector"
    # Rules of the road and limits of the vehicle
    OBSTACLE = "obstacle"
    LEAD_VEHICLE = "lead_vehicle"
    ONCOMING_VEHICLE = "oncoming_vehicle"
    LATERAL_DISTANCE = "lateral_distance"
    YIELD = "yield"
    OCCLUSION = "occlusion"
    SCENE_OBSTACLE = "scene_obstacle"
    TRAFFIC_LIGHT = "traffic_light"
    SPEED_LIMIT = "speed_limit"
    LANE_DEVIATION = "lane_deviation"
    STEERING_RANGE = "steering_range"
    STEERING_RATE = "steering_rate"
    ACCELERATION_LIMIT = "acceleration_limit"
    # Events
    COLLISION = "collision"
    BRAKE_INEFFECTIVE = "brake_ineffective"
    SHIELD_FAULT = "shield_fault"


class Behaviour(IntEnum):
    """How the vehicle is brought to a stop, the gravest last."""

    NONE = 0
    COMFORTABLE_STOP = 1
    EMERGENCY_STOP = 2

    @property
    def label(self) -> str:
        """Lower-case name, as published."""
        return self.name.lower()


@dataclass(frozen=True)
class Response:
    """What a cause leads to: how to stop, whether an operator has to clear it, and what ends it."""

    behaviour: Behaviour
    latched: bool
    clears_when: str


_COMFORTABLE = (
    (Reason.PROPOSAL_MISSING, "the policy proposes"),
    (Reason.PROPOSAL_STALE, "the policy proposes in time"),
    (Reason.PROPOSAL_FROM_FUTURE, "the policy's stamps agree with the clock"),
    (Reason.PROPOSAL_NOT_FINITE, "the policy proposes finite numbers"),
    (Reason.PROPOSAL_OUT_OF_RANGE, "the policy proposes within the ranges"),
    (Reason.LIDAR_FROM_FUTURE, "the LiDAR's stamps agree with the clock"),
    (Reason.LIDAR_MISSING, "the LiDAR publishes"),
    (Reason.LIDAR_STALE, "the LiDAR publishes in time"),
    (Reason.LIDAR_NOT_FINITE, "the LiDAR publishes finite points"),
    (Reason.LIDAR_EMPTY, "the LiDAR sees its surroundings"),
    (Reason.LIDAR_FROZEN, "the LiDAR's scans change"),
    (Reason.LIDAR_BLIND_SECTOR, "the LiDAR sees the whole road ahead"),
    (Reason.ODOMETRY_JUMP, "the vehicle stands and the localisation is steady"),
    (Reason.CLOCK_JUMP, "the clock is steady"),
)
_EMERGENCY = (
    (Reason.ODOMETRY_MISSING, "the odometry publishes"),
    (Reason.ODOMETRY_STALE, "the odometry publishes in time"),
    (Reason.ODOMETRY_FROM_FUTURE, "the odometry's stamps agree with the clock"),
    (Reason.ODOMETRY_NOT_FINITE, "the odometry is finite"),
    (Reason.ODOMETRY_OUT_OF_RANGE, "the odometry is within its ranges"),
    (Reason.ODOMETRY_QUATERNION, "the odometry's orientation has norm 1"),
    (Reason.ODOMETRY_FROZEN, "the odometry changes"),
)
_LATCHED = (
    (Reason.COLLISION, "an operator has looked at the vehicle and calls ~/clear"),
    (Reason.BRAKE_INEFFECTIVE, "an operator has checked the brakes and calls ~/clear"),
    (Reason.SHIELD_FAULT, "an operator has read the log and calls ~/clear"),
)
RESPONSES: dict[Reason, Response] = {
    **{reason: Response(Behaviour.COMFORTABLE_STOP, False, text) for reason, text in _COMFORTABLE},
    **{reason: Response(Behaviour.EMERGENCY_STOP, False, text) for reason, text in _EMERGENCY},
    **{reason: Response(Behaviour.EMERGENCY_STOP, True, text) for reason, text in _LATCHED},
}
