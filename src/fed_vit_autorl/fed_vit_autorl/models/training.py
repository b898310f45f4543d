"""The training loop that pre-training, a vehicle's local training and central fine-tuning share."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from timm.layers import Attention
from torch import Tensor, nn

CHECKPOINT_EVERY = 200
MAX_GRADIENT_NORM = 5.0


@dataclass(frozen=True)
class TrainingOptions:
    """AdamW with linear warm-up over a share of the steps and cosine decay to zero; with `sgd` plain SGD at a constant
    rate, whose steps add up to what it travelled (SCAFFOLD).
    """

    steps: int = 300
    batch_size: int = 8
    learning_rate: float = 2e-4
    weight_decay: float = 0.05
    warmup: float = 0.05
    seed: int = 0
    workers: int = 0
    sgd: bool = False


@dataclass
class Progress:
    """What a training tells while it runs: called after every step with the parts of the loss."""

    report: Callable[[int, dict[str, float]], None] = lambda step, parts: None
    after_backward: Sequence[Callable[[nn.Module], None]] = field(default_factory=tuple)


@dataclass(frozen=True)
class Stretch:
    """A part of a training that goes on later, with weights that others have changed: up to step `last`, with the
    optimizer's memory from the file `before`, none if there is no such file, and left in `after`.
    """

    last: int
    before: Path
    after: Path


class Trainable(Protocol):
    """A module that says what it sees in inputs, and how far that is from the labels."""

    def raw(self, *inputs: Tensor) -> dict[str, Tensor]: ...

    def loss(self, raw: dict[str, Tensor], targets: Any) -> dict[str, Tensor]: ...


def fit(
    model: Trainable,
    batches: torch.utils.data.Dataset,
    options: TrainingOptions,
    progress: Progress | None = None,
    checkpoint: Path | None = None,
    left_out: Collection[str] = (),
    stretch: Stretch | None = None,
) -> dict[str, float]:
    """Train `model` in place; returns the mean parts of the loss over the last tenth of the steps.

    batches[step] has the `inputs` of the model, a tuple of tensors, and its `targets`. Parts of the
    loss that are `left_out` are not minimised.
    With a `checkpoint` file the training goes on from it when it exists, exactly as if it had not stopped, and saves
    to it every 200 steps and at the end. With a `stretch` only its steps are done. Raises FloatingPointError when the
    loss is no longer finite.
    """
    progress = progress or Progress()
    device = next(model.parameters()).device
    if options.sgd:
        optimizer: torch.optim.Optimizer = torch.optim.SGD(model.parameters(), options.learning_rate)
    else:
        optimizer = torch.optim.AdamW(_groups(model, options.weight_decay), options.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _factor(step, options))
    first, last = 0, stretch.last if stretch else options.steps
    if checkpoint and checkpoint.exists():
        first = _restore(checkpoint, model, optimizer, schedule)
    elif stretch and stretch.before.exists():
        first = _restore(stretch.before, optimizer, schedule)
    loader = torch.utils.data.DataLoader(
        batches, None, sampler=range(first, last), num_workers=options.workers,
        prefetch_factor=4 if options.workers else None,
    )  # fmt: skip
    tail: list[dict[str, float]] = []
    model.train()
    fused = [module for module in model.modules() if isinstance(module, Attention) and module.fused_attn]
    for module in fused:
        module.fused_attn = device.type != "cpu"  # plain products go back through a CPU in three quarters of the time
    for step, batch in enumerate(loader, first):
        with torch.autocast(device.type, torch.bfloat16, enabled=has_fast_bfloat16(device)):
            raw = model.raw(*(tensor.to(device) for tensor in batch.inputs))
        raw = {name: tensor.float() for name, tensor in raw.items()}
        losses = model.loss(raw, batch.targets.to(device))
        losses = {name: part for name, part in losses.items() if name not in left_out}
        loss = torch.stack(list(losses.values())).sum()
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss is not finite at step {step}; a lower learning rate may help")
        optimizer.zero_grad()
        loss.backward()
        for correct in progress.after_backward:
            correct(model)
        nn.utils.clip_grad_norm_(model.parameters(), MAX_GRADIENT_NORM)
        optimizer.step()
        schedule.step()
        parts = {name: part.item() for name, part in losses.items()}
        progress.report(step, parts)
        if step >= last - 0.1 * (last - first) - 1:
            tail.append(parts)
        if checkpoint and ((step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == last):
            _save(checkpoint, step + 1, model, optimizer, schedule)
    if stretch:
        _save(stretch.after, last, optimizer, schedule)
    model.eval()
    for module in fused:
        module.fused_attn = True
    told = {name for parts in tail for name in parts}  # a batch may lack the labels of a part
    return {name: float(np.mean([parts[name] for parts in tail if name in parts])) for name in sorted(told)}


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is faster than float32 there: a GPU, or a CPU with AMX or AVX-512 instructions for it."""
    if device.type != "cpu":
        return True
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def _groups(model: nn.Module, weight_decay: float) -> list[dict]:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in trained if parameter.ndim > 1]
    rest = [parameter for parameter in trained if parameter.ndim <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]


def _factor(step: int, options: TrainingOptions) -> float:
    if options.sgd:
        return 1.0
    warm = max(1, round(options.warmup * options.steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, options.steps - warm)))


def _save(path: Path, step: int, *parts: nn.Module | torch.optim.Optimizer) -> None:
    temporary = path.with_suffix(".tmp")
    torch.save({"step": step, "states": [part.state_dict() for part in parts]}, temporary)
    temporary.replace(path)


def _restore(path: Path, *parts: nn.Module | torch.optim.Optimizer) -> int:
    saved = torch.load(path, weights_only=True)
    for part, state in zip(parts, saved["states"], strict=True):
        part.load_state_dict(state)
    return saved["step"]
