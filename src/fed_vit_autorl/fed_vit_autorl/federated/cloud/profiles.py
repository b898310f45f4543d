"""Device classes of a fleet: which vehicles train which part of the model."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from ..submodel import Selection, narrow
from ..update import Tensors

if TYPE_CHECKING:
    from fed_vit_autorl.deployment.fleet_config import Profile


class Profiles:
    """By name; a vehicle is of the first one that a pattern of its names, or of none and trains the whole model."""

    def __init__(self, profiles: Mapping[str, Profile]) -> None:
        self._profiles = dict(profiles)

    def of(self, vehicle: str) -> dict:
        """{} for the whole model, else {"name": …} and the options of `submodel.narrow`, as a task tells them."""
        for name, profile in self._profiles.items():
            if any(fnmatchcase(vehicle, pattern) for pattern in profile.vehicles):
                return {"name": name, **narrowing(profile)}
        return {}

    def selections(self, weights: Tensors) -> dict[str, Selection]:
        """The part of `weights` that each class trains."""
        return {name: narrow(weights, **narrowing(profile)) for name, profile in self._profiles.items()}


def narrowing(profile: Profile) -> dict:
    """Options of `submodel.narrow`."""
    return {
        "width": profile.width,
        "keep": profile.keep,
        "fixed": profile.fixed,
        "groups": profile.groups,
        "thinned": profile.thinned,
    }
