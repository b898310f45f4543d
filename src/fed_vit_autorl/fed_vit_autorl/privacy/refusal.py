"""Why a private mechanism is refused."""

from __future__ import annotations

from enum import StrEnum

from fed_vit_autorl.refusal import Refused


class PrivacyReason(StrEnum):
    """Codes of `PrivacyRefused`."""

    BAD_PARAMETER = "bad_parameter"
    BAD_INPUT = "bad_input"
    BUDGET_EXCEEDED = "budget_exceeded"
    ANOTHER_BUDGET = "another_budget"
    ALREADY_SPENT = "already_spent"
    UNKNOWN_VERSION = "unknown_version"


class PrivacyRefused(Refused):
    """Nothing was released and nothing spent; `reason` is a `PrivacyReason`."""
