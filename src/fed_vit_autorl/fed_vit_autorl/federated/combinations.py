"""Which parts of a fleet's configuration cannot work together: refused when it is loaded, with the reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .refusal import ConfigurationReason, ConfigurationRefused
from .stages import DpNoise, SecureMask, Stage
from .strategies import CentralDP, Scaffold, Strategy, SubModels


@dataclass(frozen=True)
class FleetPlan:
    """What a configuration asks for. `stages` have passed `pipeline.check_order`.

    `hierarchical`: regions send sums to a global aggregator, and `strategy` is the global one.
    """

    stages: Sequence[Stage]
    strategy: Strategy
    asynchronous: bool = False
    hierarchical: bool = False
    min_vehicles: int = 1

    @property
    def mask(self) -> SecureMask | None:
        return next((stage for stage in self.stages if isinstance(stage, SecureMask)), None)

    @property
    def noise(self) -> DpNoise | None:
        return next((stage for stage in self.stages if isinstance(stage, DpNoise)), None)


def _readable_under_mask(plan: FleetPlan) -> bool:
    return plan.mask is not None and plan.strategy.readable and not plan.hierarchical


def _shared_noise_without_mask(plan: FleetPlan) -> bool:
    return plan.noise is not None and plan.noise.vehicles > 1 and plan.mask is None


def _shared_noise_below_threshold(plan: FleetPlan) -> bool:
    return plan.noise is not None and plan.mask is not None and plan.noise.vehicles > plan.mask.threshold


_IMPOSSIBLE: tuple[tuple[Callable[[FleetPlan], bool], str], ...] = (
    (
        _readable_under_mask,
        "strategy {strategy!r} looks into single updates and secure_mask hides them: use a mean (fedavg …), or "
        "regions, whose sums it can compare",
    ),
    (
        lambda plan: plan.mask is not None and plan.asynchronous,
        "secure_mask needs the vehicles of one round together, asynchronous rounds have none; choose one of the two",
    ),
    (
        lambda plan: plan.asynchronous and not plan.strategy.streaming,
        "strategy {strategy!r} compares the updates of one round; asynchronous buffers mix rounds: use a mean",
    ),
    (
        lambda plan: plan.asynchronous and isinstance(plan.strategy, CentralDP),
        "central_dp bounds a vehicle's part in one round, and an asynchronous buffer may have it twice: use "
        "the stage dp_noise",
    ),
    (
        lambda plan: plan.mask is not None and plan.min_vehicles < plan.mask.threshold,
        "min_vehicles {min_vehicles} is below secure_mask's threshold: such a round could not be unmasked",
    ),
    (
        lambda plan: plan.mask is not None and isinstance(plan.strategy, SubModels),
        "submodels have different shapes and masked updates must have one: leave out secure_mask",
    ),
    (
        _shared_noise_without_mask,
        "dp_noise with vehicles > 1 adds a part of the noise, which is private only in a masked sum: add secure_mask "
        "or set vehicles to 1",
    ),
    (
        _shared_noise_below_threshold,
        "dp_noise counts on more vehicles than secure_mask's threshold guarantees: set vehicles to the threshold",
    ),
    (
        lambda plan: plan.noise is not None and isinstance(plan.strategy, CentralDP),
        "dp_noise and central_dp are two budgets for the same data: choose one",
    ),
    (
        lambda plan: plan.noise is not None and any(stage.name == "clip" for stage in plan.stages),
        "dp_noise clips by itself: leave out the stage clip",
    ),
)


_NOT_OVER_MQTT: tuple[tuple[Callable[[FleetPlan], bool], str], ...] = (
    (
        lambda plan: plan.mask is not None,
        "rounds over MQTT carry no session of secure aggregation yet, which secure_mask needs: use it in one process "
        "(FederatedVehicleRL, SecureAggregator)",
    ),
    (
        lambda plan: isinstance(plan.strategy, Scaffold),
        "vehicles' trainers use adaptive optimisers and get no control variate, and scaffold needs plain SGD and one: "
        "use fedprox",
    ),
    (
        lambda plan: isinstance(plan.strategy, SubModels),
        "vehicles of one fleet train one layout over MQTT; use submodels in one process",
    ),
)


def check_combination(plan: FleetPlan) -> None:
    """Raises `ConfigurationRefused` (impossible_combination) with what to change."""
    _refuse(_IMPOSSIBLE, plan)


def check_over_mqtt(plan: FleetPlan) -> None:
    """Raises `ConfigurationRefused` for what the library has and the rounds between real vehicles do not run."""
    _refuse(_NOT_OVER_MQTT, plan)


def _refuse(rules: Sequence[tuple[Callable[[FleetPlan], bool], str]], plan: FleetPlan) -> None:
    for impossible, message in rules:
        if impossible(plan):
            raise ConfigurationRefused(
                ConfigurationReason.IMPOSSIBLE_COMBINATION,
                message.format(strategy=plan.strategy.name, min_vehicles=plan.min_vehicles),
            )
