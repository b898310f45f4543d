"""DP-SGD on the vehicle (Abadi et al. 2016): Opacus' per-sample gradients, noise of our own generator."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import torch
from opacus.data_loader import DPDataLoader
from opacus.grad_sample import GradSampleModule
from opacus.optimizers import DPOptimizer
from opacus.validators import ModuleValidator
from torch.utils.data import DataLoader

from .ledger import PrivacyLedger
from .noise import gaussian
from .refusal import PrivacyReason, PrivacyRefused
from .release import Release


class _CryptographicOptimizer(DPOptimizer):
    """Opacus' optimiser with noise from `privacy.noise` instead of torch's Mersenne twister."""

    def add_noise(self) -> None:
        for parameter in self.params:
            noise = gaussian(tuple(parameter.summed_grad.shape), self.noise_multiplier * self.max_grad_norm)
            noised = parameter.summed_grad + torch.from_numpy(noise).to(parameter.summed_grad)
            parameter.grad = noised.view_as(parameter)


@dataclass(frozen=True)
class PrivateTraining:
    """Model, optimiser and loader that train with DP-SGD in an ordinary loop, and the release that it is."""

    model: GradSampleModule
    optimizer: DPOptimizer
    loader: DataLoader
    release: Release


def make_private(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    loader: DataLoader,
    *,
    epochs: int,
    noise_multiplier: float,
    max_grad_norm: float,
    ledger: PrivacyLedger,
    purpose: str,
) -> PrivateTraining:
    """Wrap a training of `epochs` over `loader` (samples are drawn by Poisson sampling) after asking `ledger`.

    Raises `PrivacyRefused` when the budget is too small or the model mixes samples (batch normalisation).
    """
    problems = ModuleValidator.validate(model, strict=False)
    if problems:
        raise PrivacyRefused(PrivacyReason.BAD_INPUT, f"the model cannot be trained privately: {problems[0]}")
    generator = torch.Generator().manual_seed(secrets.randbits(63))
    private_loader = DPDataLoader.from_data_loader(loader, generator=generator)
    rate = private_loader.sample_rate
    release = Release(noise_multiplier, rate, epochs * len(private_loader))
    ledger.authorise(purpose, release)
    wrapped = GradSampleModule(model)
    private_optimizer = _CryptographicOptimizer(
        optimizer,
        noise_multiplier=noise_multiplier,
        max_grad_norm=max_grad_norm,
        expected_batch_size=int(len(loader.dataset) * rate),
    )
    return PrivateTraining(wrapped, private_optimizer, private_loader, release)
