"""Why a step of secure aggregation is refused."""

from __future__ import annotations

from enum import StrEnum

from fed_vit_autorl.refusal import Refused


class SecAggReason(StrEnum):
    """Codes of `SecAggRefused`."""

    BAD_SETTINGS = "bad_settings"
    OUT_OF_ORDER = "out_of_order"
    MALFORMED_MESSAGE = "malformed_message"
    UNKNOWN_VEHICLE = "unknown_vehicle"
    DUPLICATE = "duplicate"
    BAD_SIGNATURE = "bad_signature"
    BAD_ROSTER = "bad_roster"
    BELOW_THRESHOLD = "below_threshold"
    BAD_SHARE = "bad_share"
    OVERFLOW = "overflow"
    UNMASK_MISMATCH = "unmask_mismatch"


class SecAggRefused(Refused):
    """The step is not taken; `reason` is a `SecAggReason`."""
