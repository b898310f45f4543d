"""What a strategy asks of the vehicle's trainer: gradient terms of FedProx and SCAFFOLD (PyTorch)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from .control import advanced, correction
from .update import Tensors


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
        """Raises `UpdateRefused` when the variates are of two models."""
        self._server = {name: np.asarray(tensor, np.float32) for name, tensor in server.items()}
        self._own = {name: np.array(tensor) for name, tensor in (own or _zeros(server)).items()}
        self._correction = Correction(correction(self._server, self._own))

    def correct(self, model: torch.nn.Module) -> None:
        """Call between `backward()` and the optimiser's step."""
        self._correction.correct(model)

    def finish(self, delta: Mapping[str, np.ndarray], steps: int, lr: float) -> None:
        """Option II: c_i ← c_i - c - Δ / (K η), after K = `steps` of plain SGD with rate η = `lr`."""
        self._own = advanced(self._own, self._server, delta, steps, lr)
        self._correction = Correction(correction(self._server, self._own))

    def state_dict(self) -> Tensors:
        return {name: tensor.copy() for name, tensor in self._own.items()}


class Correction:
    """Adds a constant, for instance SCAFFOLD's c - c_i, to every gradient."""

    def __init__(self, tensors: Mapping[str, np.ndarray]) -> None:
        self._tensors = {name: torch.from_numpy(np.asarray(tensor, np.float32)) for name, tensor in tensors.items()}

    def correct(self, model: torch.nn.Module) -> None:
        """Call between `backward()` and the optimiser's step."""
        for name, parameter in model.named_parameters():
            if parameter.grad is not None and name in self._tensors:
                parameter.grad.add_(self._tensors[name].to(parameter.device, parameter.dtype))


def _zeros(tensors: Mapping[str, np.ndarray]) -> Tensors:
    return {name: np.zeros_like(tensor, np.float32) for name, tensor in tensors.items()}
