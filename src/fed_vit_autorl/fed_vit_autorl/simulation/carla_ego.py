"""One vehicle of a CARLA server with its sensors, seen as the embedded world's egos are."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from queue import Empty, Queue
from typing import Any

import numpy as np

from ..data.sample import EgoState
from ..refusal import Refused
from ..reinforcement.expert import RoadUser
from . import carla_frames as frames
from .config import WorldConfig
from .events import STATIC, Collision, Event, LaneInvasion, LaneMarking, RedLightRun, ego_is_at_fault
from .guide import RouteGuide
from .observation import Imu, LightAhead, Observation
from .vehicle import FULL_BRAKE, GRAVITY, Control

FRAME_S = 10.0
SEEN_M = 120.0

Actors = Mapping[int, tuple[Any, RoadUser]]
"""Every road user by CARLA's id: its actor, and the truth about it."""


class CarlaReason(StrEnum):
    """Why there is no world in CARLA."""

    CLIENT_MISSING = "carla_client_missing"
    SERVER_SILENT = "carla_server_silent"
    NO_ROOM = "carla_has_no_free_spawn_point"
    NO_SCENARIOS = "carla_plays_no_scenarios"


class CarlaRefused(Refused):
    """CARLA cannot be used; `reason` says why."""


class CarlaEgo:
    """One vehicle with its sensors."""

    def __init__(self, carla: Any, world: Any, actor: Any, guide: RouteGuide, config: WorldConfig, weather: str):
        self._carla, self._world, self._actor, self._guide, self._config = carla, world, actor, guide, config
        self._weather = weather
        self._lock = np.radians(max(wheel.max_steer_angle for wheel in actor.get_physics_control().wheels))
        self._control, self._collided = FULL_BRAKE, False
        self._line: tuple[int, float] | None = None
        self._happened: Queue = Queue()
        self._images: Queue = Queue()
        self._scans: Queue = Queue()
        self.sensors: list[Any] = []
        camera, lidar = config.camera, config.lidar
        if config.image:
            view = {"image_size_x": camera.width, "image_size_y": camera.height}
            view["fov"] = frames.field_of_view(camera.horizontal_fov)
            self._attach("sensor.camera.rgb", camera.x, camera.z, view, self._images)
        if config.scan:
            rate = 1 / config.dt
            beams = {"channels": lidar.beams, "rotation_frequency": rate, "range": 80.0, "noise_stddev": lidar.noise}
            beams |= {"points_per_second": round(lidar.beams * lidar.columns * rate)}
            beams |= {"upper_fov": frames.field_of_view(lidar.high), "lower_fov": frames.field_of_view(lidar.low)}
            self._attach("sensor.lidar.ray_cast", lidar.x, lidar.z, beams, self._scans)
        self._attach("sensor.other.collision", 0.0, 0.0, {}, self._happened)
        self._attach("sensor.other.lane_invasion", 0.0, 0.0, {}, self._happened)

    def apply(self, control: Control) -> None:
        """Hands the control to the server."""
        self._control = control
        self._actor.apply_control(
            self._carla.VehicleControl(
                throttle=float(np.clip(control.throttle, 0, 1)),
                steer=frames.steer(control, self._lock),
                brake=float(np.clip(control.brake, 0, 1)),
            )
        )

    def observe(self, stamp: float, frame: int, truths: Actors, signals: Mapping[int, str]) -> Observation:
        """The observation of server frame `frame`."""
        x, y, yaw = pose = frames.base_pose(self._actor.get_transform())
        speed = frames.along(self._actor.get_velocity(), yaw)
        acceleration = frames.along(self._actor.get_acceleration(), yaw)
        rate = frames.yaw_rate(self._actor.get_angular_velocity())
        self._guide.move_to(x, y, yaw)
        light = self._guide.light(signals)
        events = [*self._events(stamp, pose, speed, truths), *self._red_light(stamp, light)]
        self._collided |= any(isinstance(event, Collision) for event in events)
        users = {
            f"{actor.type_id}_{number}": user
            for number, (actor, user) in truths.items()
            if number != self._actor.id and np.hypot(user.x - x, user.y - y) < SEEN_M
        }
        off_road = abs(self._guide.here.lateral) > 1.5 * self._guide.lane_width and not self._guide.in_junction
        return Observation(
            stamp=stamp,
            image=frames.rgb(self._of_frame(self._images, frame)) if self._config.image else None,
            camera=self._config.camera.model,
            points=frames.cloud(self._of_frame(self._scans, frame)) if self._config.scan else None,
            base_from_lidar=self._config.lidar.base_from_lidar,
            imu=Imu((acceleration, speed * rate, GRAVITY), (0.0, 0.0, rate)),
            ego=EgoState(stamp, (x, y, 0.0), yaw, speed, rate, acceleration),
            control=self._control,
            route=self._guide.route,
            progress=self._guide.here.s,
            completion=self._guide.completion,
            light=light,
            speed_limit=self._guide.speed_limit,
            events=tuple(events),
            truth=self._guide.truth(users, light, off_road, self._collided),
            weather=self._weather,
        )

    def _attach(self, kind: str, x: float, z: float, attributes: Mapping[str, Any], queue: Queue) -> None:
        blueprint = self._world.get_blueprint_library().find(kind)
        for name, value in attributes.items():
            blueprint.set_attribute(name, str(value))
        mount = self._carla.Transform(self._carla.Location(x=x - frames.MIDDLE_AHEAD_M, z=z))
        sensor = self._world.spawn_actor(blueprint, mount, attach_to=self._actor)
        sensor.listen(queue.put)
        self.sensors.append(sensor)

    def _of_frame(self, queue: Queue, frame: int) -> Any:
        try:
            while (data := queue.get(timeout=FRAME_S)).frame < frame:
                pass
        except Empty as error:
            raise CarlaRefused(CarlaReason.SERVER_SILENT, f"no sensor data of frame {frame}") from error
        return data

    def _events(self, stamp: float, pose: tuple[float, float, float], speed: float, truths: Actors) -> list[Event]:
        found: list[Event] = []
        while not self._happened.empty():
            event = self._happened.get()
            if not hasattr(event, "other_actor"):
                found.append(LaneInvasion(stamp, LaneMarking.CENTRE))
            elif not self._collided:
                self._collided = True
                found.append(self._collision(stamp, event, pose, speed, truths))
        return found

    def _collision(self, stamp: float, event: Any, pose: tuple, speed: float, truths: Actors) -> Collision:
        """The first contact; fault is judged as in the embedded world."""
        push = frames.impulse(event.normal_impulse)
        if event.other_actor.id not in truths:
            return Collision(stamp, STATIC, STATIC, push, speed, 0.0, speed, 0.0, True)
        actor, user = truths[event.other_actor.id]
        bearing = frames.bearing(user.x, user.y, pose)
        toward = pose[2] + bearing
        ego_toward, other_toward = speed * np.cos(bearing), -user.speed * np.cos(user.yaw - toward)
        at_fault = ego_is_at_fault(speed, bearing, other_toward, ego_toward)
        kind = "pedestrian" if actor.type_id.startswith("walker") else "sedan"
        closing = max(ego_toward + other_toward, 0.0)
        name = f"{actor.type_id}_{actor.id}"
        return Collision(stamp, name, kind, push, speed, user.speed, closing, bearing, at_fault)

    def _red_light(self, stamp: float, light: LightAhead | None) -> list[RedLightRun]:
        before, self._line = self._line, light and (light.id, light.distance)
        crossed = before and light and before[0] == light.id and before[1] > 0.0 >= light.distance
        return [RedLightRun(stamp, light.id)] if crossed and light.state == "red" else []
