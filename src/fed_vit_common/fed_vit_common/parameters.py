"""Node parameters as one frozen dataclass: types, defaults, bounds and descriptions in one place."""

import difflib
from dataclasses import MISSING, Field, dataclass, field, fields
from enum import StrEnum
from typing import Any, TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node

from fed_vit_autorl.refusal import Refused

Schema = TypeVar("Schema")

_OWN_TO_ROS = {"use_sim_time", "start_type_description_service"}


class ParameterReason(StrEnum):
    """What is wrong with a node's configuration."""

    UNKNOWN_PARAMETER = "unknown_parameter"


class ParameterRefused(Refused):
    """A parameter that does not exist; the message names it and what was meant."""


@dataclass(frozen=True)
class Bounds:
    """Inclusive range of a numeric parameter."""

    lower: float
    upper: float


def parameter(default: Any, description: str, bounds: Bounds | None = None) -> Any:
    """A field of a parameter dataclass.

    Args:
        default: value when the configuration names none; its type is the parameter's.
        description: what it means, with its unit.
        bounds: inclusive range, for numbers.
    """
    metadata = {"description": description, "bounds": bounds}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def declare(node: Node, schema: type[Schema]) -> None:
    """Declares every field of ``schema`` on ``node``, with its bounds; parameters can only be set at start."""
    for item in fields(schema):
        node.declare_parameter(item.name, _default(item), _descriptor(item))


def read(node: Node, schema: type[Schema]) -> Schema:
    """The node's parameters as an instance of ``schema``.

    Raises:
        ParameterRefused: the configuration names a parameter that the node does not have.
    """
    names = [item.name for item in fields(schema)]
    known = {*names, *_OWN_TO_ROS}
    for given in node._parameter_overrides:
        if given not in known and not given.startswith("qos_overrides."):
            close = difflib.get_close_matches(given, names, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"it has: {', '.join(sorted(names))}"
            raise ParameterRefused(
                ParameterReason.UNKNOWN_PARAMETER, f"{node.get_name()} has no parameter {given!r}; {hint}"
            )
    return schema(**{name: node.get_parameter(name).value for name in names})


def _default(item: Field) -> Any:
    return item.default_factory() if item.default_factory is not MISSING else item.default


def _descriptor(item: Field) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(description=item.metadata["description"], read_only=True)
    bounds = item.metadata["bounds"]
    if bounds is not None and isinstance(_default(item), float):
        descriptor.floating_point_range = [
            FloatingPointRange(from_value=float(bounds.lower), to_value=float(bounds.upper))
        ]
    elif bounds is not None:
        descriptor.integer_range = [IntegerRange(from_value=int(bounds.lower), to_value=int(bounds.upper), step=1)]
    return descriptor
