"""Behavioural cloning: the policy learns the expert's actions from demonstrations."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fed_vit_autorl.reinforcement.demonstrations import INPUTS, LABELS
from fed_vit_autorl.reinforcement.policy import ACCELERATION_RANGE, VisionPolicy, allowed

SPEED = 0
HOLDING = 0.3
RESIDUAL_COST = 0.1
Progress = Callable[[int, float, float], None]


@dataclass(frozen=True)
class CloningSettings:
    """`epochs`, `batch_size`, `learning_rate`; `smoothness` weighs the change of the action under input noise;
    `speed_dropout` is the share of samples without the ego's speed (against the inertia problem, Codevilla et al.
    2019); `held_out` the share of demonstrations kept for validation; `seed` of order and noise.
    """

    epochs: int = 40
    batch_size: int = 256
    learning_rate: float = 1e-3
    smoothness: float = 0.1
    speed_dropout: float = 0.1
    held_out: float = 0.1
    seed: int = 0


def clone(
    policy: VisionPolicy, data: Mapping[str, np.ndarray], settings: CloningSettings, progress: Progress | None = None
) -> dict[str, float]:
    """Train `policy` in place; the errors on the held-out share. `progress(epoch, loss, held-out loss)` per epoch.

    The held-out share is the last of the demonstrations, so that it comes from other drives than the training's; the
    weights of the epoch with the least loss on it are kept.
    """
    torch.manual_seed(settings.seed)
    tensors = {name: torch.from_numpy(np.ascontiguousarray(data[name])) for name in (*INPUTS, *LABELS)}
    count = len(tensors["ego"])
    training = count - int(settings.held_out * count)
    steps = settings.epochs * max(training // settings.batch_size, 1)
    optimiser = torch.optim.AdamW(policy.parameters(), settings.learning_rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    generator = torch.Generator().manual_seed(settings.seed)
    held_out = {name: tensor[training:] for name, tensor in tensors.items()}
    least, best = float("inf"), policy.state_dict()
    for epoch in range(settings.epochs):
        policy.train()
        total = 0.0
        order = torch.randperm(training, generator=generator)
        batches = order.split(settings.batch_size)[: max(training // settings.batch_size, 1)]
        for index in batches:
            loss = cloning_loss(policy, {name: tensor[index] for name, tensor in tensors.items()}, settings)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            total += loss.item()
        policy.eval()
        with torch.no_grad():
            loss = cloning_loss(policy, held_out, settings).item()
        if loss < least:
            least, best = loss, {name: tensor.clone() for name, tensor in policy.state_dict().items()}
        if progress is not None:
            progress(epoch, total / len(batches), loss)
    policy.load_state_dict(best)
    return cloning_errors(policy, held_out)


def cloning_loss(policy: VisionPolicy, batch: Mapping[str, Tensor], settings: CloningSettings) -> Tensor:
    """Weighted Huber losses of acceleration, steering, target speed and path, and the smoothness term.

    Departing from the model-based proposal costs a little.
    """
    inputs = _without_speed(batch, settings.speed_dropout) if policy.training else [batch[name] for name in INPUTS]
    control, path, target_speed = policy(*inputs)
    loss = action_errors(control, batch["control"], 10.0 * batch["ego"][:, SPEED]).mean()
    loss = loss + RESIDUAL_COST * (control[:, 1] - allowed(batch["ego"])).square().mean()
    loss = loss + 0.2 * functional.smooth_l1_loss(target_speed, batch["target_speed"])
    loss = loss + 0.5 * functional.smooth_l1_loss(path, batch["path"])
    if policy.training and settings.smoothness > 0.0:
        noisy = [value + 0.02 * torch.randn_like(value) for value in inputs[:-1]]
        change = policy(*noisy, inputs[-1])[0] - control
        loss = loss + settings.smoothness * change.square().sum(dim=1).mean()
    return loss


def action_errors(control: Tensor, wanted: Tensor, speed: Tensor) -> Tensor:
    """Huber losses (B,) of steering [rad] and acceleration [m/s²], both (B, 2), at `speed` (B,) [m/s].

    Frames in which to brake or to set off count more: they are few, and they are what matters. A vehicle that stands
    and is to stay only has to be held, by however much.
    """
    steering, acceleration = wanted[:, 0], wanted[:, 1].clamp(*ACCELERATION_RANGE)
    held = (speed < 0.2) & (acceleration <= 0.0)
    weight = 1.0 + 2.0 * (acceleration < -0.8).float() + 3.0 * ((speed < 2.0) & (acceleration > 0.3)).float()
    along = weight * functional.smooth_l1_loss(control[:, 1], acceleration, reduction="none", beta=0.5)
    along = torch.where(held, functional.relu(control[:, 1] + HOLDING), along)
    return along + 10.0 * functional.smooth_l1_loss(control[:, 0], steering, reduction="none", beta=0.05)


@torch.no_grad()
def cloning_errors(policy: VisionPolicy, batch: Mapping[str, Tensor]) -> dict[str, float]:
    """Mean absolute errors: `acceleration_mae` [m/s²] but while held, `steering_mae` [rad], `speed_mae`, `path_mae`."""
    policy.eval()
    control, path, target_speed = policy(*(batch[name] for name in INPUTS))
    wanted = batch["control"][:, 1].clamp(*ACCELERATION_RANGE)
    moving = (10.0 * batch["ego"][:, SPEED] >= 0.2) | (wanted > 0.0)
    return {
        "acceleration_mae": (control[:, 1] - wanted).abs()[moving].mean().item(),
        "steering_mae": (control[:, 0] - batch["control"][:, 0]).abs().mean().item(),
        "speed_mae": (target_speed - batch["target_speed"]).abs().mean().item(),
        "path_mae": (path - batch["path"]).abs().mean().item(),
    }


def _without_speed(batch: Mapping[str, Tensor], share: float) -> list[Tensor]:
    """The inputs, with the ego's speed zeroed in some samples."""
    ego = batch["ego"].clone()
    ego[torch.rand(len(ego)) < share, SPEED] = 0.0
    return [ego if name == "ego" else batch[name] for name in INPUTS]
