"""What the observer wrote, read back for the report."""

import csv
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from fed_vit_bringup.demo.observer import Observed


@dataclass(frozen=True)
class CommandLog:
    """A vehicle's commands, one entry each: stamp [s], latency [ms], speed [m/s], whether the shield intervened."""

    stamp: NDArray[np.float64]
    latency_ms: NDArray[np.float64]
    speed: NDArray[np.float64]
    intervened: NDArray[np.bool_]


def read_commands(folder: Path) -> CommandLog:
    """The commands of one vehicle's folder."""
    with (folder / "commands.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = (np.array([float(row[name]) for row in rows]) for name in ("stamp", "latency_ms", "speed"))
    return CommandLog(*columns, np.array([bool(row["reason"]) for row in rows], bool))


def read_observed(folder: Path) -> Observed:
    """What was seen of one vehicle."""
    return msgspec.json.decode((folder / "observed.json").read_bytes(), type=Observed)


def runs_release(folder: Path, version: int) -> bool:
    """Whether the vehicle was seen taking the release into use."""
    if not (folder / "observed.json").exists():
        return False
    return any(seen.version == version and seen.active and not seen.reason for seen in read_observed(folder).releases)


def latency_summary(logs: list[CommandLog]) -> dict[str, float]:
    """p50, p95, p99 and max of all vehicles' commands [ms]."""
    values = np.concatenate([log.latency_ms for log in logs])
    if not len(values):
        return dict.fromkeys(("p50", "p95", "p99", "max"), float("nan"))
    p50, p95, p99 = np.percentile(values, [50, 95, 99])
    return {"p50": float(p50), "p95": float(p95), "p99": float(p99), "max": float(values.max())}
