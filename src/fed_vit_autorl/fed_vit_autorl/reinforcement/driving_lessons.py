"""On-vehicle learning of the policy: it imitates what the shield made of its actions, where that ended well.

Filtered behavioural cloning (%BC, Chen et al. 2021) of the vehicle's own drives. Where the shield let an action pass
the label is that action, which holds the policy where it is; where it stepped in the label is the safer one, so the
policy learns to do by itself what it was made to do. Rows with the poorest return are not imitated.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from fed_vit_autorl.reinforcement.cloning import SPEED, action_errors
from fed_vit_autorl.reinforcement.demonstrations import INPUTS
from fed_vit_autorl.reinforcement.policy_release import build

RETURN_ROWS = 10
GAMMA = 0.99
POOREST = 0.05
Correct = Callable[[nn.Module], None]


@dataclass(frozen=True)
class LessonSettings:
    """`epochs` over the rows in batches of `batch_size`; Adam's `learning_rate`; `seed` of the order."""

    epochs: int = 1
    batch_size: int = 64
    learning_rate: float = 1e-3
    seed: int = 0


def returns(reward: np.ndarray) -> np.ndarray:
    """Discounted sum (N,) of the next `RETURN_ROWS` rewards (N,), Σ γ^k r_k: two seconds at five rows a second."""
    padded = np.concatenate((reward.astype(np.float64), np.zeros(RETURN_ROWS - 1)))
    return np.lib.stride_tricks.sliding_window_view(padded, RETURN_ROWS) @ GAMMA ** np.arange(RETURN_ROWS)


def weights_of(drives: Mapping[str, np.ndarray]) -> np.ndarray:
    """1 for each row (N,) that is imitated, 0 for those whose return is among the poorest.

    A correction is never dropped: what it prevented would have been worse.
    """
    corrected = drives["corrected"] > 0.5
    found = returns(drives["reward"])
    passed = found[~corrected]
    good = found >= (np.quantile(passed, POOREST) if len(passed) else -np.inf)
    return (corrected | good).astype(np.float32)


def learn(
    architecture: Mapping,
    weights: Mapping[str, np.ndarray],
    drives: Mapping[str, np.ndarray],
    settings: LessonSettings,
    trainable: Callable[[str], bool] = lambda name: True,
    correction: Callable[[nn.Module], Correct] | None = None,
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """(trained minus given weights of the tensors that `trainable` names, figures of the drives).

    `drives` are the rows of `driving_log`; `correction(model)` makes what is called between `backward` and the step.
    """
    torch.manual_seed(settings.seed)
    policy = build(architecture, weights)
    for name, parameter in policy.named_parameters():
        parameter.requires_grad_(trainable(name))
    data = {name: torch.from_numpy(np.ascontiguousarray(drives[name])) for name in (*INPUTS, "control")}
    weight = torch.from_numpy(weights_of(drives))
    learned = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    optimiser = torch.optim.Adam(learned, settings.learning_rate)
    correct = correction(policy) if correction is not None else None
    losses = []
    for _ in range(settings.epochs):
        for index in torch.randperm(len(weight)).split(settings.batch_size):
            control = policy(*(data[name][index] for name in INPUTS))[0]
            errors = action_errors(control, data["control"][index], 10.0 * data["ego"][index, SPEED])
            loss = (weight[index] * errors).mean()
            optimiser.zero_grad()
            loss.backward()
            if correct is not None:
                correct(policy)
            nn.utils.clip_grad_norm_(learned, 1.0)
            optimiser.step()
            losses.append(loss.item())
    delta = {
        name: parameter.detach().numpy() - weights[name]
        for name, parameter in policy.named_parameters()
        if parameter.requires_grad
    }
    figures = {
        "rows": float(len(weight)),
        "reward": float(drives["reward"].mean()),
        "corrected": float(drives["corrected"].mean()),
        "loss_first": losses[0],
        "loss_last": losses[-1],
    }
    return delta, {f"policy.{name}": value for name, value in figures.items()}
