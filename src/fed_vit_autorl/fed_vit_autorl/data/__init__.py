"""The one sample format, where samples come from, how they are kept, labelled and varied."""

from .classes import OBJECT_CLASSES, SEMANTIC_CLASSES, UNLABELLED
from .sample import CameraModel, EgoState, Labels, Sample, SampleFault, SampleRefused

__all__ = [
    "OBJECT_CLASSES",
    "SEMANTIC_CLASSES",
    "UNLABELLED",
    "CameraModel",
    "EgoState",
    "Labels",
    "Sample",
    "SampleFault",
    "SampleRefused",
]
