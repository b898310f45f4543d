"""The shield: rules, LiDAR obstacles and the minimum-risk manoeuvre, as pure functions and small state machines."""

from .assumptions import Assumptions
from .limits import ConstraintHandler
from .reasons import Reason
from .rules import RuleChecker
from .shield import SafetyShield

__all__ = ["Assumptions", "ConstraintHandler", "Reason", "RuleChecker", "SafetyShield"]
