"""In which order a graph comes up: one rule for the supervisor and for the launch files."""

from collections.abc import Mapping
from enum import StrEnum

from fed_vit_bringup.graph import Graph, NodeSpec


class State(StrEnum):
    """How far a node has come. A node without a lifecycle is active as soon as its process runs."""

    ABSENT = "absent"
    UNCONFIGURED = "unconfigured"
    INACTIVE = "inactive"
    ACTIVE = "active"


class Step(StrEnum):
    """What to do next with a node."""

    START = "start"
    CONFIGURE = "configure"
    ACTIVATE = "activate"


def due(graph: Graph, states: Mapping[str, State]) -> list[tuple[NodeSpec, Step]]:
    """Steps that may be taken now, given each node's state by full name.

    Processes of lifecycle nodes start and configure at once, side by side, since that publishes nothing. A node
    activates, and a node without a lifecycle starts, when everything before it in the graph is active.
    Without autostart all processes start and the lifecycle is left to the operator.
    """
    steps = []
    ready = True
    for node in graph.nodes:
        state = states[node.full_name]
        if state is State.ABSENT and (node.lifecycle or ready or not graph.autostart):
            steps.append((node, Step.START))
        elif state is State.UNCONFIGURED and graph.autostart:
            steps.append((node, Step.CONFIGURE))
        elif state is State.INACTIVE and ready and graph.autostart:
            steps.append((node, Step.ACTIVATE))
        ready = ready and state is State.ACTIVE
    return steps


def is_up(graph: Graph, states: Mapping[str, State]) -> bool:
    """Whether nothing is left to bring up."""
    wanted = (State.ACTIVE,) if graph.autostart else tuple(State)[1:]
    return all(states[node.full_name] in wanted for node in graph.nodes)
