"""A workspace with one small lifecycle node and one plain process, for tests of the supervisor."""

import os
import sys
from pathlib import Path

import pytest

LIFECYCLE_NODE = """
import sys, rclpy
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
class Small(LifecycleNode):
    def __init__(self):
        super().__init__("small")
        self.declare_parameter("refuse", False)
    def on_configure(self, state):
        print("configured", self.get_fully_qualified_name(), flush=True)
        refused = self.get_parameter("refuse").value
        return TransitionCallbackReturn.FAILURE if refused else TransitionCallbackReturn.SUCCESS
rclpy.init()
node = Small()
try:
    rclpy.spin(node)
except (KeyboardInterrupt, rclpy.executors.ExternalShutdownException):
    pass
"""
# Ignores gentle signals and has a child, so that only escalation to the whole group ends it.
STUBBORN = """
import signal, subprocess, sys, time
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
child = subprocess.Popen(["sleep", "600"])
print(child.pid, flush=True)
time.sleep(600)
"""
BRIEF = "import sys; sys.exit(3)"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose ``install`` holds package ``small`` with its programs, as colcon would install them."""
    prefix = tmp_path / "install"
    index = prefix / "share/ament_index/resource_index/packages"
    programs = prefix / "lib/small"
    index.mkdir(parents=True)
    programs.mkdir(parents=True)
    (index / "small").touch()
    for name, source in {"lifecycle": LIFECYCLE_NODE, "stubborn": STUBBORN, "brief": BRIEF}.items():
        program = programs / name
        program.write_text(f"#!{sys.executable}\n{source}")
        program.chmod(0o755)
    monkeypatch.setenv("AMENT_PREFIX_PATH", os.pathsep.join([str(prefix), os.environ.get("AMENT_PREFIX_PATH", "")]))
    monkeypatch.delenv("ROS_DOMAIN_ID", raising=False)
    return tmp_path
