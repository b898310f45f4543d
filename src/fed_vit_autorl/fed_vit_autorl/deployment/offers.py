"""What the fleet's TUF metadata offers its vehicles: one release for all, and while it is tried another for a few.

An offer is a TUF target. Its path is the channel's name, its length and SHA-256 are those of the release's
`manifest.json`, and `custom` holds the version and which vehicles it is for (integers: signed JSON has no floats). The
manifest names every other file, so that the four roles vouch for a whole release by one digest.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Annotated

import msgspec
from tuf.api.metadata import TargetFile

from fed_vit_autorl.deployment.release import MAX_MANIFEST_BYTES, Reason, ReleaseRefused

EVERYONE = (1 << 48) - 1


class Channel(StrEnum):
    """Whom an offer is for."""

    FLEET = "fleet"
    CANARY = "canary"


class Offer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A release on a channel. `digest` and `size` [bytes] are its manifest's; vehicles whose `position` is at most
    `cohort` may take it.
    """

    version: Annotated[int, msgspec.Meta(ge=1, le=1 << 48)]
    digest: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
    size: Annotated[int, msgspec.Meta(ge=1, le=MAX_MANIFEST_BYTES)]
    cohort: Annotated[int, msgspec.Meta(ge=0, le=EVERYONE)] = EVERYONE

    def takes(self, vehicle: str) -> bool:
        """Whether the vehicle is one of the cohort."""
        return position(vehicle, self.version) <= self.cohort


def position(vehicle: str, version: int) -> int:
    """Where a vehicle stands among all when a release is tried, 0 to EVERYONE: known to both sides, another order for
    each release.
    """
    return int.from_bytes(hashlib.sha256(f"{version}/{vehicle}".encode()).digest()[:6], "big")


def cohort_of(vehicles: list[str], version: int, count: int) -> int:
    """The cohort that takes `count` of the vehicles (1 ≤ count), or all if there are no more."""
    ranked = sorted(position(vehicle, version) for vehicle in vehicles)
    return ranked[count - 1] if count < len(ranked) else EVERYONE


def to_target(channel: Channel, offer: Offer) -> TargetFile:
    custom = {"version": offer.version, "cohort": offer.cohort}
    return TargetFile(offer.size, {"sha256": offer.digest}, str(channel), {"custom": custom})


def from_target(target: TargetFile) -> Offer:
    """Raises ReleaseRefused(metadata_malformed) for a target that is no offer."""
    try:
        found = {"digest": target.hashes.get("sha256"), "size": target.length}
        return msgspec.convert({**(target.custom or {}), **found}, Offer)
    except (msgspec.ValidationError, TypeError) as error:
        raise ReleaseRefused(Reason.METADATA_MALFORMED, f"{target.path}: {error}") from error
