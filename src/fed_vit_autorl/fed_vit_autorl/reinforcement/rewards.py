"""Rewards for driving: the weighted sum of the documentation, and CaRL's product of progress and penalties."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Moment:
    """What one step of a drive is judged by.

    `progress` [m] along the route gained in this step, `route_length` [m]; `speed`, `speed_limit` [m/s]; `jerk` [m/s³];
    `collided`, `off_lane`, `ran_red` whether that happened in this step.
    """

    progress: float
    route_length: float
    speed: float
    speed_limit: float
    jerk: float = 0.0
    collided: bool = False
    off_lane: bool = False
    ran_red: bool = False


@dataclass(frozen=True)
class WeightedReward:
    """Route +1.0 per metre gained, collision -100, leaving the lane -10, speeding -5 per m/s over the limit, comfort
    exp(-|jerk|), efficiency 0.5 × speed / limit (at most 0.5).
    """

    route: float = 1.0
    collision: float = -100.0
    lane: float = -10.0
    speeding: float = -5.0
    comfort: float = 1.0
    efficiency: float = 0.5

    def __call__(self, moment: Moment) -> float:
        """The reward of one step."""
        share = min(moment.speed / moment.speed_limit, 1.0) if moment.speed_limit > 0.0 else 0.0
        return float(
            self.route * moment.progress
            + self.collision * moment.collided
            + self.lane * moment.off_lane
            + self.speeding * max(moment.speed - moment.speed_limit, 0.0)
            + self.comfort * np.exp(-abs(moment.jerk))
            + self.efficiency * share
        )


@dataclass(frozen=True)
class CompletionReward:
    """Route completion in percent, times soft penalties in (0, 1]; a collision or a red light run costs `terminal` and
    ends the episode (Jaeger et al. 2025, CaRL).
    """

    off_lane: float = 0.2
    speeding: float = 0.5
    discomfort: float = 0.8
    jerk_limit: float = 8.37
    terminal: float = -1.0

    def __call__(self, moment: Moment) -> float:
        """The reward of one step."""
        if self.ends(moment):
            return self.terminal
        gained = 100.0 * max(moment.progress, 0.0) / moment.route_length
        gained *= self.off_lane if moment.off_lane else 1.0
        gained *= self.speeding if moment.speed > moment.speed_limit + 1.0 else 1.0
        return float(gained * (self.discomfort if abs(moment.jerk) > self.jerk_limit else 1.0))

    @staticmethod
    def ends(moment: Moment) -> bool:
        """Whether the episode is over with this step."""
        return moment.collided or moment.ran_red


REWARDS = {"weighted": WeightedReward, "completion": CompletionReward}
