"""Update stages: what an update goes through between the trainer and the wire, and back on the aggregator."""

from .base import STAGES, Context, Form, Parts, Stage
from .clip import Clip
from .quantise import Quantise
from .sparsify import RandomK, TopK

__all__ = ["STAGES", "Clip", "Context", "Form", "Parts", "Quantise", "RandomK", "Stage", "TopK"]
