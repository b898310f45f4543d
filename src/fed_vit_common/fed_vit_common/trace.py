"""The latency trace: every stage appends one stamp, so the command alone tells where the time went."""

import time
from collections.abc import Iterable, Mapping
from typing import Any

from fed_vit_msgs.msg import StageStamp


def open_stamp(stage: str, info: Mapping[str, Any]) -> StageStamp:
    """A stage's stamp at the moment its work begins.

    Args:
        stage: name of the stage.
        info: message info that rclpy hands to a two-argument subscription callback (nanoseconds, system clock).
    """
    return StageStamp(
        stage=stage,
        sent_ns=int(info["source_timestamp"]),
        received_ns=int(info["received_timestamp"]),
        started_ns=time.time_ns(),
    )


def close_stamp(trace: Iterable[StageStamp], stamp: StageStamp) -> list[StageStamp]:
    """The trace with ``stamp`` appended, its work done now."""
    stamp.done_ns = time.time_ns()
    return [*trace, stamp]
