"""One line that says what is happening; on a terminal it is kept up to date, in a log it is written when it changes."""

import sys
import time
from typing import TextIO

QUIET_S = 10.0


class Narrator:
    """Tells a run's progress on standard error, so that standard output stays free for the result."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._stream = stream
        self._live = stream.isatty()
        self._start = time.monotonic()
        self._stage = ""
        self._written = 0.0

    def say(self, stage: str, detail: str = "") -> None:
        """A new stage is always told; details of the same one replace the line, in a log at most every 10 s."""
        now = time.monotonic()
        elapsed = int(now - self._start)
        line = f"[{elapsed // 60:02d}:{elapsed % 60:02d}] {stage}" + (f": {detail}" if detail else "")
        if self._live:
            opening = "\n" if self._stage and stage != self._stage else "\r"
            self._stream.write(f"{opening}\033[K{line}")
        elif stage != self._stage or now - self._written > QUIET_S:
            self._stream.write(line + "\n")
            self._written = now
        self._stage = stage
        self._stream.flush()

    def close(self) -> None:
        """Ends the line."""
        if self._live and self._stage:
            self._stream.write("\n")
        self._stage = ""
