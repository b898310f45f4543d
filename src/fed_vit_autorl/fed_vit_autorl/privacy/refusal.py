"""Why a private mechanism is refused."""

from __future__ import annotations

from enum import StrEnum


class PrivacyReason(StrEnum):
    """Codes of `PrivacyRefused`."""

    BAD_PARAMETER = "bad_parameter"
    BAD_INPUT = "bad_input"
    BUDGET_EXCEEDED = "budget_exceeded"
    ANOTHER_BUDGET = "another_budget"
    ALREADY_SPENT = "already_spent"
    UNKNOWN_VERSION = "unknown_version"


class PrivacyRefused(ValueError):
    """Nothing was released and nothing spent; `reason` is a `PrivacyReason`."""

    def __init__(self, reason: PrivacyReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
