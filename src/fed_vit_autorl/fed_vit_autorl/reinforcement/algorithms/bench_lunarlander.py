"""``fedvit bench lunarlander``: the published table of hybrid federated-distributed learning, on LunarLander-v3.

A finished run is kept in ``bench/lunarlander`` and is not made again while its settings stay what they are.
FEDVIT_BENCH_SEEDS is the number of seeds a row that are made if they are missing; 0 only prints what is kept.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path

import msgspec
import numpy as np
from rich.progress import track
from scipy import stats

from fed_vit_autorl.deployment.processes import end_with_parent
from fed_vit_autorl.files import write_file
from fed_vit_autorl.reinforcement.algorithms.dqn import VARIANTS, DQNConfig
from fed_vit_autorl.reinforcement.algorithms.lunarlander import FEDAVG, FUSION, Outcome, Schedule, run_fleet, run_local

KEPT = Path("bench/lunarlander")
SEEDS = 5
# Of the algorithms behind the settings: whoever changes what a run computes counts it up.
VERSION = 1
SCHEDULES: dict[str, Schedule | None] = {"local": None, "fedavg": FEDAVG, "fusion": FUSION}


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    method: str
    variant: str
    clients: int

    @property
    def config(self) -> DQNConfig:
        """The learner of every client, and of the server."""
        return DQNConfig(**VARIANTS[self.variant])

    @property
    def settings(self) -> str:
        """Digest of all that a run depends on but its seed."""
        return sha256(repr((VERSION, self, self.config, SCHEDULES[self.method])).encode()).hexdigest()[:16]

    def path(self, seed: int) -> Path:
        """Where a finished run is kept."""
        return KEPT / f"{self.method}-{self.variant}-{self.clients}-{seed}.json"


ROWS = [
    Row(method, variant, clients)
    for variant in ("double", "dqn")
    for method, clients in (("local", 1), ("fusion", 3), ("fusion", 5), ("fedavg", 3), ("fedavg", 5))
]


def kept(row: Row, seed: int) -> Outcome | None:
    """A finished run, if one was kept that had the present settings."""
    path = row.path(seed)
    found = msgspec.json.decode(path.read_bytes()) if path.exists() else {}
    return msgspec.convert(found["outcome"], Outcome) if found.get("settings") == row.settings else None


def run(row: Row, seed: int) -> None:
    """Makes one run and keeps it."""
    schedule = SCHEDULES[row.method]
    outcome = run_fleet(row.config, row.clients, schedule, seed) if schedule else run_local(row.config, seed)
    content = {"settings": row.settings, "outcome": asdict(outcome)}
    write_file(row.path(seed), msgspec.json.format(msgspec.json.encode(content)) + b"\n")


def mean(values: Sequence[float]) -> float | None:
    """Mean, None of nothing."""
    return float(np.mean(values)) if values else None


def interval(values: Sequence[float]) -> list[float] | None:
    """95 % interval of the mean (Student's t), None of fewer than two."""
    if len(values) < 2:
        return None
    low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    return [float(low), float(high)]


def summary(row: Row, outcomes: Sequence[Outcome]) -> dict:
    """A row of the table: means over the ``seeds`` finished, episodes per client, steps of all clients."""
    rewards = [outcome.reward for outcome in outcomes]
    return {
        "method": f"{row.method} {row.variant}",
        "clients": row.clients,
        "reward": mean(rewards),
        "reward_ci": interval(rewards),
        "episodes": mean([outcome.episodes for outcome in outcomes]),
        "total_steps": mean([outcome.total_steps for outcome in outcomes]),
        "solved": sum(outcome.solved for outcome in outcomes),
        "seeds": len(outcomes),
    }


def bench_lunarlander() -> dict:
    """Every row of the table, over the seeds that are finished."""
    wanted = range(int(os.environ.get("FEDVIT_BENCH_SEEDS", SEEDS)))
    # A seed of each row of a variant before the next seed, so that a stopped bench has something of all of them.
    order = [(row, seed) for rows in (ROWS[:5], ROWS[5:]) for seed in wanted for row in rows]
    missing = [(row, seed) for row, seed in order if not kept(row, seed)]
    with ProcessPoolExecutor(max(1, len(os.sched_getaffinity(0)) // 2), get_context("spawn"), end_with_parent) as pool:
        tasks = [pool.submit(run, row, seed) for row, seed in missing]
        for task in track(as_completed(tasks), "lunarlander", total=len(tasks)):
            task.result()
    seeds = range(max(SEEDS, len(wanted)))
    return {"rows": [summary(row, [found for seed in seeds if (found := kept(row, seed))]) for row in ROWS]}
