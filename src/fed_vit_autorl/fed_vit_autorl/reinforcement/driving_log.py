"""What a vehicle drove: the policy's inputs, what was really done, and the reward, in bounded shards on disk."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from fed_vit_autorl.data.sample import EgoState
from fed_vit_autorl.files import write_file
from fed_vit_autorl.reinforcement.policy_io import PolicyIO, PolicyRefused, SceneView, input_shapes
from fed_vit_autorl.reinforcement.rewards import Moment, WeightedReward
from fed_vit_autorl.reinforcement.route import Route
from fed_vit_autorl.reinforcement.vehicle import acceleration_of
from fed_vit_autorl.safety.reasons import Reason
from fed_vit_autorl.safety.types import Light
from fed_vit_autorl.simulation.vehicle import Control, VehicleParameters

FOLDER = "drives"
"""Where a vehicle's drives lie within its experience."""
SHARD_ROWS = 256
WAITING_FRAMES = 16
LONGEST_GAP_S = 1.0
STALE_S = 0.2
JITTER_S = 0.005
OFF_LANE_M = 1.0
LESSONS = frozenset(
    {
        Reason.OBSTACLE,
        Reason.LEAD_VEHICLE,
        Reason.ONCOMING_VEHICLE,
        Reason.LATERAL_DISTANCE,
        Reason.YIELD,
        Reason.OCCLUSION,
        Reason.SCENE_OBSTACLE,
        Reason.TRAFFIC_LIGHT,
        Reason.SPEED_LIMIT,
        Reason.LANE_DEVIATION,
        Reason.STEERING_RATE,
        Reason.STEERING_RANGE,
        Reason.ACCELERATION_LIMIT,
    }
)
"""Corrections by the shield that say something about driving; the others are about sensors and faults."""


class Left(StrEnum):
    """Why a frame is not in the log."""

    NO_ODOMETRY = "no_odometry"
    NO_ROUTE = "no_route"
    NO_LESSON = "no_lesson"


@dataclass(frozen=True)
class _Frame:
    """One moment: the policy's inputs, the ego, where it was on its route, and what was then done."""

    inputs: dict[str, np.ndarray]
    ego: EgoState
    progress: float
    lateral: float
    control: tuple[float, float] = (0.0, 0.0)
    corrected: bool = False


class DrivingLog:
    """Takes a vehicle's streams and keeps a row every `period_s` seconds; `left` counts what was left out and why.

    A row holds the policy's inputs (see `policy_io`), `control` (1, 2) the steering angle [rad] and acceleration [m/s²]
    that were commanded after the shield, `corrected` (1,) whether the shield had changed them, and `reward` (1,), the
    `WeightedReward` of what followed until the next row. Rows go to disk in shards of `SHARD_ROWS`; beyond `max_bytes`
    the oldest shard goes.
    """

    def __init__(self, folder: Path, max_bytes: int = 64 << 20, period_s: float = 0.2) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.left = folder, Counter()
        self._max_bytes, self._period_s = max_bytes, period_s
        self._vehicle, self._reward = VehicleParameters(), WeightedReward()
        self._next = 1 + max((int(path.stem) for path in _shards(folder)), default=-1)
        self._io: PolicyIO | None = None
        self._ego: EgoState | None = None
        self._light: Light | None = None
        self._waiting: dict[float, _Frame] = {}
        self._last: _Frame | None = None
        self._collided = False
        self._rows: list[dict[str, np.ndarray]] = []

    def on_route(self, route: Route) -> None:
        """A new route; what was not answered on the old one is forgotten."""
        self._io, self._last = PolicyIO(route, 0), None
        self._waiting.clear()

    def on_ego(self, ego: EgoState) -> None:
        """The vehicle's motion."""
        self._ego = ego

    def on_light(self, light: Light | None) -> None:
        """The next light on the route."""
        self._light = light

    def on_contact(self) -> None:
        """The vehicle has touched something."""
        self._collided = True

    def on_scene(self, stamp: float, scene: SceneView) -> None:
        """What perception saw at `stamp` [s]."""
        if self._io is None:
            self.left[Left.NO_ROUTE] += 1
            return
        if self._ego is None or abs(stamp - self._ego.stamp) > STALE_S:
            self.left[Left.NO_ODOMETRY] += 1
            return
        self._io.feature_width = len(scene.features)
        try:
            inputs = self._io.encode(scene, self._ego, self._light)
        except PolicyRefused as refusal:
            self.left[str(refusal.reason)] += 1
            return
        if self._last is not None and 0.0 <= stamp - self._last.ego.stamp < self._period_s - JITTER_S:
            return
        self._waiting[stamp] = _Frame(inputs, self._ego, self._io.progress, self._io.lateral)
        while len(self._waiting) > WAITING_FRAMES:
            del self._waiting[next(iter(self._waiting))]

    def on_command(self, stamp: float, control: Control, reason: str) -> None:
        """The command that answers the frame of `stamp`; `reason`: the shield's, separated by commas, "" without."""
        frame = self._waiting.pop(stamp, None)
        if frame is None:
            return
        if not LESSONS.issuperset(filter(None, reason.split(","))):
            self.left[Left.NO_LESSON] += 1
            return
        acceleration = acceleration_of(control.throttle, control.brake, frame.ego.speed, self._vehicle)
        done = _Frame(
            frame.inputs,
            frame.ego,
            frame.progress,
            frame.lateral,
            (control.steering_angle, acceleration),
            bool(reason),
        )
        before, self._last = self._last, done
        if before is not None and 0.0 < done.ego.stamp - before.ego.stamp <= LONGEST_GAP_S:
            self._keep(before, done)
        self._collided = False

    def flush(self) -> None:
        """Write what is not yet on disk."""
        if self._rows:
            tensors = {name: np.concatenate([row[name] for row in self._rows]) for name in self._rows[0]}
            path = self.folder / f"{self._next:08d}.safetensors"
            write_file(path, safetensors.numpy.save(tensors))
            self._rows, self._next = [], self._next + 1
            self._make_room()

    def _keep(self, frame: _Frame, then: _Frame) -> None:
        if self._rows and self._rows[0]["features"].shape != frame.inputs["features"].shape:
            self.flush()
        recorded = {
            "control": np.array([frame.control], np.float32),
            "corrected": np.array([frame.corrected], np.float32),
            "reward": np.array([self._reward(self._moment(frame, then))], np.float32),
        }
        self._rows.append(frame.inputs | recorded)
        if len(self._rows) >= SHARD_ROWS:
            self.flush()

    def _moment(self, frame: _Frame, then: _Frame) -> Moment:
        route, seconds = self._io.route, then.ego.stamp - frame.ego.stamp
        return Moment(
            progress=then.progress - frame.progress,
            route_length=route.length,
            speed=then.ego.speed,
            speed_limit=float(route.speed_limit(np.array(then.progress))),
            jerk=(then.ego.acceleration - frame.ego.acceleration) / seconds,
            collided=self._collided,
            off_lane=abs(then.lateral) > OFF_LANE_M,
        )

    def _make_room(self) -> None:
        shards = _shards(self.folder)
        used = sum(path.stat().st_size for path in shards)
        for path in shards[:-1]:
            if used <= self._max_bytes:
                return
            used -= path.stat().st_size
            path.unlink()


def load_drives(folder: Path, feature_width: int, max_rows: int) -> Mapping[str, np.ndarray]:
    """The newest rows, at most `max_rows`, oldest first; empty arrays where there are none.

    A shard that can't be read, or whose features have another length (it is from before a release), is passed over.
    """
    shapes = input_shapes(feature_width) | {"control": (2,), "corrected": (), "reward": ()}
    parts = [{name: np.zeros((0, *shape), np.float32) for name, shape in shapes.items()}]
    count = 0
    for path in reversed(_shards(folder)):
        if count >= max_rows:
            break
        try:
            shard = safetensors.numpy.load_file(path)
        except (OSError, SafetensorError):
            continue
        rows = len(shard.get("reward", ()))
        if {name: array.shape for name, array in shard.items()} == {name: (rows, *s) for name, s in shapes.items()}:
            parts.insert(1, shard)
            count += rows
    return {name: np.concatenate([part[name] for part in parts])[-max_rows:] for name in shapes}


def _shards(folder: Path) -> list[Path]:
    """Oldest first."""
    return sorted(path for path in folder.glob("*.safetensors") if path.stem.isdecimal())
