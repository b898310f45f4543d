"""Topics of the federation: `fl/v1/<region>/<vehicle>/…`, and who may say what on them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .wire import NAME_PATTERN, TransportReason, TransportRefused

ROOT = "fl/v1"
_NAME = re.compile(NAME_PATTERN)


def name(text: str) -> str:
    """`text` if it can stand in a topic, a file name and a certificate; raises ValueError."""
    if not _NAME.match(text):
        raise ValueError(
            f"{text!r} is no name: lower-case letters, digits, '-' and '_', at most 63, first a letter or digit"
        )
    return text


@dataclass(frozen=True)
class Topics:
    """The topics of one vehicle, or of all of a region's with `vehicle` "+"."""

    region: str
    vehicle: str = "+"

    @property
    def manifest(self) -> str:
        return f"{self._base}/up/manifest"

    @property
    def chunk(self) -> str:
        return f"{self._base}/up/chunk"

    @property
    def fin(self) -> str:
        return f"{self._base}/up/fin"

    @property
    def session_up(self) -> str:
        """A vehicle's part in secure aggregation."""
        return f"{self._base}/up/session"

    @property
    def session_down(self) -> str:
        """What a vehicle must know of the others for it."""
        return f"{self._base}/down/session"

    @property
    def uplink(self) -> str:
        """All of the above, as a filter."""
        return f"{self._base}/up/#"

    @property
    def task(self) -> str:
        return f"{self._base}/down/task"

    @property
    def ack(self) -> str:
        return f"{self._base}/down/ack"

    @property
    def downlink(self) -> str:
        return f"{self._base}/down/#"

    @property
    def status(self) -> str:
        return f"{self._base}/status"

    @property
    def model(self) -> str:
        return f"{ROOT}/{self.region}/model/current"

    @property
    def _base(self) -> str:
        return f"{ROOT}/{self.region}/{self.vehicle}"


def parse(topic: str, region: str) -> tuple[str, str]:
    """(vehicle, rest) of a topic below `region`; raises `TransportRefused` (foreign_topic)."""
    parts = topic.split("/", 4)
    if len(parts) == 5 and "/".join(parts[:2]) == ROOT and parts[2] == region and _NAME.match(parts[3]):
        return parts[3], parts[4]
    raise TransportRefused(TransportReason.FOREIGN_TOPIC, topic[:200])
