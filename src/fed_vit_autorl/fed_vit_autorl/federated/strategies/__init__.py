"""Aggregation strategies by name; a fleet's YAML names one."""

from .adaptive import FedAdagrad, FedAdam, FedAvgM, FedYogi
from .averaging import FedAvg, FedProx
from .base import STRATEGIES, Strategy
from .krum import Bulyan, Krum, MultiKrum
from .private import CentralDP
from .robust import Median, NormClipping, TrimmedMean
from .scaffold import Scaffold
from .submodels import SubModels
from .trust import TrustCosine, TrustDirection

__all__ = [
    "STRATEGIES",
    "Bulyan",
    "CentralDP",
    "FedAdagrad",
    "FedAdam",
    "FedAvg",
    "FedAvgM",
    "FedProx",
    "FedYogi",
    "Krum",
    "Median",
    "MultiKrum",
    "NormClipping",
    "Scaffold",
    "Strategy",
    "SubModels",
    "TrimmedMean",
    "TrustCosine",
    "TrustDirection",
]
