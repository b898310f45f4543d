"""One node's process: started with the arguments that ``launch_ros`` would give it, stopped with all its children."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import yaml
from ament_index_python.packages import PackageNotFoundError, get_package_prefix

from fed_vit_autorl.deployment.processes import dying_with_parent
from fed_vit_bringup.graph import NodeSpec

# Each signal's patience [s]: a node closes itself on the first one.
ESCALATION = ((signal.SIGINT, 5.0), (signal.SIGTERM, 2.0), (signal.SIGKILL, 2.0))


class NodeNotFoundError(Exception):
    """The node's package or executable is not in this workspace."""


def executable(spec: NodeSpec) -> Path:
    """The node's program in the installed workspace; NodeNotFoundError says what to build."""
    try:
        prefix = get_package_prefix(spec.package)
    except PackageNotFoundError:
        raise NodeNotFoundError(
            f"{spec.full_name}: package {spec.package} is not built: run scripts/setup.sh"
        ) from None
    path = Path(prefix) / "lib" / spec.package / spec.executable
    if not path.is_file():
        raise NodeNotFoundError(
            f"{spec.full_name}: {spec.package} has no executable {spec.executable}: run scripts/setup.sh"
        )
    return path


def ros_arguments(spec: NodeSpec, parameters_file: Path) -> list[str]:
    """The node's ``--ros-args``; the dictionary's parameters are in ``parameters_file`` as launch_ros writes them."""
    arguments = [
        "--ros-args",
        "-r",
        f"__node:={spec.name}",
        "-r",
        f"__ns:={spec.namespace}",
        "--log-level",
        spec.log_level,
    ]
    for path in (*spec.parameters_files, str(parameters_file)):
        arguments += ["--params-file", path]
    for source, target in spec.remappings:
        arguments += ["-r", f"{source}:={target}"]
    return arguments


class NodeProcess:
    """A running node in a process group of its own.

    The process dies with the thread that started it, whatever kills that, so start it from a thread that lives long.
    """

    def __init__(self, spec: NodeSpec, log_folder: Path, environment: Mapping[str, str]) -> None:
        stem = spec.full_name.strip("/").replace("/", ".")
        log_folder.mkdir(parents=True, exist_ok=True)
        self.log_path = log_folder / f"{stem}.log"
        parameters_file = log_folder / f"{stem}.yaml"
        parameters_file.write_text(yaml.safe_dump({spec.full_name: {"ros__parameters": dict(spec.parameters)}}))
        command = dying_with_parent([*spec.prefix, str(executable(spec)), *ros_arguments(spec, parameters_file)])
        with self.log_path.open("ab") as log:
            output = None if spec.screen else log
            self._process = subprocess.Popen(
                command,
                cwd=spec.folder,
                env={**os.environ, **environment, **spec.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                process_group=0,  # no session of its own: between sessions some kernels ignore niceness
            )
        self.pid = self._process.pid

    @property
    def exit_status(self) -> int | None:
        """None while it runs; negative when a signal ended it."""
        return self._process.poll()

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to the process and all its children; nothing happens when they are gone."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return

    def stop(self) -> signal.Signals | None:
        """Ends the process and its children, gently first; returns the last signal needed, None if it had ended."""
        needed = None
        for number, patience in ESCALATION:
            if self.exit_status is not None:
                break
            needed = number
            self.send(number)
            self._wait(patience)
        self.send(signal.SIGKILL)  # children that the node left behind
        return needed

    def kill(self) -> None:
        """Ends the process and its children at once."""
        self.send(signal.SIGKILL)
        self._process.wait()

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while self.exit_status is None and time.monotonic() < end:
            time.sleep(0.02)

    def last_lines(self, count: int = 12) -> str:
        """The end of the node's log, for an error message."""
        if not self.log_path.is_file():
            return ""
        with self.log_path.open("rb") as log:
            log.seek(max(0, self.log_path.stat().st_size - 16_384))
            return "\n".join(log.read().decode(errors="replace").splitlines()[-count:])
