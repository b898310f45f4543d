"""``fedvit doctor``: what this machine has, and what to do about what is missing."""

import ctypes
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from fed_vit_autorl.cli.output import emit, json_option


@dataclass(frozen=True)
class Finding:
    """One thing looked for: what was found, whether the product runs without trouble, and what to do if not."""

    found: str
    ok: bool
    advice: str = ""


def _version(command: list[str]) -> str:
    """First line that a program prints, or an empty string where it can't be run."""
    if shutil.which(command[0]) is None:
        return ""
    result = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    return ((result.stdout or result.stderr).strip().splitlines() or [""])[0]


def _ros() -> Finding:
    if importlib.util.find_spec("rclpy") is None:
        return Finding("no rclpy", False, "run ./fedvit, which sets ROS 2 Jazzy up, or source your ROS 2")
    distribution = os.environ.get("ROS_DISTRO", "jazzy (PyPI wheels)")
    return Finding(distribution, True)


def _rmw() -> Finding:
    name = os.environ.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp (default)")
    profile = os.environ.get("FASTRTPS_DEFAULT_PROFILES_FILE", "")
    if "fastrtps" in name and not Path(profile or "/nonexistent").is_file():
        return Finding(
            name, False, "large images get dropped: set FASTRTPS_DEFAULT_PROFILES_FILE to config/fastdds.xml"
        )
    return Finding(f"{name}, profile {profile}" if profile else name, True)


def _gpu() -> Finding:
    name = _version(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"])
    return Finding(name or "none", True, "" if name else "inference and training run on the CPU")


def _tensorrt() -> Finding:
    found = importlib.util.find_spec("tensorrt") is not None
    advice = "" if found else "ONNX Runtime serves; install NVIDIA's TensorRT for engines"
    return Finding("installed" if found else "not installed", True, advice)


def _broker() -> Finding:
    version = _version(["mosquitto", "-h"])
    return Finding(version or "none", bool(version), "" if version else "apt-get install mosquitto")


def _graphics() -> Finding:
    libraries = [name for name in ("libEGL.so.1", "libOSMesa.so.8", "libOSMesa.so.6") if _loads(name)]
    return Finding(
        ", ".join(libraries) or "none",
        bool(libraries),
        "" if libraries else "apt-get install libegl1 libgl1-mesa-dri libosmesa6",
    )


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _cores() -> Finding:
    count = len(os.sched_getaffinity(0))
    return Finding(str(count), count >= 2, "" if count >= 2 else "two vehicles in real time want two cores at least")


def _memory() -> Finding:
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return Finding(f"{gib:.1f} GiB", gib >= 7.5, "" if gib >= 7.5 else "8 GiB are the least for the demo")


def _disk() -> Finding:
    gib = shutil.disk_usage(Path.home()).free / 2**30
    return Finding(
        f"{gib:.0f} GiB free", gib >= 12, "" if gib >= 12 else "make room: the environment takes about 8 GiB"
    )


CHECKS: dict[str, Callable[[], Finding]] = {
    "ros": _ros,
    "rmw": _rmw,
    "gpu": _gpu,
    "tensorrt": _tensorrt,
    "broker": _broker,
    "graphics": _graphics,
    "cores": _cores,
    "memory": _memory,
    "disk": _disk,
}


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Say what this machine has, and what to do about what is missing."""
    findings = {name: check() for name, check in CHECKS.items()}
    if as_json:
        emit({name: asdict(finding) for name, finding in findings.items()}, True)
    else:
        for name, finding in findings.items():
            mark = click.style("ok  ", fg="green") if finding.ok else click.style("want", fg="yellow")
            click.echo(f"{mark} {name:<9} {finding.found}" + (f"\n     → {finding.advice}" if finding.advice else ""))
    if not all(finding.ok for finding in findings.values()):
        raise SystemExit(1)
