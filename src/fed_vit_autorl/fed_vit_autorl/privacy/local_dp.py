"""Local differential privacy: what leaves the vehicle is noised on the vehicle."""

from __future__ import annotations

import numpy as np

from .calibration import gaussian_sigma, require_budget
from .noise import gaussian, laplace
from .refusal import PrivacyReason, PrivacyRefused

MECHANISMS = ("gaussian", "laplace")


class LocalDP:
    """Every call of a method is one release of (ε, δ); several of them on the same data add up: use `PrivacyLedger`.

    `mechanism`: `gaussian` ((ε, δ), L2 sensitivity, analytic calibration) or `laplace` (ε alone, L1 sensitivity).
    """

    def __init__(self, epsilon: float, delta: float = 1e-5, mechanism: str = "gaussian") -> None:
        require_budget(epsilon, delta)
        if mechanism not in MECHANISMS:
            raise PrivacyRefused(
                PrivacyReason.BAD_PARAMETER, f"mechanism {mechanism!r}, known: {', '.join(MECHANISMS)}"
            )
        self.epsilon, self.delta, self.mechanism = epsilon, delta, mechanism

    def privatize_images(self, images: np.ndarray, sensitivity: float) -> np.ndarray:
        """Noised `images`, same shape and dtype: uint8 in 0…255 or floating in [0, 1].

        `sensitivity`: norm (L2 for gaussian, L1 for laplace), in the images' units, of the largest difference between
        two images that must not be told apart. Values are cut back to their range, which costs no privacy.
        """
        if images.dtype == np.uint8:
            low, high = 0, 255
        elif np.issubdtype(images.dtype, np.floating):
            low, high = 0, 1
        else:
            raise PrivacyRefused(PrivacyReason.BAD_INPUT, f"images are uint8 or floating, not {images.dtype}")
        if not np.isfinite(images).all():
            raise PrivacyRefused(PrivacyReason.BAD_INPUT, "an image has a NaN or an infinity")
        noised = np.clip(images, low, high) + self._noise(images.shape, sensitivity)
        if images.dtype == np.uint8:
            np.rint(noised, out=noised)
        return np.clip(noised, low, high).astype(images.dtype)

    def privatize_scalars(self, values: np.ndarray, bounds: tuple[float, float] | np.ndarray) -> np.ndarray:
        """Noised float64 `values` (n,), released together; each is cut to its bounds first.

        `bounds`: (low, high) for all, or (n, 2). Sensitivity is the norm of the vector of ranges.
        """
        values = np.asarray(values, float)
        limits = np.broadcast_to(np.asarray(bounds, float), (*values.shape, 2))
        if values.ndim != 1 or not np.isfinite(values).all():
            raise PrivacyRefused(PrivacyReason.BAD_INPUT, "scalars are one finite vector")
        low, high = limits[:, 0], limits[:, 1]
        if not (np.isfinite(limits).all() and (low < high).all()):
            raise PrivacyRefused(PrivacyReason.BAD_PARAMETER, "bounds are finite and rising")
        order = 2 if self.mechanism == "gaussian" else 1
        return np.clip(values, low, high) + self._noise(values.shape, float(np.linalg.norm(high - low, order)))

    def _noise(self, shape: tuple[int, ...], sensitivity: float) -> np.ndarray:
        if not (np.isfinite(sensitivity) and sensitivity > 0):
            raise PrivacyRefused(PrivacyReason.BAD_PARAMETER, f"sensitivity {sensitivity} must be positive")
        if self.mechanism == "laplace":
            return laplace(shape, sensitivity / self.epsilon)
        return gaussian(shape, gaussian_sigma(self.epsilon, self.delta, sensitivity))
