"""`bench byzantine`: a fifth of the vehicles attack a training on real digits; accuracy of every rule."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from .experiment import ATTACKS, Training, attacked, train
from .tasks import digits

ROBUST = ("median", "trimmed_mean", "krum", "multi_krum", "bulyan", "norm_clipping", "trust_direction")
RULES = {rule: rule for rule in ("fedavg", *ROBUST)}
VEHICLES, BYZANTINE = 15, 3
IN_BUCKETS = {"fedavg": "fedavg", "krum": "krum", "krum_of_pairs": {"krum": {"bucket": 2}}}
MORE_VEHICLES, MORE_BYZANTINE = 25, 5  # the least of whom a fifth lies that are 2f + 3 pairs
SEEDS = (0, 1, 2)
STUDENT = 4.303  # 97.5 % quantile of Student's t with len(SEEDS) - 1 degrees of freedom


def byzantine() -> dict[str, Any]:
    """Test accuracy in percent by rule and attack, and what each rule loses at most: against FedAvg without attackers,
    and against itself without attackers. Every figure is [mean over the seeds, half of its 95 % interval].

    `shared`: every vehicle draws its mini-batches from all digits, as in Blanchard et al. 2017, section 5: what is lost
    is the attackers' work. `dealt`: each has 95 digits of its own, and Krum, which takes one vehicle's update, loses
    what the others know even when nobody attacks. `pairs`: 57 digits each, dealt to the number of vehicles from which
    on Krum may choose among the means of pairs.
    """
    return {
        "vehicles": VEHICLES,
        "byzantine": BYZANTINE,
        "seeds": len(SEEDS),
        "shared": _losses(RULES, VEHICLES, BYZANTINE, shared=True),
        "dealt": _losses(RULES, VEHICLES, BYZANTINE),
        "pairs": {
            "vehicles": MORE_VEHICLES,
            "byzantine": MORE_BYZANTINE,
            **_losses(IN_BUCKETS, MORE_VEHICLES, MORE_BYZANTINE),
        },
    }


def _losses(specs: Mapping[str, Any], vehicles: int, liars: int, shared: bool = False) -> dict[str, Any]:
    percents: dict[str, dict[str, list[float]]] = {attack: {rule: [] for rule in specs} for attack in ATTACKS}
    for seed in SEEDS:
        task = digits(vehicles, alpha=100.0, seed=seed)
        if shared:
            task = replace(task, parts=[np.arange(len(task.train_y))] * vehicles)
        training = Training(rounds=200, hidden=64, steps=5, batch=64, learning_rate=0.5, seed=seed)
        for attack, by_rule in percents.items():
            byzantine = 0 if attack == "none" else liars
            for rule, found in by_rule.items():
                found.append(train(task, attacked(training, attack, byzantine), specs[rule])[0])
    clean = percents.pop("none")
    return {
        "clean": {rule: _interval(found) for rule, found in clean.items()},
        "accuracy": {
            attack: {rule: _interval(found) for rule, found in rules.items()} for attack, rules in percents.items()
        },
        "largest_loss_points": {
            rule: max(_interval(np.subtract(clean["fedavg"], rules[rule])) for rules in percents.values())
            for rule in specs
        },
        "largest_loss_by_attack_points": {
            rule: max(_interval(np.subtract(clean[rule], rules[rule])) for rules in percents.values()) for rule in specs
        },
    }


def _interval(values: Any) -> list[float]:
    """[mean, half of the 95 % interval] of one value per seed."""
    found = [float(value) for value in values]
    return [statistics.mean(found), STUDENT * statistics.stdev(found) / len(found) ** 0.5]
