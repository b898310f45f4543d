"""Real data for the small experiments: scikit-learn's digits, dealt to vehicles."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from ...data.datasets import dirichlet
from .experiment import Task
from .peer import run_peer


def digits(vehicles: int, alpha: float, seed: int = 0) -> Task:
    """1,437 training and 360 test digits; labels per vehicle drawn from Dirichlet(alpha), lower is less alike."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "digits.npz"
        run_peer("digits.py", str(path))
        with np.load(path) as stored:
            inputs, labels = stored["inputs"], stored["labels"]
    order = np.random.default_rng(seed).permutation(len(labels))
    train, test = order[: len(order) * 4 // 5], order[len(order) * 4 // 5 :]
    parts = dirichlet(labels[train], vehicles, alpha, seed, least=8)
    return Task(inputs[train], labels[train], inputs[test], labels[test], parts)
