"""The supervisor on real processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fed_vit_bringup.domain import free_domain
from fed_vit_bringup.graph import Graph, NodeSpec
from fed_vit_bringup.order import State
from fed_vit_bringup.process import NodeNotFoundError
from fed_vit_bringup.supervisor import BringUpError, Supervisor


def spec(name: str, executable: str = "lifecycle", **options) -> NodeSpec:
    options.setdefault("lifecycle", executable == "lifecycle")
    return NodeSpec("small", executable, name, "/test", **options)


def alive(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"


def poll_until(supervisor: Supervisor, condition, seconds: float = 60.0) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        supervisor.poll()
    return condition()


def supervise(graph: Graph, workspace: Path, **options) -> Supervisor:
    return Supervisor(graph, workspace / "log", free_domain(), **options)


def test_nodes_come_up_a_killed_and_a_frozen_one_return_and_none_is_left(workspace):
    graph = Graph((spec("first", respawn=True), spec("second", respawn=True), spec("third", "stubborn")))
    events = []
    with supervise(graph, workspace, on_event=events.append) as supervisor:
        supervisor.start()
        assert {status.state for status in supervisor.status().values()} == {State.ACTIVE}
        assert events == ["/test/first is active", "/test/second is active"]
        before = {name: status.pid for name, status in supervisor.status().items()}
        supervisor.kill("/test/first")
        supervisor.kill("/test/second", signal.SIGSTOP)
        assert poll_until(
            supervisor, lambda: all(supervisor.status()[f"/test/{n}"].respawns == 1 for n in ("first", "second"))
        )
        assert poll_until(supervisor, supervisor.is_up)
        after = {name: status.pid for name, status in supervisor.status().items()}
        assert before["/test/first"] != after["/test/first"]
        assert before["/test/second"] != after["/test/second"]
        assert before["/test/third"] == after["/test/third"]
        child = int((workspace / "log/test.third.log").read_text())
        assert alive(child)
    assert not any(map(alive, [*before.values(), *after.values(), child]))


def test_an_owner_that_does_not_look_for_a_while_loses_no_node(workspace, monkeypatch):
    monkeypatch.setattr("fed_vit_bringup.supervisor.HEARTBEAT_TIMEOUT_S", 1.5)
    with supervise(Graph((spec("first", respawn=True),)), workspace) as supervisor:
        supervisor.start()
        pid = supervisor.status()["/test/first"].pid
        time.sleep(3.0)
        for _ in range(20):
            supervisor.poll()
        assert supervisor.status()["/test/first"].pid == pid


def test_a_node_that_refuses_its_configuration_is_an_error_with_its_log(workspace):
    with (
        supervise(Graph((spec("shy", parameters={"refuse": True}),)), workspace) as supervisor,
        pytest.raises(BringUpError, match=r"(?s)/test/shy refused to configure.*configured /test/shy"),
    ):
        supervisor.start()


def test_a_required_node_ends_the_run_with_its_status(workspace):
    with supervise(Graph((spec("player", "brief", required=True),)), workspace) as supervisor:
        assert supervisor.run() == 3


def test_a_missing_program_is_an_error_before_anything_runs(workspace):
    with pytest.raises(NodeNotFoundError, match="no executable nothing"):
        supervise(Graph((spec("first"), spec("ghost", "nothing"))), workspace)
    assert not (workspace / "log").exists()


def test_the_supervisors_own_sudden_death_takes_its_nodes_along(workspace):
    program = (
        "from pathlib import Path; import time\n"
        "from fed_vit_bringup.graph import NodeSpec; from fed_vit_bringup.process import NodeProcess\n"
        "node = NodeProcess(NodeSpec('small', 'stubborn', 'n', '/test', lifecycle=False), Path('log'), {})\n"
        "print(node.pid, flush=True); time.sleep(600)"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", program], cwd=workspace, stdout=subprocess.PIPE, text=True, env=os.environ
    )
    pid = int(owner.stdout.readline())
    assert alive(pid)
    owner.kill()
    owner.wait()
    end = time.monotonic() + 20
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.05)
    assert not alive(pid)
    log = workspace / "log/test.n.log"
    if log.exists() and log.read_text():
        os.kill(int(log.read_text()), signal.SIGKILL)  # its child is not the kernel's to take
