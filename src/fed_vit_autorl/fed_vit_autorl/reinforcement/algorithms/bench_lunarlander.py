"""``fedvit bench lunarlander``: the published table of hybrid federated-distributed learning, on LunarLander-v3.

A finished run is kept in ``out/bench/lunarlander``, so that a bench that was stopped goes on where it was.
FEDVIT_BENCH_SEEDS lowers the number of seeds a row, for a quick look.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import msgspec
import numpy as np
import torch
from rich.progress import track
from scipy import stats

from fed_vit_autorl.files import write_file
from fed_vit_autorl.reinforcement.algorithms.dqn import VARIANTS, DQNConfig
from fed_vit_autorl.reinforcement.algorithms.lunarlander import FEDAVG, FUSION, Outcome, run_fleet, run_local

KEPT = Path("out/bench/lunarlander")
SEEDS = 5


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    method: str
    variant: str
    clients: int

    @property
    def name(self) -> str:
        """Name of the row's files."""
        return f"{self.method}-{self.variant}-{self.clients}"


METHODS: dict[str, Callable[[DQNConfig, int, int], Outcome]] = {
    "local": lambda config, clients, seed: run_local(config, seed),
    "fedavg": lambda config, clients, seed: run_fleet(config, clients, FEDAVG, seed),
    "fusion": lambda config, clients, seed: run_fleet(config, clients, FUSION, seed),
}
ROWS = [Row("local", variant, 1) for variant in ("dqn", "double")] + [
    Row(method, variant, clients)
    for clients in (3, 5)
    for variant in ("dqn", "double")
    for method in ("fusion", "fedavg")
]


def run_one(row: Row, seed: int) -> Outcome:
    """One run of a row, or what is kept of it."""
    path = KEPT / f"{row.name}-{seed}.json"
    if path.exists():
        return msgspec.json.decode(path.read_bytes(), type=Outcome)
    torch.set_num_threads(1)
    outcome = METHODS[row.method](DQNConfig(**VARIANTS[row.variant]), row.clients, seed)
    write_file(path, msgspec.json.encode(asdict(outcome)))
    return outcome


def summary(row: Row, outcomes: Sequence[Outcome]) -> dict:
    """A row of the table; ``reward_ci`` is the 95 % interval of the mean over the seeds (Student's t)."""
    rewards = np.array([outcome.reward for outcome in outcomes])
    half = (
        stats.t.ppf(0.975, len(rewards) - 1) * rewards.std(ddof=1) / np.sqrt(len(rewards))
        if len(rewards) > 1
        else np.nan
    )
    return {
        "method": f"{row.method} {row.variant}",
        "clients": row.clients,
        "reward": float(rewards.mean()),
        "reward_ci": [float(rewards.mean() - half), float(rewards.mean() + half)],
        "episodes": float(np.mean([outcome.episodes for outcome in outcomes])),
        "total_steps": float(np.mean([outcome.total_steps for outcome in outcomes])),
        "solved": sum(outcome.solved for outcome in outcomes),
        "seeds": len(outcomes),
    }


def bench_lunarlander() -> dict:
    """Every row of the table; episodes are per client, steps those of all clients."""
    seeds = range(int(os.environ.get("FEDVIT_BENCH_SEEDS", SEEDS)))
    workers = max(1, len(os.sched_getaffinity(0)) // 2)
    outcomes: dict[Row, list[Outcome]] = {row: [] for row in ROWS}
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        # One seed of every row before the next, so that a stopped bench has something of all of them.
        tasks = {pool.submit(run_one, row, seed): row for seed in seeds for row in ROWS}
        for task in track(as_completed(tasks), "lunarlander", total=len(tasks)):
            outcomes[tasks[task]].append(task.result())
    return {"rows": [summary(row, found) for row, found in outcomes.items()]}
