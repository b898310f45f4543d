"""The venv of the peers, and their programs run in it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ...cli.output import CommandError

CACHE = Path.home() / ".cache" / "fed-vit-autorl"


def requirements() -> Path:
    """`requirements/bench.txt` of the checkout."""
    for folder in (Path.cwd(), *Path(__file__).resolve().parents):
        if (path := folder / "requirements" / "bench.txt").is_file():
            return path
    raise CommandError("requirements/bench.txt is not there: run the benchmarks from the checkout")


def python() -> Path:
    """Interpreter with the pinned peers, installed on the first call."""
    pins = requirements()
    key = hashlib.sha256(pins.read_bytes() + sys.version.encode()).hexdigest()[:16]
    venv = CACHE / f"bench-{key}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / f"bench-{key}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (venv / "complete").exists():
            base = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
            subprocess.run([base, "-m", "venv", "--clear", venv], check=True, env=_environment())
            install = [venv / "bin" / "pip", "install", "--quiet", "-r", pins]
            subprocess.run(install, check=True, stdout=sys.stderr, env=_environment())
            (venv / "complete").touch()
    return venv / "bin" / "python"


def run_peer(program: str, *arguments: str) -> dict[str, Any]:
    """Run `program` (a file beside this one) in the peers' venv; its last line of output is its result."""
    path = Path(__file__).with_name(program)
    done = subprocess.run(
        [python(), path, *arguments], check=True, stdout=subprocess.PIPE, text=True, env=_environment()
    )
    return json.loads(done.stdout.splitlines()[-1])


def _environment() -> dict[str, str]:
    """Ours without the variables that would put our packages and libraries before the peers'."""
    return {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH" and name[:6] != "PYTHON"}
