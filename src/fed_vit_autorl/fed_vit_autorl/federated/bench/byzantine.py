"""`bench byzantine`: a fifth of the vehicles attack a training on real digits; accuracy of every rule."""

from __future__ import annotations

from typing import Any

from .experiment import ATTACKS, Training, attacked, train
from .tasks import digits

RULES = ("median", "trimmed_mean", "krum", "multi_krum", "bulyan", "norm_clipping", "trust_direction")
VEHICLES, BYZANTINE = 15, 3


def byzantine() -> dict[str, Any]:
    """Test accuracy in percent by attack and rule, and the worst loss of each rule against the clean FedAvg."""
    task = digits(VEHICLES, alpha=100.0)
    training = Training(rounds=100, hidden=64, steps=10, batch=64, learning_rate=0.7)
    clean, _ = train(task, training)
    accuracy = {
        attack: {rule: train(task, attacked(training, attack, BYZANTINE), rule)[0] for rule in ("fedavg", *RULES)}
        for attack in ATTACKS
        if attack != "none"
    }
    worst = {rule: max(clean - percents[rule] for percents in accuracy.values()) for rule in ("fedavg", *RULES)}
    return {
        "vehicles": VEHICLES,
        "byzantine": BYZANTINE,
        "clean": clean,
        "accuracy": accuracy,
        "largest_loss_points": worst,
    }
