"""The update pipelines of a fleet's releases, one per release and device class."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..pipeline import Pipeline
from ..refusal import UpdateReason, UpdateRefused
from ..submodel import Selection, extract
from ..update import Layout, Tensors, read_header


class Pipelines:
    """Built when asked for; those of the releases that were asked for last are kept."""

    KEPT = 16

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
        pipelines = self._known.pop(version, None) or self._built(version)
        self._known[version] = pipelines  # the latest last
        if len(self._known) > self.KEPT:
            del self._known[next(iter(self._known))]
        if profile not in pipelines:
            raise UpdateRefused(UpdateReason.WRONG_LAYOUT, f"this fleet has no device class {profile!r}")
        return pipelines[profile]

    def for_bytes(self, version: int, encoded: bytes) -> Pipeline:
        """For the device class that an update's header names; raises `UpdateRefused`."""
        return self.of(version, read_header(encoded)[0].profile)

    def _built(self, version: int) -> dict[str, Pipeline]:
        weights = self._weights(version)
        parts = {name: extract(weights, selection) for name, selection in self._selections(weights).items()}
        return {
            name: Pipeline.from_config(self._stages, Layout.of(part)) for name, part in ({"": weights} | parts).items()
        }
