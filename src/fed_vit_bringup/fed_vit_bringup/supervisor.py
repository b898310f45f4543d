"""Starts a graph as real processes, brings its lifecycle nodes up in order, watches them, and stops everything.

It has no thread of its own: its owner calls ``poll`` a few times a second, or ``run``.
"""

import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fed_vit_bringup.graph import Graph, NodeSpec
from fed_vit_bringup.lifecycle_client import STATES, LifecycleClient, Request
from fed_vit_bringup.order import State, Step, due, is_up
from fed_vit_bringup.process import NodeProcess, executable

POLL_S = 0.05
APPEAR_S = 60.0  # from a process's start to its lifecycle services
TRANSITION_S = 60.0
HEARTBEAT_PERIOD_S = 1.0
HEARTBEAT_TIMEOUT_S = 10.0
BACKOFF_S = (0.0, 1.0, 2.0, 5.0, 10.0)  # delay before the n-th respawn in a row
STEADY_S = 30.0  # a node that ran that long has a clean record again


class BringUpError(Exception):
    """A node could not be brought up; the message has the end of its log."""


@dataclass
class _Supervised:
    """What is known of one node."""

    spec: NodeSpec
    process: NodeProcess | None = None
    state: State = State.ABSENT
    request: Request | None = None
    step: Step | None = None  # the transition that ``request`` asks for; None for a heartbeat
    heard: bool = False  # this process has answered: a killed one's services linger in discovery
    deadline: float = 0.0  # when silence counts as death
    started: float = 0.0
    asked: float = 0.0
    not_before: float = 0.0
    failures: int = 0
    respawns: int = 0
    ended: bool = False


@dataclass(frozen=True)
class NodeStatus:
    """A node as its supervisor sees it."""

    state: State
    pid: int | None
    respawns: int


class Supervisor:
    """Runs one graph.

    Args:
        graph: what to run.
        log_folder: one log and one parameter file per node.
        domain_id: ROS domain of all of it.
        environment: added to every process's environment.
        on_event: told in a sentence when a node comes up, dies or is started again.
    """

    def __init__(
        self,
        graph: Graph,
        log_folder: Path,
        domain_id: int,
        environment: Mapping[str, str] | None = None,
        on_event: Callable[[str], None] = lambda text: None,
    ) -> None:
        for spec in graph.nodes:
            executable(spec)  # a missing program is an error before anything runs
        self.graph = graph
        self._log_folder = log_folder
        self._environment = {**(environment or {}), "ROS_DOMAIN_ID": str(domain_id)}
        self._on_event = on_event
        self._nodes = {spec.full_name: _Supervised(spec) for spec in graph.nodes}
        self._client = LifecycleClient([spec.full_name for spec in graph.nodes if spec.lifecycle], domain_id)
        self._was_up = False
        self._looked = time.monotonic()

    def __enter__(self) -> "Supervisor":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, timeout_s: float = 180.0) -> None:
        """Brings everything up; BringUpError when a node dies, refuses or takes too long. The owner calls ``stop``."""
        end = time.monotonic() + timeout_s
        while not self.is_up():
            self.poll()
            if time.monotonic() > end:
                late = [name for name, node in self._nodes.items() if node.state is not State.ACTIVE]
                raise BringUpError(
                    f"not up after {timeout_s:.0f} s: {', '.join(late)}{self._log_of(self._nodes[late[0]])}"
                )

    def is_up(self) -> bool:
        """Whether every node is as far as it should come."""
        return is_up(self.graph, self._states())

    def poll(self) -> None:
        """Collects answers, notices deaths and silence, takes the steps that are due; wants a call each second."""
        self._client.spin(POLL_S)
        now = time.monotonic()
        # While the owner did not look, no node can be blamed for silence.
        unseen, self._looked = now - self._looked, now
        for node in self._nodes.values():
            node.deadline += unseen if unseen > HEARTBEAT_PERIOD_S else 0.0
            self._watch(node, now)
        for spec, step in due(self.graph, self._states()):
            node = self._nodes[spec.full_name]
            if step is Step.START:
                self._spawn(node, now)
            elif node.heard and node.step is None:
                self._ask(node, self._client.change(spec.full_name, step), step)
                node.deadline = now + TRANSITION_S
        self._was_up = self._was_up or self.is_up()

    def run(self, until: Callable[[], bool] = lambda: False) -> int:
        """Polls until a required node ends or ``until`` says so; returns that node's exit status, 0 otherwise."""
        while not until():
            self.poll()
            for node in self._nodes.values():
                if node.spec.required and node.process and node.process.exit_status is not None:
                    return node.process.exit_status
        return 0

    def status(self) -> dict[str, NodeStatus]:
        """Every node's state, process id and number of respawns, by full name."""
        return {
            name: NodeStatus(node.state, node.process.pid if node.process else None, node.respawns)
            for name, node in self._nodes.items()
        }

    def kill(self, full_name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Sends a signal to one node's process, as a fault would; whether it respawns stands in the graph."""
        process = self._nodes[self.graph.node(full_name).full_name].process
        if process:
            process.send(number)

    def stop(self) -> None:
        """Stops everything in reverse order; safe to repeat."""
        for node in reversed(self._nodes.values()):
            if node.process:
                node.process.stop()
                node.process = None
            node.state = State.ABSENT
        self._client.close()

    def _states(self) -> dict[str, State]:
        return {name: node.state for name, node in self._nodes.items()}

    def _spawn(self, node: _Supervised, now: float) -> None:
        if node.ended or now < node.not_before:
            return
        node.process = NodeProcess(node.spec, self._log_folder, self._environment)
        node.started, node.deadline, node.heard = now, now + APPEAR_S, False
        node.state = State.UNCONFIGURED if node.spec.lifecycle else State.ACTIVE

    def _ask(self, node: _Supervised, request: Request | None, step: Step | None = None) -> None:
        if node.request:
            node.request.forget()
        node.request, node.step = request, step

    def _watch(self, node: _Supervised, now: float) -> None:
        """One node's death, answer or silence."""
        if node.process is None or node.ended:
            return
        name = node.spec.full_name
        if node.process.exit_status is not None:
            self._lost(node, f"exited with status {node.process.exit_status}", now)
        elif not node.spec.lifecycle:
            return
        elif node.request and node.request.done:
            self._answered(node, now)
        elif now > node.deadline:
            self._lost(node, f"gave no answer ({node.step or 'heartbeat'})", now)
        elif node.step is None and now >= node.asked + HEARTBEAT_PERIOD_S and self._client.ready(name):
            node.asked = now
            self._ask(node, self._client.ask_state(name))

    def _answered(self, node: _Supervised, now: float) -> None:
        response, step = node.request.response, node.step
        self._ask(node, None)
        node.heard, node.deadline = True, now + HEARTBEAT_TIMEOUT_S
        if step is None:
            node.state = STATES.get(response.current_state.id, node.state)
        elif not response.success:
            self._lost(node, f"refused to {step}", now)
        else:
            node.state = State.INACTIVE if step is Step.CONFIGURE else State.ACTIVE
            if node.state is State.ACTIVE:
                self._on_event(f"{node.spec.full_name} is active")

    def _lost(self, node: _Supervised, why: str, now: float) -> None:
        """Ends what is left of the node; plans its return if it may return."""
        self._ask(node, None)
        if node.spec.required and node.process.exit_status is not None:
            node.ended = True
            return
        node.process.kill()
        message = f"{node.spec.full_name} {why}"
        if not self._was_up:
            raise BringUpError(f"{message}{self._log_of(node)}")
        self._on_event(message)
        node.process, node.state, node.ended = None, State.ABSENT, not node.spec.respawn
        if node.spec.respawn:
            node.failures = 0 if now - node.started > STEADY_S else node.failures + 1
            node.not_before = now + BACKOFF_S[min(node.failures, len(BACKOFF_S) - 1)]
            node.respawns += 1

    def _log_of(self, node: _Supervised) -> str:
        text = node.process.last_lines() if node.process else ""
        return f"; the end of its log ({node.process.log_path}):\n{text}" if text else ""
