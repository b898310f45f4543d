"""What a drive leaves behind for its evaluation: one record per step, and what went wrong."""

from __future__ import annotations

from enum import StrEnum
from math import inf
from pathlib import Path

import msgspec


class InfractionKind(StrEnum):
    """Infractions that driving scores count."""

    COLLISION_PEDESTRIAN = "collision_pedestrian"
    COLLISION_VEHICLE = "collision_vehicle"
    COLLISION_STATIC = "collision_static"
    RED_LIGHT = "red_light"
    STOP_SIGN = "stop_sign"
    SCENARIO_TIMEOUT = "scenario_timeout"
    YIELD = "yield"


COLLISIONS = frozenset(kind for kind in InfractionKind if kind.startswith("collision"))


class Infraction(msgspec.Struct, frozen=True):
    """One infraction at `stamp` [s]; `at_fault` is False where the vehicle could not have avoided it."""

    kind: InfractionKind
    stamp: float
    at_fault: bool = True


class Step(msgspec.Struct, frozen=True, array_like=True):
    """One moment of a drive: pose in `map` [m, rad], `speed` [m/s], `acceleration` along [m/s²], `yaw_rate` [rad/s].

    `progress` [m] along the route, `speed_limit` [m/s]; `ttc` [s] to the nearest collision at constant velocities and
    `clearance` [m] to the nearest road user, both None where there is none; `off_road` while a wheel is off the road or
    in a lane of oncoming traffic; `intervention` is the shield's reason, empty where it let the policy drive.
    """

    stamp: float
    x: float
    y: float
    yaw: float
    speed: float
    acceleration: float
    yaw_rate: float
    progress: float
    speed_limit: float
    ttc: float | None = None
    clearance: float | None = None
    off_road: bool = False
    intervention: str = ""

    @property
    def seconds_to_collision(self) -> float:
        return inf if self.ttc is None else self.ttc


class RunLog(msgspec.Struct, frozen=True):
    """One drive along one route of `route_length` [m]. `goal` is True if it ended at the route's end."""

    route: str
    route_length: float
    steps: list[Step]
    infractions: list[Infraction] = []
    goal: bool = False
    domain: str = ""

    @property
    def distance(self) -> float:
        """Metres driven."""
        return sum(
            ((b.x - a.x) ** 2 + (b.y - a.y) ** 2) ** 0.5 for a, b in zip(self.steps, self.steps[1:], strict=False)
        )

    @property
    def completion(self) -> float:
        """Share of the route driven, 0 to 1."""
        if self.goal:
            return 1.0
        furthest = max((step.progress for step in self.steps), default=0.0)
        return min(max(furthest / self.route_length, 0.0), 1.0) if self.route_length > 0 else 0.0


def write_runs(path: Path, runs: list[RunLog]) -> None:
    """Writes the runs as JSON, one a line."""
    encoder = msgspec.json.Encoder(enc_hook=lambda scalar: scalar.item())  # numpy's
    path.write_bytes(encoder.encode_lines(runs))


def read_runs(path: Path) -> list[RunLog]:
    """The runs of a file that `write_runs` made. Raises ValueError that names the broken line."""
    decoder = msgspec.json.Decoder(RunLog)
    runs = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            runs.append(decoder.decode(line))
        except msgspec.DecodeError as error:
            raise ValueError(f"{path}, line {number}: {error}") from error
    return runs
