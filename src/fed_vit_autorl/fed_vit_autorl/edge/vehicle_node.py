"""`EdgeVehicleNode`: seeing, deciding and learning of one vehicle in one object, for those who write their own loop.

The ROS nodes do the same in processes of their own; this is the short way, without ROS.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from fed_vit_autorl.data.sample import CameraModel, EgoState
from fed_vit_autorl.models.export import weights_of
from fed_vit_autorl.models.packaging import export_perception
from fed_vit_autorl.models.perception import ViTPerception
from fed_vit_autorl.reinforcement.algorithms.actor_critic import ActorCritic
from fed_vit_autorl.reinforcement.algorithms.ppo import PPO, Rollout, advantages
from fed_vit_autorl.reinforcement.vehicle import pedals
from fed_vit_autorl.simulation.vehicle import Control, VehicleParameters

from . import runtime
from .perceiver import Perceiver, Seen
from .profiles import PROFILES
from .scene import Ground, object_positions

OBJECTS, SECTORS = 8, 16
RANGE_M = 60.0
LEVELS = ("full", "int8", "int4")
MEMORY = 4096


@dataclass(frozen=True)
class SafetyConstraints:
    """Limits of every action: speed [m/s], acceleration and deceleration [m/s²], road-wheel angle [rad], and the gap
    [m] that is kept to what is ahead.
    """

    max_speed: float = 30.0
    max_acceleration: float = 3.0
    max_deceleration: float = 8.0
    max_steering: float = 0.6
    min_gap: float = 3.0


@dataclass(frozen=True, eq=False)
class Detected:
    """What was seen, and where: `positions` (K, 3) [m] in `base_link`, NaN unknown; `free_distance` (16,) [m]."""

    seen: Seen
    positions: np.ndarray
    free_distance: np.ndarray


@dataclass(frozen=True, eq=False)
class Experience:
    """One step: what was observed (O,), done (2,), how likely and how good it was thought, what came of it."""

    observation: np.ndarray
    action: np.ndarray
    log_probability: float
    value: float
    reward: float
    done: bool


class EdgeVehicleNode:
    """A perception model on a device, and a small policy that learns from the vehicle's own experience by PPO.

    model: a trained perception model. device: "cpu" or "cuda". optimization_level: 0 full precision, 1 eight bits,
    2 four bits. camera: of the images. Raises ValueError for another level, RuntimeRefused for a device that is not
    here.
    """

    def __init__(
        self,
        model: ViTPerception,
        device: str = "cpu",
        optimization_level: int = 1,
        camera: CameraModel | None = None,
        seed: int = 0,
    ) -> None:
        if optimization_level not in range(len(LEVELS)):
            raise ValueError(f"optimization_level is 0 to {len(LEVELS) - 1}, not {optimization_level}")
        make = PROFILES[LEVELS[optimization_level]].make
        self._perceiver = Perceiver(runtime.create(*make(export_perception(model), weights_of(model), {}), device))
        self._camera = camera
        self._learner = PPO(ActorCritic.continuous(1 + 3 * OBJECTS + SECTORS, 2), seed=seed)
        self._experience: deque[Experience] = deque(maxlen=MEMORY)
        self._vehicle = VehicleParameters()
        self._last: tuple[np.ndarray, np.ndarray, float, float] | None = None

    def on_new_frame(
        self, image: np.ndarray, vehicle_state: EgoState, safety_constraints: SafetyConstraints = SafetyConstraints()
    ) -> Control:
        """See an image uint8 (H, W, 3) RGB and act on it."""
        return self.get_driving_action(self.perceive(image), vehicle_state, safety_constraints)

    def perceive(self, image: np.ndarray, points: np.ndarray | None = None) -> Detected:
        """What an image shows and where, with LiDAR points (N, 3) [m] in `base_link` where there are some."""
        height, width = image.shape[:2]
        camera = self._camera if self._camera is not None else CameraModel.nominal(width, height)
        seen = self._perceiver(image)
        ground = Ground.seen_by(camera, *seen.masks["free_space"].shape)
        positions = object_positions(seen.detections, camera, points)
        return Detected(seen, positions, ground.free_distance(seen.masks["free_space"], SECTORS))

    def get_driving_action(
        self, detections: Detected, vehicle_state: EgoState, safety_constraints: SafetyConstraints = SafetyConstraints()
    ) -> Control:
        """The policy's action, projected into the constraints: it can always brake in time for what is seen ahead."""
        observation = _observation(detections, vehicle_state)
        action, log_probability, value = self._learner.act(observation[None])
        self._last = observation, action[0], float(log_probability[0]), float(value[0])
        limits = safety_constraints
        steering = float(np.clip(0.2 * action[0, 0], -limits.max_steering, limits.max_steering))
        wanted = float(np.clip(2.0 * action[0, 1], -limits.max_deceleration, limits.max_acceleration))
        room = max(float(detections.free_distance[SECTORS // 2 - 2 : SECTORS // 2 + 2].min()) - limits.min_gap, 0.1)
        needed = vehicle_state.speed**2 / (2 * room)  # v² = 2 a s
        bound = limits.max_acceleration if needed < 0.5 * limits.max_deceleration else -needed
        bound = min(bound, limits.max_speed - vehicle_state.speed)
        acceleration = max(min(wanted, bound), -limits.max_deceleration)
        return Control(steering, *pedals(acceleration, vehicle_state.speed, self._vehicle))

    def store_experience(self, reward: float, done: bool = False) -> None:
        """What came of the last action; a step without an action before it is ignored."""
        if self._last is not None:
            self._experience.append(Experience(*self._last, reward, done))
            self._last = None

    def should_train(self, batch_size: int = 256) -> bool:
        """Whether there is enough new experience for an update."""
        return len(self._experience) >= batch_size

    def local_rl_update(self, batch_size: int = 256) -> dict[str, float]:
        """One PPO update on the oldest `batch_size` steps, which are then forgotten; the parts of the loss.

        Raises ValueError when there are fewer.
        """
        if not self.should_train(batch_size):
            raise ValueError(f"{len(self._experience)} steps of experience, {batch_size} wanted")
        steps = [self._experience.popleft() for _ in range(batch_size)]
        column = {
            name: np.array([getattr(step, name) for step in steps], np.float32)[:, None] for name in vars(steps[0])
        }
        following = np.array([self._experience[0].value if self._experience else steps[-1].value], np.float32)
        gain = advantages(
            column["reward"], column["value"], column["done"], following,
            self._learner.config.gamma, self._learner.config.gae_lambda,
        )  # fmt: skip
        return self._learner.update(
            Rollout(column["observation"], column["action"], column["log_probability"], gain, gain + column["value"])
        )

    def policy_weights(self) -> dict[str, np.ndarray]:
        """The policy's tensors by name: what a fleet would aggregate."""
        return weights_of(self._learner.model)


def _observation(detected: Detected, ego: EgoState) -> np.ndarray:
    """Speed, the nearest objects' x, y and presence, and free distances, all about 1 in size."""
    known = detected.positions[np.isfinite(detected.positions).all(-1)]
    nearest = known[np.argsort(np.hypot(known[:, 0], known[:, 1]))][:OBJECTS]
    objects = np.zeros((OBJECTS, 3), np.float32)
    objects[: len(nearest), :2], objects[: len(nearest), 2] = nearest[:, :2] / RANGE_M, 1
    return np.concatenate(([ego.speed / 15.0], objects.ravel(), detected.free_distance / RANGE_M)).astype(np.float32)
