"""`bench byzantine`: a fifth of the vehicles attack a training on real digits; accuracy of every rule."""

from __future__ import annotations

from typing import Any

from .experiment import ATTACKS, Training, attacked, train
from .tasks import digits

RULES = ("median", "trimmed_mean", "krum", "multi_krum", "bulyan", "norm_clipping", "trust_direction")
VEHICLES, BYZANTINE = 15, 3


def byzantine() -> dict[str, Any]:
    """Test accuracy in percent by attack and rule, and what each rule loses at most: against the clean FedAvg, and
    against itself without attackers (Krum takes one vehicle's update and pays for that without any attack).
    """
    task = digits(VEHICLES, alpha=100.0)
    training = Training(rounds=200, hidden=64, steps=5, batch=64, learning_rate=0.5)
    clean = {rule: train(task, training, rule)[0] for rule in ("fedavg", *RULES)}
    accuracy = {
        attack: {rule: train(task, attacked(training, attack, BYZANTINE), rule)[0] for rule in clean}
        for attack in ATTACKS
        if attack != "none"
    }
    worst = {rule: min(percents[rule] for percents in accuracy.values()) for rule in clean}
    return {
        "vehicles": VEHICLES,
        "byzantine": BYZANTINE,
        "clean": clean["fedavg"],
        "clean_by_rule": clean,
        "accuracy": accuracy,
        "largest_loss_points": {rule: clean["fedavg"] - percent for rule, percent in worst.items()},
        "largest_loss_by_attack_points": {rule: clean[rule] - percent for rule, percent in worst.items()},
    }
