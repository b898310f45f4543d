"""Safety constraints in the reward: Lagrangian multipliers that a PID controller moves (Stooke et al. 2020)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fed_vit_autorl.reinforcement.rewards import Moment


@dataclass
class PIDLagrangian:
    """The multiplier λ ≥ 0 of one constraint, cost ≤ `limit`.

    λ = max(kp Δ + ki I + kd D, 0) with the violation Δ = cost - limit, its integral I ≥ 0 and the cost's increase
    D ≥ 0: the proportional and derivative terms damp the oscillation of plain dual ascent (kp = kd = 0).
    """

    limit: float
    kp: float = 0.1
    ki: float = 0.02
    kd: float = 0.1
    multiplier: float = 0.0
    _integral: float = 0.0
    _before: float | None = None

    def update(self, cost: float) -> float:
        """The multiplier after an episode, or a batch of them, of this mean cost."""
        violation = cost - self.limit
        self._integral = max(self._integral + violation, 0.0)
        rise = 0.0 if self._before is None else max(cost - self._before, 0.0)
        self._before = cost
        self.multiplier = max(self.kp * violation + self.ki * self._integral + self.kd * rise, 0.0)
        return self.multiplier


def costs_of(moment: Moment) -> dict[str, float]:
    """What one step costs: `collision` 1 each, `speed` m/s over the limit, `lane` 1 for leaving it."""
    return {
        "collision": float(moment.collided),
        "speed": max(moment.speed - moment.speed_limit, 0.0),
        "lane": float(moment.off_lane),
    }


@dataclass
class ConstrainedReward:
    """Metres of route gained less λ_i times the cost of each constraint, over 1 + Σ λ_i so that the scale stays.

    `limits` are costs per episode that are tolerated. Call `end_episode` after each episode: it moves the multipliers.
    """

    limits: Mapping[str, float] = field(default_factory=lambda: {"collision": 0.0, "speed": 1.0, "lane": 0.5})

    def __post_init__(self) -> None:
        self.controllers = {name: PIDLagrangian(limit) for name, limit in self.limits.items()}
        self._costs = dict.fromkeys(self.controllers, 0.0)

    @property
    def multipliers(self) -> dict[str, float]:
        """λ by constraint."""
        return {name: controller.multiplier for name, controller in self.controllers.items()}

    def __call__(self, moment: Moment) -> float:
        """The reward of one step."""
        found = costs_of(moment)
        penalty = 0.0
        for name, controller in self.controllers.items():
            self._costs[name] += found[name]
            penalty += controller.multiplier * found[name]
        return (moment.progress - penalty) / (1.0 + sum(self.multipliers.values()))

    def end_episode(self) -> dict[str, float]:
        """The episode's cost by constraint; the multipliers have moved and the next episode begins."""
        costs, self._costs = self._costs, dict.fromkeys(self.controllers, 0.0)
        for name, cost in costs.items():
            self.controllers[name].update(cost)
        return costs
