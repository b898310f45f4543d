"""SCAFFOLD's control variates (Karimireddy et al. 2020) as arrays: the server's travels beside the release it belongs
to, a vehicle's own never leaves it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors.numpy

from .refusal import UpdateReason, UpdateRefused
from .update import Layout, Tensors

CONTROL = "control.safetensors"  # a release's file


def read_control(release: Path) -> Tensors:
    """The server's variate c for the round that trains from the verified `release`; {} (zeros) before the first one."""
    path = release / CONTROL
    return safetensors.numpy.load_file(path) if path.exists() else {}


def correction(server: Mapping[str, np.ndarray], own: Mapping[str, np.ndarray]) -> Tensors:
    """c - c_i, which is added to every gradient; either may be {} for zeros."""
    if server and own and Layout.of(server) != Layout.of(own):
        raise UpdateRefused(UpdateReason.WRONG_LAYOUT, "the vehicle's control variate belongs to another model")
    if not server:
        return {name: -tensor for name, tensor in own.items()}
    return {name: tensor - own[name] if own else tensor.copy() for name, tensor in server.items()}


def advanced(
    own: Mapping[str, np.ndarray],
    server: Mapping[str, np.ndarray],
    delta: Mapping[str, np.ndarray],
    steps: float,
    lr: float,
) -> Tensors:
    """Option II: c_i ← c_i - c - Δ / (K η), after K = `steps` of plain SGD with rate η = `lr`.

    Raises `UpdateRefused` unless both are positive.
    """
    if not (steps > 0 and lr > 0):
        raise UpdateRefused(UpdateReason.NOT_FINITE, f"a variate after {steps} steps at the rate {lr}")
    travelled = np.float32(steps * lr)
    past = correction(server, own)
    return {name: -(past[name] if past else 0) - tensor / travelled for name, tensor in delta.items()}
