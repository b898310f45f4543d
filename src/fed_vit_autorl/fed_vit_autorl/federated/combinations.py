"""Which parts of a fleet's configuration cannot work together: refused when it is loaded, with the reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .refusal import ConfigurationReason, ConfigurationRefused
from .stages import Clip, DpNoise, SecureMask, Stage
from .strategies import CentralDP, Scaffold, Strategy, SubModels


@dataclass(frozen=True)
class FleetPlan:
    """What a configuration asks for. `stages` have passed `pipeline.check_order`.

    `profiles`: how many device classes train a part of the model.
    """

    stages: Sequence[Stage]
    strategy: Strategy
    asynchronous: bool = False
    min_vehicles: int = 1
    vehicles_per_round: int = 100
    buffer_size: int = 1
    weighting: str = "samples"
    profiles: int = 0

    @property
    def mask(self) -> SecureMask | None:
        return next((stage for stage in self.stages if isinstance(stage, SecureMask)), None)

    @property
    def clip_norm(self) -> float:
        """Of the stage clip, 0 without one."""
        return next((stage.norm for stage in self.stages if isinstance(stage, Clip)), 0.0)

    @property
    def noise(self) -> DpNoise | None:
        return next((stage for stage in self.stages if isinstance(stage, DpNoise)), None)


def _readable_under_mask(plan: FleetPlan) -> bool:
    return plan.mask is not None and plan.strategy.readable


def _shared_noise_without_mask(plan: FleetPlan) -> bool:
    return plan.noise is not None and plan.noise.vehicles > 1 and plan.mask is None


def _shared_noise_below_threshold(plan: FleetPlan) -> bool:
    return plan.noise is not None and plan.mask is not None and plan.noise.vehicles > plan.mask.threshold


_IMPOSSIBLE: tuple[tuple[Callable[[FleetPlan], bool], str], ...] = (
    (
        _readable_under_mask,
        "strategy {strategy!r} looks into single updates and secure_mask hides them: use a mean (fedavg …), and "
        "{strategy!r} in the aggregator above, which compares regions' sums",
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
        "min_vehicles {plan.min_vehicles} is below secure_mask's threshold: such a round could not be unmasked",
    ),
    (
        lambda plan: plan.mask is not None and plan.vehicles_per_round > plan.mask.num_vehicles,
        "vehicles_per_round {plan.vehicles_per_round} is more than secure_mask's num_vehicles",
    ),
    (
        lambda plan: plan.mask is not None and plan.clip_norm > plan.mask.value_range,
        "clip lets values through that secure_mask's value_range has no room for: raise value_range to clip's norm",
    ),
    (
        lambda plan: plan.mask is not None and plan.noise is not None and plan.weighting != "uniform",
        "weighting {plan.weighting!r} would weigh a masked update's noise with it, and the sum had less than it needs: "
        "use uniform",
    ),
    (
        lambda plan: plan.asynchronous and plan.buffer_size > plan.min_vehicles,
        "buffer_size {plan.buffer_size} is more than min_vehicles {plan.min_vehicles}, and a vehicle sends one update "
        "a round: the buffer might never fill",
    ),
    (
        lambda plan: plan.asynchronous and isinstance(plan.strategy, Scaffold),
        "scaffold's control variates are of one round; asynchronous buffers mix rounds: use fedavg",
    ),
    (
        lambda plan: plan.profiles > 0 and not isinstance(plan.strategy, SubModels),
        "profiles have different shapes, which only aggregation submodels puts together",
    ),
    (
        lambda plan: isinstance(plan.strategy, SubModels) and plan.profiles == 0,
        "submodels need federation.profiles: which vehicles train which part of the model",
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
        lambda plan: plan.noise is not None and plan.clip_norm > 0,
        "dp_noise clips by itself: leave out the stage clip",
    ),
)


def check_combination(plan: FleetPlan) -> None:
    """Raises `ConfigurationRefused` (impossible_combination) with what to change."""
    for impossible, message in _IMPOSSIBLE:
        if impossible(plan):
            raise ConfigurationRefused(
                ConfigurationReason.IMPOSSIBLE_COMBINATION, message.format(strategy=plan.strategy.name, plan=plan)
            )
