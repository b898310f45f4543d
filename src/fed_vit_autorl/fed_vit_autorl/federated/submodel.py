"""Parts of a global model that a weaker vehicle trains, and tensors that never leave a vehicle."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

import numpy as np

from .update import Tensors

Selection = dict[str, tuple[np.ndarray, ...]]  # kept indices per axis, for each kept tensor


def extract(model: Mapping[str, np.ndarray], selection: Selection) -> Tensors:
    """The selected part of every selected tensor, copied."""
    return {name: np.ascontiguousarray(model[name][np.ix_(*axes)]) for name, axes in selection.items()}


def narrow(
    model: Mapping[str, np.ndarray],
    width: float = 1.0,
    keep: Iterable[str] = ("*",),
    fixed: Iterable[str] = (),
    groups: Mapping[str, int] | None = None,
    thinned: Iterable[str] = ("*",),
) -> Selection:
    """A thinner, shallower model: the leading ⌈width · side⌉ indices of every axis, of tensors that match `keep`.

    `keep` and the others are name patterns, so that leaving out `blocks.8.*` … is depth. Axes are written `name:axis`:
    `thinned` are those that get shorter, less the `fixed` ones (classes, image channels, patches). `groups` gives the
    number of equal parts on axis 0 of fused tensors (3 for query-key-value), each of which is thinned by itself.
    `width` is in (0, 1].
    """
    if not 0 < width <= 1:
        raise ValueError(f"width must be in (0, 1], not {width}")
    keep, fixed, thinned, groups = tuple(keep), tuple(fixed), tuple(thinned), dict(groups or {})

    def whole(axis: str) -> bool:
        return any(fnmatchcase(axis, pattern) for pattern in fixed) or not any(
            fnmatchcase(axis, pattern) for pattern in thinned
        )

    selection: Selection = {}
    for name, tensor in model.items():
        if not any(fnmatchcase(name, pattern) for pattern in keep):
            continue
        parts = [next((parts for pattern, parts in groups.items() if fnmatchcase(name, pattern)), 1)]
        parts += [1] * (tensor.ndim - 1)
        selection[name] = tuple(
            np.arange(side) if whole(f"{name}:{axis}") else _leading(side, width, parts[axis])
            for axis, side in enumerate(tensor.shape)
        )
    return selection


def _leading(side: int, width: float, parts: int) -> np.ndarray:
    if side % parts:
        raise ValueError(f"an axis of {side} does not divide into {parts} parts")
    part = side // parts
    kept = np.arange(int(np.ceil(width * part)))
    return (np.arange(parts)[:, None] * part + kept).reshape(-1)


def split_personal(tensors: Mapping[str, np.ndarray], personal: Iterable[str]) -> tuple[Tensors, Tensors]:
    """(shared, personal) tensors by name patterns: personal heads stay on the vehicle (Arivazhagan et al. 2019)."""
    patterns = tuple(personal)
    kept = {name for name in tensors if any(fnmatchcase(name, pattern) for pattern in patterns)}
    shared = {name: tensor for name, tensor in tensors.items() if name not in kept}
    return shared, {name: tensors[name] for name in kept}
