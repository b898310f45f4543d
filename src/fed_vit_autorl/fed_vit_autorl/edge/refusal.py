"""Why a runtime refuses."""

from __future__ import annotations

from enum import StrEnum

from fed_vit_autorl.refusal import Refused


class RuntimeReason(StrEnum):
    """Why a runtime refuses to start or to run."""

    UNKNOWN_PROVIDER = "unknown_provider"
    PROVIDER_UNAVAILABLE = "provider_unavailable"
    UNKNOWN_PROFILE = "unknown_profile"
    ENGINE_NOT_BUILT = "engine_not_built"
    PROFILE_NOT_MADE = "profile_not_made"
    BAD_INPUTS = "bad_inputs"


class RuntimeRefused(Refused):
    """A runtime that can't be had here, or inputs it can't take; `reason` is the code."""
