"""Reinforcement of the cloned policy: PPO on route completion, as CaRL (Jaeger et al. 2025) but on perceived scenes."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from fed_vit_autorl.reinforcement.algorithms.actor_critic import ActorCritic
from fed_vit_autorl.reinforcement.algorithms.ppo import PPO, PPOConfig, VectorRollouts
from fed_vit_autorl.reinforcement.demonstrations import INPUTS
from fed_vit_autorl.reinforcement.driving_env import BoxDrivingEnv
from fed_vit_autorl.reinforcement.policy import Critic, VisionPolicy, example_inputs

EXPLORATION = (0.02, 0.4)
VALIDATION_SEED = 1_000_000


@dataclass(frozen=True)
class FineTuningSettings:
    """`iterations` of PPO with `environments` × `steps` at 10 Hz each; every `validate_every` iterations the policy
    drives `validation_drives` fixed roads without exploration, and the best one is kept.
    """

    iterations: int = 40
    environments: int = 4
    steps: int = 256
    learning_rate: float = 5e-5
    epochs: int = 4
    minibatch: int = 256
    entropy_coef: float = 0.0
    validate_every: int = 10
    validation_drives: int = 16
    seed: int = 0


class FlatPolicy(nn.Module):
    """The driving policy as a Gaussian over (steering, acceleration) for flattened inputs."""

    def __init__(self, policy: VisionPolicy) -> None:
        super().__init__()
        self.policy = policy
        self.log_std = nn.Parameter(torch.log(torch.tensor(EXPLORATION)))

    def forward(self, observation: Tensor) -> Distribution:
        """Distribution for observations (B, O)."""
        control = self.policy(*unflatten(observation, self.policy.feature_width))[0]
        return Independent(Normal(control, self.log_std.exp()), 1)


class FlatCritic(nn.Module):
    """State values (B, 1) for flattened inputs."""

    def __init__(self, feature_width: int) -> None:
        super().__init__()
        self.feature_width, self.critic = feature_width, Critic(feature_width)

    def forward(self, observation: Tensor) -> Tensor:
        """Values of observations (B, O)."""
        return self.critic(*unflatten(observation, self.feature_width))[:, None]


def unflatten(observation: Tensor, feature_width: int) -> list[Tensor]:
    """`BoxDrivingEnv`'s observations (B, O) as the policy's inputs."""
    shapes = {name: value.shape[1:] for name, value in example_inputs(feature_width).items()}
    parts = observation.split([shapes[name].numel() for name in INPUTS], dim=1)
    return [part.reshape(-1, *shapes[name]) for name, part in zip(INPUTS, parts, strict=True)]


@torch.no_grad()
def validate(policy: VisionPolicy, drives: int) -> dict[str, float]:
    """Means over fixed roads, without exploration: `completion`, `collisions`, `red_lights`, and their `score`."""
    env, totals = BoxDrivingEnv(policy.feature_width), np.zeros(3)
    policy.eval()
    for number in range(drives):
        observation, _ = env.reset(seed=VALIDATION_SEED + number)
        over, info = False, {}
        while not over:
            control = policy(*unflatten(torch.from_numpy(observation)[None], policy.feature_width))[0][0]
            observation, _, terminated, truncated, found = env.step(control.numpy())
            over, info = terminated or truncated, found or info
        totals += [info.get(name, 0.0) for name in ("completion", "collided", "ran_red")]
    completion, collisions, red_lights = (float(value) for value in totals / drives)
    score = completion - collisions - 0.3 * red_lights
    return {"completion": completion, "collisions": collisions, "red_lights": red_lights, "score": score}


def fine_tune(
    policy: VisionPolicy,
    settings: FineTuningSettings,
    checkpoint: Path,
    progress: Callable[[int, dict[str, float]], None] | None = None,
) -> dict[str, float]:
    """Improve `policy` in place; the figures before and after on the validation roads.

    The best weights so far are kept in `checkpoint`. What PPO does not improve stays the clone.
    """
    torch.manual_seed(settings.seed)
    learner = deepcopy(policy)
    model = ActorCritic(FlatPolicy(learner), FlatCritic(policy.feature_width))
    config = PPOConfig(
        learning_rate=settings.learning_rate,
        epochs=settings.epochs,
        minibatch=settings.minibatch,
        entropy_coef=settings.entropy_coef,
    )
    ppo = PPO(model, config, settings.seed)
    rollouts = VectorRollouts(lambda: BoxDrivingEnv(policy.feature_width), settings.environments, settings.seed)
    before = best = validate(policy, settings.validation_drives)
    for iteration in range(1, settings.iterations + 1):
        figures = ppo.update(rollouts.collect(ppo, settings.steps))
        if iteration % settings.validate_every == 0:
            found = validate(learner, settings.validation_drives)
            figures |= found
            if found["score"] > best["score"]:
                best = found
                policy.load_state_dict(learner.state_dict())
                safetensors.torch.save_file(policy.state_dict(), checkpoint)
        figures["return"] = float(np.mean(rollouts.returns[-20:])) if rollouts.returns else float("nan")
        if progress is not None:
            progress(iteration, figures)
    named = {"clone": before, "fine_tuned": best}
    return {f"{name}_{figure}": value for name, values in named.items() for figure, value in values.items()}
