"""How much Gaussian noise (ε, δ) needs: the analytic mechanism of Balle & Wang 2018, exact for every ε > 0."""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq
from scipy.special import log_ndtr

from .refusal import PrivacyReason, PrivacyRefused


def require_budget(epsilon: float, delta: float) -> None:
    """Raises `PrivacyRefused` unless ε > 0 and 0 < δ < 1."""
    if not (np.isfinite(epsilon) and epsilon > 0 and 0 < delta < 1):
        raise PrivacyRefused(PrivacyReason.BAD_PARAMETER, f"epsilon {epsilon} must be > 0 and delta {delta} in (0, 1)")


def gaussian_delta(sigma: float, epsilon: float, sensitivity: float = 1.0) -> float:
    """δ of Gaussian noise `sigma` at ε for an L2 `sensitivity` Δ: Φ(Δ/2σ - εσ/Δ) - e^ε Φ(-Δ/2σ - εσ/Δ) (Theorem 8)."""
    ratio = sensitivity / sigma
    upper, lower = log_ndtr(ratio / 2 - epsilon / ratio), log_ndtr(-ratio / 2 - epsilon / ratio)
    return float(np.exp(upper) * -np.expm1(min(0.0, epsilon + lower - upper)))


def gaussian_sigma(epsilon: float, delta: float, sensitivity: float = 1.0) -> float:
    """The smallest σ that gives (ε, δ) for an L2 `sensitivity`; raises `PrivacyRefused`."""
    require_budget(epsilon, delta)
    if not (np.isfinite(sensitivity) and sensitivity > 0):
        raise PrivacyRefused(PrivacyReason.BAD_PARAMETER, f"sensitivity {sensitivity} must be positive")
    low, high = -20.0, 20.0
    root = brentq(lambda log: gaussian_delta(np.exp(log), epsilon) - delta, low, high, xtol=1e-13)
    # The solver stops within 1e-13 of the root: step to the safe side.
    return float(sensitivity * np.exp(root) * (1 + 1e-9))
