"""What a strategy asks of the vehicle's trainer: gradient terms of FedProx and SCAFFOLD (PyTorch)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from .refusal import UpdateReason, UpdateRefused
from .update import Layout, Tensors


class ProximalTerm:
    """FedProx (Li et al. 2020): adds μ (w - w_global) to every gradient."""

    def __init__(self, model: torch.nn.Module, proximal_mu: float) -> None:
        self._mu = proximal_mu
        self._start = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}

    def correct(self, model: torch.nn.Module) -> None:
        """Call between `backward()` and the optimiser's step."""
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                parameter.grad.add_(parameter.detach() - self._start[name], alpha=self._mu)


class ControlVariate:
    """SCAFFOLD (Karimireddy et al. 2020): adds c - c_i to every gradient; c_i is the vehicle's: store `state_dict`."""

    def __init__(self, server: Mapping[str, np.ndarray], own: Mapping[str, np.ndarray] | None = None) -> None:
        self._server = {name: np.asarray(tensor, np.float32) for name, tensor in server.items()}
        self._own = {name: np.array(tensor) for name, tensor in (own or _zeros(server)).items()}
        if Layout.of(self._own) != Layout.of(self._server):
            raise UpdateRefused(UpdateReason.WRONG_LAYOUT, "the vehicle's control variate belongs to another model")

    def correct(self, model: torch.nn.Module) -> None:
        """Call between `backward()` and the optimiser's step."""
        for name, parameter in model.named_parameters():
            if parameter.grad is not None and name in self._server:
                parameter.grad.add_(torch.from_numpy(self._server[name] - self._own[name]).to(parameter.device))

    def finish(self, delta: Mapping[str, np.ndarray], steps: int, lr: float) -> None:
        """Option II: c_i ← c_i - c - Δ / (K η), after K = `steps` of plain SGD with rate η = `lr`."""
        for name, own in self._own.items():
            own -= self._server[name] + delta[name] / np.float32(steps * lr)

    def state_dict(self) -> Tensors:
        return {name: tensor.copy() for name, tensor in self._own.items()}


def _zeros(tensors: Mapping[str, np.ndarray]) -> Tensors:
    return {name: np.zeros_like(tensor, np.float32) for name, tensor in tensors.items()}
