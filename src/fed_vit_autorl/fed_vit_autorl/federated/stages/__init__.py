"""Update stages: what an update goes through between the trainer and the wire, and back on the aggregator."""

from .base import STAGES, Context, Form, Parts, Stage
from .clip import Clip
from .noise import DpNoise
from .quantise import Quantise
from .secure_mask import SecureMask
from .sparsify import RandomK, TopK

__all__ = [
    "STAGES",
    "Clip",
    "Context",
    "DpNoise",
    "Form",
    "Parts",
    "Quantise",
    "RandomK",
    "SecureMask",
    "Stage",
    "TopK",
]
