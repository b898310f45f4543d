"""The expert's answers to what the policy perceives, collected while the expert, noise or the policy itself drives."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors.numpy

from fed_vit_autorl.edge.runtime import ModelRuntime
from fed_vit_autorl.files import write_file
from fed_vit_autorl.reinforcement.drivers import Action, ExpertDriver, Perception
from fed_vit_autorl.reinforcement.policy_io import PolicyIO, PolicyRefused
from fed_vit_autorl.safety.in_world import light_of, route_of
from fed_vit_autorl.simulation.observation import Observation
from fed_vit_autorl.simulation.vehicle import Control

INPUTS = ("features", "objects", "free_space", "ego", "route")
LABELS = ("control", "path", "target_speed")


class Disturbance:
    """Pushes the vehicle off its way now and then, so that the expert shows how to come back (noise injection,
    Laskey et al. 2017): for half a second to a second a steering offset and an acceleration are added.
    """

    def __init__(self, rng: np.random.Generator, rate: float = 0.006, steering: float = 0.08, pedal: float = 0.25):
        self._rng, self._rate, self._steering, self._pedal = rng, rate, steering, pedal
        self._left, self._offset = 0, (0.0, 0.0)

    def __call__(self, control: Control) -> Control:
        """The control with the disturbance of this frame."""
        if self._left == 0:
            if self._rng.random() > self._rate:
                return control
            self._left = int(self._rng.integers(10, 21))
            self._offset = self._rng.uniform(-1.0, 1.0, 2) * (self._steering, self._pedal)
        self._left -= 1
        steering, pedal = self._offset
        throttle = np.clip(control.throttle + max(pedal, 0.0), 0.0, 1.0) if control.brake == 0.0 else 0.0
        brake = np.clip(control.brake + max(-pedal, 0.0), 0.0, 1.0)
        return Control(control.steering_angle + steering, float(throttle), float(brake))


class Demonstrator:
    """A driver that records the policy's inputs beside the expert's action, every `every`-th frame.

    The expert drives with disturbances; with `policy`, that drives for stretches of a few seconds in between, so that
    the expert is asked where the policy gets to (DAgger, Ross et al. 2011).
    """

    def __init__(
        self,
        observation: Observation,
        perception: Perception,
        feature_width: int,
        rng: np.random.Generator,
        policy: ModelRuntime | None = None,
        every: int = 2,
    ):
        self._expert = ExpertDriver(observation)
        self._io = PolicyIO(route_of(observation.route), feature_width)
        self._perception, self._policy, self._rng, self._every = perception, policy, rng, every
        self._disturb = Disturbance(rng)
        self._frame = self._policy_until = 0
        self.rows: list[dict[str, np.ndarray]] = []

    def act(self, observation: Observation) -> Action:
        """See `Driver`."""
        self._frame += 1
        action = self._expert.act(observation)
        decision = self._expert.decision
        scene = self._perception(observation)
        try:
            inputs = self._io.encode(scene, observation.ego, light_of(observation))
        except PolicyRefused:
            return action
        if self._frame % self._every == 0 and observation.completion < 1.0:
            labels = {
                "control": np.array([[decision.steering, decision.acceleration]]),
                "path": decision.path[None],
                "target_speed": np.array([[decision.target_speed]]),
            }
            self.rows.append({name: array.astype(np.float32) for name, array in (inputs | labels).items()})
        if self._policy is not None and self._rng.random() < 0.01:
            self._policy_until = self._frame + int(self._rng.integers(40, 200))
        control = action.control
        if self._policy is not None and self._frame < self._policy_until:
            control = self._io.decode(self._policy.run(inputs), observation.ego.speed).control
        standing = observation.ego.speed < 0.5
        return Action(control if standing else self._disturb(control), action.path, scene)


def save_shard(path: Path, rows: list[dict[str, np.ndarray]]) -> None:
    """Write rows as one safetensors file, all or nothing."""
    tensors = {name: np.concatenate([row[name] for row in rows]) for name in (*INPUTS, *LABELS)}
    tensors["features"] = tensors["features"].astype(np.float16)
    write_file(path, safetensors.numpy.save(tensors))


def load_shards(folder: Path) -> Mapping[str, np.ndarray]:
    """Every shard of a folder, concatenated. Raises FileNotFoundError where there is none."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise FileNotFoundError(f"{folder} holds no demonstrations; run the collect phase first")
    shards = [safetensors.numpy.load_file(file) for file in files]
    return {name: np.concatenate([shard[name].astype(np.float32) for shard in shards]) for name in (*INPUTS, *LABELS)}
