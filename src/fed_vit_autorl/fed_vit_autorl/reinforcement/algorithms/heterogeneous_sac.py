"""One SAC actor on unequal devices: whole, in eight bits, or with 70 % of its weights pruned, learned together."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from enum import StrEnum

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from fed_vit_autorl.refusal import Refused
from fed_vit_autorl.reinforcement.algorithms.off_policy import SAC, OffPolicyConfig, SquashedGaussianActor

DEFAULTS = OffPolicyConfig()


class DeviceClass(StrEnum):
    """What a device can carry."""

    FULL = "full"
    QUANTIZED = "quantized"
    PRUNED = "pruned"


class DeviceReason(StrEnum):
    """Why there is no actor for a device."""

    UNKNOWN_DEVICE = "unknown_device"
    UNKNOWN_CLASS = "unknown_device_class"


class DeviceRefused(Refused):
    """A device that is not in the fleet's table; `reason` says why."""


class Rounded(nn.Module):
    """A weight as its device computes it: symmetric integers of `bits` per row; the gradient passes straight through
    (Bengio et al. 2013).
    """

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.largest = 2 ** (bits - 1) - 1

    def forward(self, weight: Tensor) -> Tensor:
        """The rounded weight (O, I)."""
        scale = weight.detach().abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / self.largest
        return weight + (torch.round(weight / scale) * scale - weight).detach()


class Sparse(nn.Module):
    """A weight of which only the places of `mask` exist."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, weight: Tensor) -> Tensor:
        """The masked weight (O, I)."""
        return weight * self.mask


class HeterogeneousSAC:
    """The fleet's actor and its forms for classes of devices.

    Args:
        actor_base: the full actor, which the fleet improves.
        device_configs: class of each device by name: "full", "quantized" (8 bits) or "pruned" (70 %).

    Raises `DeviceRefused` for an unknown class.
    """

    def __init__(self, actor_base: SquashedGaussianActor, device_configs: Mapping[str, str]) -> None:
        self.full_model = actor_base
        for device, name in device_configs.items():
            if name not in DeviceClass.__members__.values():
                known = ", ".join(DeviceClass)
                raise DeviceRefused(DeviceReason.UNKNOWN_CLASS, f"{device}: {name!r}; known: {known}")
        self._classes = dict(device_configs)
        self._forms: dict[str, Callable[[], SquashedGaussianActor]] = {
            DeviceClass.FULL: lambda: deepcopy(self.full_model),
            DeviceClass.QUANTIZED: self.create_quantized_model,
            DeviceClass.PRUNED: self.create_pruned_model,
        }

    def adapt_to_device(self, device: str) -> SquashedGaussianActor:
        """A copy of the actor as this device carries it. Raises `DeviceRefused` for a device that is not known."""
        if device not in self._classes:
            raise DeviceRefused(DeviceReason.UNKNOWN_DEVICE, f"{device!r}; known: {', '.join(self._classes)}")
        return self._forms[self._classes[device]]()

    def learner(self, device: str, config: OffPolicyConfig = DEFAULTS, seed: int = 0) -> SAC:
        """A SAC learner on the device's form of the actor."""
        actor = self.adapt_to_device(device)
        linear = _layers(actor)
        return SAC(linear[0].in_features, linear[-1].out_features // 2, config, seed, actor)

    def create_quantized_model(self, bits: int = 8) -> SquashedGaussianActor:
        """A copy that computes with integers of `bits`."""
        actor = deepcopy(self.full_model)
        for layer in _layers(actor):
            parametrize.register_parametrization(layer, "weight", Rounded(bits))
        return actor

    def create_pruned_model(self, sparsity: float = 0.7) -> SquashedGaussianActor:
        """A copy without the `sparsity` share of its weights that are smallest, over all layers; it stays so."""
        actor = deepcopy(self.full_model)
        size = torch.cat([layer.weight.detach().abs().flatten() for layer in _layers(actor)])
        least = size.kthvalue(max(int(sparsity * len(size)), 1)).values if sparsity > 0.0 else size.new_tensor(-1.0)
        for layer in _layers(actor):
            parametrize.register_parametrization(layer, "weight", Sparse((layer.weight.detach().abs() > least).float()))
        return actor

    def aggregate(self, actors: Sequence[tuple[SquashedGaussianActor, float]]) -> None:
        """Moves the full actor to the mean of (actor, weight) place by place, over those that have the place.

        A weight that every device has pruned stays as it is. Devices get the result with `adapt_to_device`.
        """
        with torch.no_grad():
            for number, layer in enumerate(_layers(self.full_model)):
                parts = [(_layers(actor)[number], weight) for actor, weight in actors]
                kept = sum(weight * _present(part) for part, weight in parts)
                values = sum(weight * _present(part) * _trained(part) for part, weight in parts)
                layer.weight.copy_(torch.where(kept > 0, values / kept.clamp(min=1e-12), layer.weight))
                share = sum(weight for _, weight in parts)
                layer.bias.copy_(sum(weight * part.bias for part, weight in parts) / share)


def _layers(actor: nn.Module) -> list[nn.Linear]:
    return [module for module in actor.modules() if isinstance(module, nn.Linear)]


def _trained(layer: nn.Linear) -> Tensor:
    """The weight that is trained: a device's rounding is its own, and is not averaged."""
    return layer.parametrizations.weight.original if parametrize.is_parametrized(layer, "weight") else layer.weight


def _present(layer: nn.Linear) -> Tensor:
    """1 where the weight exists on the device."""
    if parametrize.is_parametrized(layer, "weight") and isinstance(layer.parametrizations.weight[0], Sparse):
        return layer.parametrizations.weight[0].mask
    return torch.ones_like(layer.weight)
