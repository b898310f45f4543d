"""What goes into the driving policy and what comes out: the one place that training, the node and the evaluators share.

Tensors (batch 1, float32): `features` (1, D) as perception made them; `objects` (1, 12, 10) the nearest tracked road
users, absent ones zero; `free_space` (1, 16) how near the free road ends per sector; `ego` (1, 20) motion, limits, and
what light and lead allow; `route` (1, 20, 3) the route ahead in `base_link`. Out: `control` (1, 2) steering [rad] and
acceleration [m/s²], `path` (1, 20, 2) [m] in `base_link`, `target_speed` (1, 1) [m/s].
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from fed_vit_autorl.data.classes import OBJECT_CLASSES
from fed_vit_autorl.data.sample import EgoState
from fed_vit_autorl.refusal import Refused
from fed_vit_autorl.reinforcement.longitudinal import (
    DrivingStyle,
    Ease,
    curve_speed,
    follow,
    free_road,
    must_stop,
    stop_at,
)
from fed_vit_autorl.reinforcement.route import PATH_POINTS, PATH_SPACING_M, Pose, Projection, Route, to_local
from fed_vit_autorl.reinforcement.tracking import Tracker, Tracks
from fed_vit_autorl.reinforcement.vehicle import Footprint, pedals
from fed_vit_autorl.safety.types import Light, LightState
from fed_vit_autorl.simulation.vehicle import Control, VehicleParameters

OBJECTS, OBJECT_WIDTH = 12, 10
SECTORS = 16
EGO_WIDTH = 20
HORIZON_M = 50.0
CORRIDOR_MARGIN_M = 0.4
OFF_ROUTE_M = 5.0
UNHINDERED = 2.0
OUTPUTS = ("control", "path", "target_speed")


class PolicyReason(StrEnum):
    """Why there is no action."""

    OFF_ROUTE = "off_route"
    FEATURES_SHAPE = "features_shape"
    SCENE_NOT_FINITE = "scene_not_finite"
    LIGHTS_NOT_FINITE = "traffic_lights_not_finite"
    OUTPUT_NOT_FINITE = "policy_output_not_finite"


class PolicyRefused(Refused):
    """An input or output that must not be driven on; `reason` says why."""


KNOWN_LIGHTS = (LightState.RED, LightState.YELLOW, LightState.GREEN)


@dataclass(frozen=True)
class SceneView:
    """Perception's result as the policy reads it.

    `features` (D,); `positions` (N, 2) each object's nearest point in `base_link` [m], `classes` (N,) indices of
    `OBJECT_CLASSES`, `scores` (N,) in [0, 1]; `free_distance` (S,) [m] per sector of the view, left to right.
    """

    features: np.ndarray
    positions: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    classes: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    scores: np.ndarray = field(default_factory=lambda: np.zeros(0))
    free_distance: np.ndarray = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True)
class Proposal:
    """Pedals and steering, the acceleration [m/s²], target speed [m/s] and path (20, 2) in `base_link` behind them."""

    control: Control
    acceleration: float
    target_speed: float
    path: np.ndarray


def input_shapes(feature_width: int) -> dict[str, tuple[int, ...]]:
    """The inputs by name and their shapes without the batch."""
    return {
        "features": (feature_width,),
        "objects": (OBJECTS, OBJECT_WIDTH),
        "free_space": (SECTORS,),
        "ego": (EGO_WIDTH,),
        "route": (PATH_POINTS, 3),
    }


@dataclass
class PolicyIO:
    """Inputs and outputs of one drive along one route; keeps `progress`, `lateral` [m], the object tracks, and what
    keeps the ride comfortable.
    """

    route: Route
    feature_width: int
    vehicle: VehicleParameters = field(default_factory=VehicleParameters)
    footprint: Footprint = field(default_factory=Footprint)
    style: DrivingStyle = field(default_factory=DrivingStyle)
    tracker: Tracker = field(default_factory=Tracker)
    progress: float | None = None
    lateral: float = 0.0

    def __post_init__(self) -> None:
        self._ease, self._stamp = Ease(self.style), 0.0

    def encode(self, scene: SceneView, ego: EgoState, light: Light | None) -> dict[str, np.ndarray]:
        """The policy's inputs for one frame. Raises `PolicyRefused` (off_route, features_shape, scene_not_finite)."""
        if scene.features.shape != (self.feature_width,):
            detail = f"{scene.features.shape}, the policy takes ({self.feature_width},)"
            raise PolicyRefused(PolicyReason.FEATURES_SHAPE, detail)
        seen = (scene.features, scene.positions, scene.scores, scene.free_distance)
        if not all(np.isfinite(array).all() for array in seen):
            raise PolicyRefused(PolicyReason.SCENE_NOT_FINITE, "features, objects or free distances")
        pose = Pose(*ego.position[:2], ego.yaw)
        here = self.route.project(pose, self.progress)
        if abs(here.lateral) > OFF_ROUTE_M:
            raise PolicyRefused(PolicyReason.OFF_ROUTE, f"{abs(here.lateral):.1f} m beside the route")
        self.progress, self.lateral, self._stamp = here.s, here.lateral, ego.stamp
        tracks = self.tracker.update(ego, scene.positions, scene.classes, scene.scores)
        objects, lead = self._objects(tracks, pose, here.s)
        waypoints = self.route.local(pose, here.s, PATH_POINTS, PATH_SPACING_M)
        ahead = here.s + PATH_SPACING_M * np.arange(1, PATH_POINTS + 1)
        inputs = {
            "features": scene.features,
            "objects": objects,
            "free_space": _sectors(scene.free_distance),
            "ego": self._ego(ego, here, light, lead),
            "route": np.concatenate((waypoints / 20.0, 10.0 * self.route.curvature(ahead)[:, None]), axis=1),
        }
        return {name: np.ascontiguousarray(array[None], np.float32) for name, array in inputs.items()}

    def decode(self, outputs: Mapping[str, np.ndarray], speed: float) -> Proposal:
        """The proposal for the policy's outputs on the inputs encoded last, at `speed` m/s, eased by `Ease`.

        Raises `PolicyRefused(policy_output_not_finite)`.
        """
        if not all(np.isfinite(outputs[name]).all() for name in OUTPUTS):
            raise PolicyRefused(PolicyReason.OUTPUT_NOT_FINITE, "the model gave NaN or infinity")
        steering, acceleration = (float(value) for value in outputs["control"][0])
        acceleration = self._ease(acceleration, speed, self._stamp)
        limit = self.vehicle.max_steering_angle
        throttle, brake = pedals(acceleration, speed, self.vehicle)
        control = Control(min(max(steering, -limit), limit), throttle, brake)
        target = max(float(outputs["target_speed"][0, 0]), 0.0)
        return Proposal(control, acceleration, target, outputs["path"][0].astype(np.float64))

    def _objects(self, tracks: Tracks, pose: Pose, s: float) -> tuple[np.ndarray, tuple[float, float] | None]:
        """The nearest objects' rows, and (gap [m], speed along the route [m/s]) of the first one in the ego's corridor.

        Whoever is abreast of the ego's front is no lead, or the error of a place beside the ego would brake it.
        Row: gap / 50, lateral / 10, speed along and across the route / 10, / 5, x / 50, y / 20, class one-hot, score.
        """
        rows = np.zeros((OBJECTS, OBJECT_WIDTH))
        if not len(tracks.positions):
            return rows, None
        local = to_local(tracks.positions, pose)
        order = np.argsort(np.linalg.norm(local, axis=1))[:OBJECTS]
        local, velocity = local[order], tracks.velocities[order]
        along, lateral = self.route.project_points(tracks.positions[order], s, s + HORIZON_M + self.footprint.front)
        heading = self.route.heading(along)
        forward = np.stack((np.cos(heading), np.sin(heading)), axis=-1)
        speed_along = np.einsum("ij,ij->i", velocity, forward)
        speed_across = forward[:, 0] * velocity[:, 1] - forward[:, 1] * velocity[:, 0]
        gap = along - s - self.footprint.front
        classes, scores = tracks.classes[order], tracks.scores[order]
        geometry = (
            gap / 50.0,
            lateral / 10.0,
            speed_along / 10.0,
            speed_across / 5.0,
            local[:, 0] / 50,
            local[:, 1] / 20,
        )
        one_hot = np.eye(len(OBJECT_CLASSES))[classes]
        rows[: len(order)] = np.clip(np.concatenate((np.stack(geometry, -1), one_hot, scores[:, None]), 1), -2.0, 2.0)
        reach = 0.5 * self.footprint.width + CORRIDOR_MARGIN_M
        inside = (np.abs(lateral) < reach) & (gap > 0.0) & (gap < HORIZON_M)
        if not inside.any():
            return rows, None
        first = np.flatnonzero(inside)[np.argmin(gap[inside])]
        return rows, (float(gap[first]), float(speed_along[first]))

    def _ego(
        self, ego: EgoState, here: Projection, light: Light | None, lead: tuple[float, float] | None
    ) -> np.ndarray:
        """Motion, limits, light and lead, and last the four accelerations [m/s²] / 4 that these allow by themselves:
        free road and its curves, the route's end, the light, the lead (see `longitudinal`).
        """
        speed, style = ego.speed, self.style
        limits = self.route.speed_limit(here.s + np.array([0.0, 20.0]))
        target = curve_speed(self.route, here.s, style)
        remaining = self.route.length - here.s
        motion = (speed / 10.0, ego.yaw_rate, *(limits / 10.0), here.lateral, 2.0 * here.heading_error, target / 10.0)
        allowed = [free_road(speed, target, style), stop_at(speed, remaining, style), UNHINDERED, UNHINDERED]
        lights, leading = [0.0] * 5, [0.0] * 4
        if light is not None and light.state in KNOWN_LIGHTS and -1.0 < light.distance < HORIZON_M:
            near = max(light.distance, 0.0)
            lights = [*(float(light.state == state) for state in KNOWN_LIGHTS), np.exp(-near / 5.0), near / 50.0]
            if must_stop(speed, light.distance, light.state is LightState.RED, light.state is LightState.YELLOW):
                allowed[2] = stop_at(speed, light.distance - style.stop_line_gap, style)
        if lead is not None:
            gap, lead_speed = lead
            leading = [1.0, np.exp(-gap / 5.0), gap / 50.0, lead_speed / 10.0]
            allowed[3] = follow(speed, gap, lead_speed, style)
        return np.array((*motion, *lights, *leading, *(0.25 * acceleration for acceleration in allowed)))


def _sectors(free_distance: np.ndarray) -> np.ndarray:
    """1 - free distance / 50 m in 16 sectors: 0 where all is free, or where perception gives no distances."""
    if not len(free_distance):
        return np.zeros(SECTORS)
    places = (np.arange(SECTORS) + 0.5) * len(free_distance) / SECTORS - 0.5
    return 1.0 - np.clip(np.interp(places, np.arange(len(free_distance)), free_distance) / 50.0, 0.0, 1.0)
