"""Driving as a Gymnasium environment with the policy's own inputs and outputs, in the light world of boxes."""

import gymnasium
import numpy as np
from gymnasium import spaces

from fed_vit_autorl.reinforcement.degrade import DegradedPerception
from fed_vit_autorl.reinforcement.demonstrations import INPUTS
from fed_vit_autorl.reinforcement.drivers import TruthPerception
from fed_vit_autorl.reinforcement.policy import ACCELERATION_RANGE, example_inputs
from fed_vit_autorl.reinforcement.policy_io import PolicyIO, PolicyRefused
from fed_vit_autorl.reinforcement.rewards import CompletionReward, Moment
from fed_vit_autorl.reinforcement.vehicle import pedals
from fed_vit_autorl.safety.in_world import light_of, route_of
from fed_vit_autorl.simulation.boxworld import EGO, BoxView, BoxWorld
from fed_vit_autorl.simulation.events import Collision
from fed_vit_autorl.simulation.vehicle import Control

REPEAT = 2
"""World steps per action: 10 Hz."""
LEFT_LANE_M = 1.0


class BoxDrivingEnv(gymnasium.Env):
    """Observation: the policy's inputs, flattened in the order of `INPUTS`, as `DegradedPerception` sees the truth.
    Action: steering angle [rad] and acceleration [m/s²]. Reward: `CompletionReward`. An episode ends at the goal, with
    a collision at fault, at a red light run or off the route, and is cut off after `limit_s` seconds.
    """

    def __init__(self, feature_width: int, limit_s: float = 40.0):
        self.feature_width, self._limit_s = feature_width, limit_s
        self._world, self._reward = BoxWorld(), CompletionReward()
        count = sum(value.numel() for value in example_inputs(feature_width).values())
        self.observation_space = spaces.Box(-np.inf, np.inf, (count,), np.float32)
        limit = self._world.vehicle.max_steering_angle
        low, high = np.array([-limit, ACCELERATION_RANGE[0]]), np.array([limit, ACCELERATION_RANGE[1]])
        self.action_space = spaces.Box(low.astype(np.float32), high.astype(np.float32))

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        """A new road with new traffic."""
        super().reset(seed=seed)
        drawn = int(self.np_random.integers(1 << 30)) if seed is None else seed
        self._view = self._world.reset(drawn)[EGO]
        self._io = PolicyIO(route_of(self._view.route), self.feature_width)
        perception = DegradedPerception(self.feature_width, np.random.default_rng([drawn, 5]))
        self._perception = TruthPerception(perception)
        return self._observe(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Drive 0.1 s with one action."""
        before, events = self._view, []
        for _ in range(REPEAT):
            throttle, brake = pedals(float(action[1]), self._view.ego.speed, self._world.vehicle)
            self._view = self._world.step({EGO: Control(float(action[0]), throttle, brake)})[EGO]
            events += self._view.events
        try:
            observation = self._observe()
        except PolicyRefused:
            return np.zeros(self.observation_space.shape, np.float32), self._reward.terminal, True, False, {}
        moment = self._moment(before, events)
        arrived = self._view.completion >= 1.0
        over = self._reward.ends(moment) or arrived
        info = {"completion": self._view.completion, "collided": moment.collided, "ran_red": moment.ran_red}
        return observation, self._reward(moment), over, self._view.stamp >= self._limit_s, info

    def _observe(self) -> np.ndarray:
        inputs = self._io.encode(self._perception(self._view), self._view.ego, light_of(self._view))
        return np.concatenate([inputs[name].ravel() for name in INPUTS])

    def _moment(self, before: BoxView, events: list) -> Moment:
        now, route = self._view, self._io.route
        light, passed = before.light, now.light
        ran = light is not None and passed is not None and light.distance > 0.0 >= passed.distance
        here = self._io.progress or 0.0
        lateral = abs(float(self._io.lateral))
        return Moment(
            progress=(now.completion - before.completion) * route.length,
            route_length=route.length,
            speed=now.ego.speed,
            speed_limit=float(route.speed_limit(np.array(here))),
            jerk=(now.ego.acceleration - before.ego.acceleration) / (REPEAT * self._world.dt),
            collided=any(isinstance(event, Collision) and event.at_fault for event in events),
            off_lane=lateral > LEFT_LANE_M,
            ran_red=ran and passed.state == "red",
        )
