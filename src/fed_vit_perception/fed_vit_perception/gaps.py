"""Frames that a model swap has cost, from the stamps of those that came."""

PERIOD_MEMORY = 0.1


class GapCounter:
    """Counts the frames missing between two stamps while a model is loaded or swapped; other gaps are not its business.

    `dropped`: so many so far. The camera's period is learned from the gaps between swaps.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._last: float | None = None
        self._period: float | None = None

    def frame(self, stamp: float, swapping: bool) -> None:
        """A frame of that stamp [s] was seen; `swapping` while a model loads, and for the first frame of a new one."""
        gap = None if self._last is None else stamp - self._last
        self._last = stamp
        if gap is None or gap <= 0:
            return
        if not swapping:
            kept = self._period if self._period is not None else gap
            self._period = kept + PERIOD_MEMORY * (min(gap, 2 * kept) - kept)
        elif self._period is not None:
            self.dropped += max(0, round(gap / self._period) - 1)
