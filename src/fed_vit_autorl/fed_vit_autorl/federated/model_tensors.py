"""A release's weights as one flat set of tensors named `<model>/<tensor>`, of which a fleet trains those that its
patterns name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import numpy as np

from .update import Tensors


def trainable(weights: Mapping[str, Mapping[str, np.ndarray]], patterns: Sequence[str]) -> Tensors:
    """Floating tensors of `weights` {model: {name: tensor}} whose flat name matches one of `patterns`, as float32."""
    return {
        f"{model}/{name}": np.asarray(tensor, np.float32)
        for model, tensors in sorted(weights.items())
        for name, tensor in sorted(tensors.items())
        if tensor.dtype.kind == "f" and any(fnmatchcase(f"{model}/{name}", pattern) for pattern in patterns)
    }


def by_model(tensors: Mapping[str, np.ndarray]) -> dict[str, Tensors]:
    """Inverse of the naming: {model: {name: tensor}}."""
    models: dict[str, Tensors] = {}
    for name, tensor in tensors.items():
        model, _, inner = name.partition("/")
        models.setdefault(model, {})[inner] = tensor
    return models
