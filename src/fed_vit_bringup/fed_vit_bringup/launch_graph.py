"""Turns a graph into actions of ROS 2 ``launch``, so that a launch file is two lines.

Everything that needs ``launch`` or ``launch_ros`` goes through ``LaunchApi``, which the tests replace: those packages
are not on PyPI.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

from fed_vit_bringup.arguments import parse_arguments
from fed_vit_bringup.graph import LAUNCHES, Graph, NodeSpec
from fed_vit_bringup.order import State, Step, due

RESPAWN_DELAY_S = 1.0
RETRY_S = 10.0
TRANSITION_IDS = {Step.CONFIGURE: 1, Step.ACTIVATE: 3}  # lifecycle_msgs/Transition


@dataclass(frozen=True)
class LaunchApi:
    """The parts of ``launch`` and ``launch_ros`` that are used, by their own names."""

    LaunchDescription: Any
    DeclareLaunchArgument: Any
    OpaqueFunction: Any
    RegisterEventHandler: Any
    EmitEvent: Any
    Shutdown: Any
    TimerAction: Any
    OnProcessStart: Any
    OnProcessExit: Any
    EventHandler: Any
    Node: Any
    LifecycleNode: Any
    ChangeState: Any
    StateTransition: Any
    matches_action: Any

    @classmethod
    def real(cls) -> "LaunchApi":
        """The installed packages."""
        import launch
        import launch_ros
        import launch_ros.event_handlers
        import launch_ros.events.lifecycle as lifecycle
        from launch.events import matchers

        return cls(
            LaunchDescription=launch.LaunchDescription,
            DeclareLaunchArgument=launch.actions.DeclareLaunchArgument,
            OpaqueFunction=launch.actions.OpaqueFunction,
            RegisterEventHandler=launch.actions.RegisterEventHandler,
            EmitEvent=launch.actions.EmitEvent,
            Shutdown=launch.actions.Shutdown,
            TimerAction=launch.actions.TimerAction,
            OnProcessStart=launch.event_handlers.OnProcessStart,
            OnProcessExit=launch.event_handlers.OnProcessExit,
            EventHandler=launch.EventHandler,
            Node=launch_ros.actions.Node,
            LifecycleNode=launch_ros.actions.LifecycleNode,
            ChangeState=lifecycle.ChangeState,
            StateTransition=lifecycle.StateTransition,
            matches_action=matchers.matches_action,
        )


def describe(name: str, api: LaunchApi | None = None) -> Any:
    """The launch description of the graph of that name in ``LAUNCHES``, with its arguments declared."""
    api = api or LaunchApi.real()
    chosen = LAUNCHES[name]
    fields = chosen.arguments.__dataclass_fields__

    def resolve(context: Any) -> list:
        arguments = parse_arguments(chosen.arguments, {key: context.launch_configurations[key] for key in fields})
        return graph_actions(chosen.build(arguments), api)

    declared = [
        api.DeclareLaunchArgument(key, default_value=_text(field.default), description=field.metadata["help"])
        for key, field in fields.items()
    ]
    return api.LaunchDescription([*declared, api.OpaqueFunction(function=resolve)])


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def graph_actions(graph: Graph, api: LaunchApi) -> list:
    """Actions that start the graph and bring it up in order."""
    return _BringUp(graph, api).next_actions()


def node_action(spec: NodeSpec, api: LaunchApi) -> Any:
    """One node as ``launch_ros`` describes it."""
    kind = api.LifecycleNode if spec.lifecycle else api.Node
    return kind(
        package=spec.package,
        executable=spec.executable,
        name=spec.name,
        namespace=spec.namespace,
        parameters=[*spec.parameters_files, dict(spec.parameters)],
        remappings=list(spec.remappings),
        ros_arguments=["--log-level", spec.log_level],
        additional_env=dict(spec.environment),
        cwd=spec.folder,
        prefix=" ".join(spec.prefix) or None,
        respawn=spec.respawn,
        respawn_delay=RESPAWN_DELAY_S,
        output="screen",
        on_exit=[api.Shutdown(reason=f"{spec.full_name} has ended")] if spec.required else None,
    )


class _BringUp:
    """Follows the nodes' states by launch's events, and answers each with the steps that have become due."""

    def __init__(self, graph: Graph, api: LaunchApi) -> None:
        self._graph = graph
        self._api = api
        self._states = {spec.full_name: State.ABSENT for spec in graph.nodes}
        self._asked: set[tuple[str, Step]] = set()
        self._actions = {spec.full_name: node_action(spec, api) for spec in graph.nodes}

    def next_actions(self) -> list:
        """Actions for the steps that are due and have not been asked for."""
        actions = []
        for spec, step in due(self._graph, self._states):
            if (spec.full_name, step) in self._asked:
                continue
            self._asked.add((spec.full_name, step))
            if step is Step.START:
                actions += self._start(spec)
            else:
                actions.append(self._change(spec, step))
        return actions

    def _start(self, spec: NodeSpec) -> list:
        api, action = self._api, self._actions[spec.full_name]
        appeared = State.UNCONFIGURED if spec.lifecycle else State.ACTIVE
        handlers = [
            api.OnProcessStart(target_action=action, on_start=partial(self._moved, spec, appeared)),
            api.OnProcessExit(target_action=action, on_exit=partial(self._moved, spec, State.ABSENT)),
        ]
        if spec.lifecycle:
            handlers.append(
                api.EventHandler(
                    matcher=lambda event: isinstance(event, api.StateTransition) and event.action is action,
                    entities=[api.OpaqueFunction(function=partial(self._transition, spec))],
                )
            )
        return [*map(api.RegisterEventHandler, handlers), action]

    def _change(self, spec: NodeSpec, step: Step) -> Any:
        matcher = self._api.matches_action(self._actions[spec.full_name])
        return self._api.EmitEvent(
            event=self._api.ChangeState(lifecycle_node_matcher=matcher, transition_id=TRANSITION_IDS[step])
        )

    def _transition(self, spec: NodeSpec, context: Any) -> list:
        goal = context.locals.event.goal_state
        return self._moved(spec, State(goal)) if goal in tuple(State) else []

    def _moved(self, spec: NodeSpec, state: State, *_: Any) -> list:
        """A node is in a new state; launch itself starts a process again, so START is asked for once."""
        self._states[spec.full_name] = state
        if state not in (State.UNCONFIGURED, State.ABSENT):
            return self.next_actions()
        self._asked -= {(spec.full_name, Step.CONFIGURE), (spec.full_name, Step.ACTIVATE)}
        retry = [self._retry_later(spec)] if state is State.UNCONFIGURED and self._graph.autostart else []
        return self.next_actions() + retry

    def _retry_later(self, spec: NodeSpec) -> Any:
        """A killed node's services linger in discovery, so the request that follows its respawn can be lost."""

        def retry(_: Any) -> list:
            still = self._states[spec.full_name] is State.UNCONFIGURED
            return self._moved(spec, State.UNCONFIGURED) if still else []

        return self._api.TimerAction(period=RETRY_S, actions=[self._api.OpaqueFunction(function=retry)])
