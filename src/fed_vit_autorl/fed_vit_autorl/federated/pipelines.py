"""The update pipelines of a fleet's releases, one per release and device class."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .pipeline import Pipeline
from .refusal import UpdateReason, UpdateRefused
from .submodel import Selection, extract
from .update import Layout, Tensors, read_header


class Pipelines:
    """Built when asked for; those of the latest two releases are kept."""

    KEPT = 2

    def __init__(
        self,
        stages: list,
        weights: Callable[[int], Tensors],
        selections: Callable[[Tensors], Mapping[str, Selection]],
    ) -> None:
        """`weights(version)`: trainable tensors of a release; `selections(weights)`: the part of them that each device
        class trains.
        """
        self._stages, self._weights, self._selections = stages, weights, selections
        self._known: dict[int, dict[str, Pipeline]] = {}

    def of(self, version: int, profile: str = "") -> Pipeline:
        """For whole updates, or for those of a device class; raises `UpdateRefused` for an unknown one."""
        if version not in self._known:
            weights = self._weights(version)
            parts = {name: extract(weights, selection) for name, selection in self._selections(weights).items()}
            layouts = {name: Layout.of(part) for name, part in ({"": weights} | parts).items()}
            self._known[version] = {
                name: Pipeline.from_config(self._stages, layout) for name, layout in layouts.items()
            }
            for old in sorted(self._known)[: -self.KEPT]:
                del self._known[old]
        if profile not in self._known[version]:
            raise UpdateRefused(UpdateReason.WRONG_LAYOUT, f"this fleet has no device class {profile!r}")
        return self._known[version][profile]

    def for_bytes(self, version: int, encoded: bytes) -> Pipeline:
        """For the device class that an update's header names; raises `UpdateRefused`."""
        return self.of(version, read_header(encoded)[0].profile)
