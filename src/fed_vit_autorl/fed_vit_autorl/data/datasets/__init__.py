"""Datasets by name ("camvid:DIR"), all yielding `Sample`, and their partition into vehicles."""

from . import camvid, multisensor, stored
from .base import KINDS, Dataset, DatasetFault, DatasetRefused, Purpose, Subset, open_dataset
from .partition import by_source, dirichlet

__all__ = [
    "KINDS",
    "Dataset",
    "DatasetFault",
    "DatasetRefused",
    "Purpose",
    "Subset",
    "by_source",
    "camvid",
    "dirichlet",
    "multisensor",
    "open_dataset",
    "stored",
]
