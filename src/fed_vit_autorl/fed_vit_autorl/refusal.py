"""What every refusal is: an input that is not used, with a reason code that is counted and tested."""

from enum import StrEnum


class Refused(ValueError):
    """An input, configuration or message that is not used.

    Attributes:
        reason: the code, a member of the refusing part's own ``StrEnum``.
        detail: what was found, and what to do about it.
    """

    def __init__(self, reason: StrEnum, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason
        self.detail = detail
