"""A fifth of the vehicles lie: robust rules stay within 3 points of the clean run, FedAvg does not survive."""

import pytest

from fed_vit_autorl.federated.bench.byzantine import BYZANTINE, ROBUST, VEHICLES
from fed_vit_autorl.federated.bench.experiment import Training, attacked, digits_like, train

TASK = digits_like(3000, VEHICLES)
TRAINING = Training(rounds=60, hidden=32, steps=10, batch=64, learning_rate=0.7)


@pytest.fixture(scope="module")
def clean():
    percent, _ = train(TASK, TRAINING)
    assert percent > 97
    return percent


@pytest.mark.parametrize("attack", ["sign_flip", "label_flip"])
def test_fedavg_collapses(attack):
    assert train(TASK, attacked(TRAINING, attack, BYZANTINE))[0] < 30  # ten classes: chance is 10


@pytest.mark.parametrize("rule", ROBUST)
@pytest.mark.parametrize("attack", ["sign_flip", "little_is_enough"])
def test_robust_rules_hold(rule, attack, clean):
    assert train(TASK, attacked(TRAINING, attack, BYZANTINE), rule)[0] > clean - 3
