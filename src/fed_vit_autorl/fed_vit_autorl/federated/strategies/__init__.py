"""Aggregation strategies by name; a fleet's YAML names one."""

from .averaging import FedAvg
from .base import STRATEGIES, Strategy

__all__ = ["STRATEGIES", "FedAvg", "Strategy"]
