"""PPO whose updates are differentially private: DP-SGD (Abadi et al. 2016) on the clipped surrogate."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from fed_vit_autorl.privacy.ledger import epsilon_of
from fed_vit_autorl.privacy.noise import gaussian
from fed_vit_autorl.privacy.refusal import PrivacyReason, PrivacyRefused
from fed_vit_autorl.privacy.release import Release
from fed_vit_autorl.reinforcement.algorithms.actor_critic import ActorCritic
from fed_vit_autorl.reinforcement.algorithms.ppo import PPO, PPOConfig, Rollout, flat

DELTA = 1e-5
DEFAULTS = PPOConfig()


class PrivatePPO(PPO):
    """PPO that protects single transitions: neighbouring rollouts differ in one row of observation, action, advantage
    and target. Each row's gradient is clipped to `config.gradient_norm`, rows are drawn by Poisson sampling, and
    Gaussian noise is added to their sum. Advantages are taken as they come: not normalised by the batch, which would
    mix the rows.

    Args:
        model: the actor-critic.
        clip_epsilon: bound of the probability ratio.
        privacy_budget: ε at δ = 1e-5 for all updates of this learner.
        noise_multiplier: σ over the clip norm.
        config: the other hyper-parameters.
        seed: of the sampling; the noise is from a cryptographic generator.
    """

    def __init__(
        self,
        model: ActorCritic,
        clip_epsilon: float = 0.2,
        privacy_budget: float = 1.0,
        noise_multiplier: float = 1.1,
        config: PPOConfig = DEFAULTS,
        seed: int = 0,
    ) -> None:
        super().__init__(model, replace(config, clip_epsilon=clip_epsilon), seed)
        self.privacy_budget, self.noise_multiplier = privacy_budget, noise_multiplier
        self._releases: list[Release] = []

    @property
    def spent(self) -> float:
        """ε spent so far."""
        return epsilon_of(self._releases, DELTA)

    def update(self, rollout: Rollout, clip_gradients: bool = True, add_noise: bool = True) -> dict[str, float]:
        """As many steps as PPO would take; the mean parts of the loss, and `epsilon` spent so far.

        Raises `PrivacyRefused` when the budget would be exceeded, before anything is learned, and ValueError for noise
        without clipping, which would protect nothing.
        """
        rows = flat(rollout)
        count, size = len(rows["target"]), min(self.config.minibatch, len(rows["target"]))
        rate, steps = size / count, self.config.epochs * max(1, count // size)
        if add_noise:
            self._authorise(Release(self.noise_multiplier, rate, steps))
        found = []
        for _ in range(steps):
            drawn = np.flatnonzero(self._generator.random(count) < rate)
            batch = {name: tensor[drawn] for name, tensor in rows.items()}
            gradients, parts = self.get_private_gradients(batch, size, clip_gradients, add_noise)
            for name, parameter in self.model.named_parameters():
                parameter.grad = gradients[name]
            self._optimiser.step()
            found += [parts] if parts else []
        return {name: float(np.mean([parts[name] for parts in found])) for name in found[0]} | {"epsilon": self.spent}

    def get_private_gradients(
        self, batch: dict[str, Tensor], expected: int, clip_gradients: bool = True, add_noise: bool = True
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        """(gradients by parameter, parts of the loss): the sum of the rows' clipped gradients and noise, over the
        `expected` number of rows; a batch may be empty.
        """
        if add_noise and not clip_gradients:
            raise ValueError("noise without clipping protects nothing: nothing bounds one row's part")
        names, parameters = zip(*self.model.named_parameters(), strict=True)
        total = [torch.zeros_like(parameter) for parameter in parameters]
        losses, parts = self.loss(batch) if len(batch["target"]) else (torch.zeros(0), {})
        for loss in losses:
            row = torch.autograd.grad(loss, parameters, retain_graph=True)
            norm = torch.sqrt(sum(part.square().sum() for part in row))
            scale = (self.config.gradient_norm / (norm + 1e-12)).clamp(max=1.0) if clip_gradients else 1.0
            torch._foreach_add_(total, [part * scale for part in row])
        if add_noise:
            deviation = self.noise_multiplier * self.config.gradient_norm
            for part in total:
                part += torch.from_numpy(gaussian(tuple(part.shape), deviation)).to(part)
        return {name: part / expected for name, part in zip(names, total, strict=True)}, parts

    def scaled(self, advantage: Tensor) -> Tensor:
        """Unchanged: the batch's mean and deviation would carry one row into the others."""
        return advantage

    def _authorise(self, release: Release) -> None:
        after = epsilon_of([*self._releases, release], DELTA)
        if after > self.privacy_budget:
            detail = f"ε {after:.2f} after this update, the budget is {self.privacy_budget:.2f}"
            raise PrivacyRefused(PrivacyReason.BUDGET_EXCEEDED, detail)
        self._releases.append(release)
