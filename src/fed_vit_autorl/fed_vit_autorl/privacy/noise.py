"""Noise from a cryptographic generator: ChaCha20 keyed by the operating system's entropy.

A statistical generator would let somebody who sees enough noise predict the rest and subtract it. One float draw
leaks through its rounding (Mironov 2012); a sum of four hides it (Holohan & Braghin 2021), at the same distribution.
"""

from __future__ import annotations

import secrets

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from scipy.special import ndtri

from ..federated.blocks import for_spans

DRAWS = 4


def gaussian(shape: int | tuple[int, ...], sigma: float) -> np.ndarray:
    """float64 of `shape`, N(0, sigma²); `sigma` ≥ 0."""
    noise = np.empty(shape)
    flat = noise.reshape(-1)

    def work(start: int, stop: int) -> None:
        draws = ndtri(_uniform(DRAWS * (stop - start))).reshape(DRAWS, -1)
        np.multiply(draws.sum(axis=0), sigma / np.sqrt(DRAWS), out=flat[start:stop])

    for_spans(flat.size, work)
    return noise


def laplace(shape: int | tuple[int, ...], scale: float) -> np.ndarray:
    """float64 of `shape`, Laplace(0, scale): scale · (ab + cd) of four normals (Kotz et al. 2001)."""
    a, b, c, d = gaussian((4, *np.atleast_1d(shape)), 1.0)
    return (scale * (a * b + c * d)).reshape(shape)


def _uniform(count: int) -> np.ndarray:
    """float64 (count,) in the open interval (0, 1), 53 bits each."""
    stream = Cipher(algorithms.ChaCha20(secrets.token_bytes(32), bytes(16)), None).encryptor().update(bytes(8 * count))
    return ((np.frombuffer(stream, np.uint64) >> np.uint64(11)) + 0.5) * 2.0**-53
