"""How many bits a scene deserves: fewer for an empty road, all for a crowded crossing."""

from __future__ import annotations

from dataclasses import dataclass

from .perceiver import Seen

PROFILES_BY_BITS = ("int4", "int8", "full")
CROWD = 10
"""So many objects are a full scene."""


@dataclass
class DynamicQuantizer:
    """Chooses a profile by the complexity of the last scene: below `low` 4 bits, below `high` 8 bits, else all.

    A lighter profile is taken only once the complexity is `margin` below its bound, so that it does not flicker.
    """

    low: float = 0.3
    high: float = 0.7
    margin: float = 0.05
    profile: str = "full"

    def estimate_complexity(self, seen: Seen, image_height: int) -> float:
        """In [0, 1]: half how many objects there are, a third how near the nearest looks, the rest the model's
        doubt."""
        boxes = seen.detections.boxes
        crowd = min(1.0, len(boxes) / CROWD)
        nearness = min(1.0, 2 * float((boxes[:, 3] - boxes[:, 1]).max(initial=0.0)) / image_height)
        return 0.5 * crowd + nearness / 3 + (1.0 - seen.confidence) / 6

    def choose(self, complexity: float) -> str:
        """The profile for the next frame."""
        order = PROFILES_BY_BITS
        wanted = sum(complexity >= bound for bound in (self.low, self.high))
        if wanted < order.index(self.profile):
            wanted = sum(complexity >= bound - self.margin for bound in (self.low, self.high))
        self.profile = order[wanted]
        return self.profile
