"""Names and numbers of everything that is labelled."""

OBJECT_CLASSES: tuple[str, ...] = ("vehicle", "pedestrian", "cyclist")
"""Detection classes; a label is an index into this tuple."""

VEHICLE, PEDESTRIAN, CYCLIST = range(3)

MASKS: tuple[str, ...] = ("free_space", "lane", "drivable")
"""Binary masks of `Labels`: 0 no, 1 yes, `UNLABELLED` unknown."""

SEMANTIC_CLASSES: tuple[str, ...] = (
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
)
"""Semantic classes: the 11 of CamVid (SegNet's numbering)."""

FULLER_MASKS: tuple[str, ...] = ("semantic", "moving")
"""Masks that not every source of labels has: indices of `SEMANTIC_CLASSES`, and what moves by itself."""

UNLABELLED = 255
"""Mask value that neither trains nor counts in an evaluation."""
