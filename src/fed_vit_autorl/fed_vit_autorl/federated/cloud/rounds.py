"""The rounds of a run as a durable state machine: select, collect, aggregate, evaluate, release.

Each step reads what the step before it made durable, so that a process killed anywhere goes on where it was and ends
with the same bits: participants are fixed when a round closes and are added in the order of their names.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Protocol

import safetensors.numpy

from fed_vit_autorl.deployment.fleet_config import FleetConfig

from ...privacy.ledger import PrivacyLedger
from ...privacy.refusal import PrivacyRefused
from ...privacy.secagg import SecAggRefused
from ..refusal import AggregationRefused, UpdateRefused
from ..selection import sample_vehicles
from ..strategies import STRATEGIES, Strategy
from ..submodel import split_personal
from ..update import Tensors
from .gathering import OpenStored, gathering_for
from .pipelines import Pipelines
from .profiles import Profiles
from .records import Phase, Round
from .store import Store

logger = logging.getLogger(__name__)


class RoundReason(StrEnum):
    """Why a round ended without a release."""

    TOO_FEW_VEHICLES = "too_few_vehicles"
    DRIFT = "drift"
    AGGREGATION = "aggregation"
    STOPPED = "stopped"


class Releases(Protocol):
    """What the rounds need of the models."""

    @property
    def version(self) -> int:
        """The release in force."""

    def weights(self, version: int) -> Tensors:
        """Trainable tensors of a release."""

    def evaluate(self, version: int, weights: Tensors | None) -> dict[str, float]:
        """Figures on the reference set of a release, or of it with other `weights`; {} without a set."""

    def publish(self, round: Round, weights: Tensors, metrics: dict[str, float], control: Tensors) -> int:
        """Signs and publishes the candidate of a round, the base with new `weights`, once however often it is called;
        returns its version.

        `control`: what vehicles train the next round with besides the model, {} for nothing (`control.CONTROL`).
        """


class RoundEngine:
    """Drives the rounds; `tick` is called again and again from one thread."""

    def __init__(
        self,
        config: FleetConfig,
        store: Store,
        releases: Releases,
        online: Callable[[], Sequence[str]],
        open_stored: OpenStored,
    ) -> None:
        """`online()` names the vehicles that can be asked."""
        self.config, self.store, self.releases = config, store, releases
        self._online = online
        self._federation = config.federation
        self._gathering_since: float | None = None
        self._forgotten = 0  # the last round whose updates this process has removed
        self._watching: tuple[tuple[int, Phase], float] | None = None  # when this process first saw it
        config.check()
        self.profiles = Profiles(config.federation.profiles)
        pipelines = Pipelines(config.stages, self._shared, self.profiles.selections)
        self.gathering = gathering_for(config)(config, store, pipelines, open_stored)
        self._cost = config.round_cost
        self._ledger = (
            PrivacyLedger(store.folder / "privacy.sqlite", config.privacy.epsilon, config.privacy.delta)
            if self._cost
            else None
        )
        self._spent = self._ledger.spent() if self._ledger else 0.0

    @property
    def round(self) -> Round | None:
        """The run's latest round."""
        return self.store.last_round(self._federation.run)

    @property
    def finished(self) -> bool:
        latest = self.round
        return latest is not None and latest.phase.ended and latest.number >= self._federation.num_rounds

    @property
    def paused(self) -> bool:
        return self.store.setting("paused") == "1"

    @paused.setter
    def paused(self, value: bool) -> None:
        self.store.set_setting("paused", "1" if value else "")

    @property
    def privacy(self) -> tuple[float, float] | None:
        """ε spent and its budget; None for a fleet whose aggregation is not private."""
        return (self._spent, self._ledger.epsilon) if self._ledger else None

    def plan(self, vehicle: str, number: int) -> dict:
        """What a task of round `number` tells a vehicle: the pipeline, what to train and how, and how much its update
        counts.
        """
        config, federation = self.config, self._federation
        rate = federation.client_lr * federation.client_lr_decay ** (number - 1)
        training = {"lr": rate, "seed": federation.seed}
        for name in config.training.__struct_fields__:
            training[name] = getattr(config.training, name)
        return {
            "stages": config.stages,
            "trainable": federation.trainable,
            "personal": federation.personal,
            "profile": self.profiles.of(vehicle),
            "training": training,
            "strategy": STRATEGIES.build(config.strategy).client_settings(),
            "weighting": federation.weighting,
            "max_staleness": federation.asynchronous.max_staleness if federation.asynchronous else 0,
        }

    def tick(self, now: float) -> bool:
        """Takes the next step if one is due; True if it took one. `now` is a steady clock in seconds."""
        current = self.round
        if current is None or current.phase.ended:
            self._forget(current)
            return self._open_next(current, now)
        if current.phase is Phase.OPEN:
            return self._close_if_due(current, now)
        if current.phase is Phase.CLOSED:
            if not self._settled(current, now):
                return False
            self._aggregate(current)
        else:
            self._release(current)
        return True

    def stop_round(self) -> None:
        """Ends an open round without a release."""
        current = self.round
        if current is not None and current.phase is Phase.OPEN:
            self.store.advance(current, Phase.ABANDONED, reason=RoundReason.STOPPED)

    def _open_next(self, last: Round | None, now: float) -> bool:
        federation = self._federation
        number = last.number + 1 if last else 1
        if number > federation.num_rounds or self.paused or len(candidates := self._online()) < federation.min_vehicles:
            self._gathering_since = None
            return False
        if self._gathering_since is None:
            self._gathering_since = now
        if len(candidates) < federation.vehicles_per_round and now - self._gathering_since < federation.gather_s:
            return False
        self._gathering_since = None
        if not self._afford(number):
            return False
        selected = sample_vehicles(candidates, federation.vehicles_per_round, federation.seed, number)
        self.store.open_round(federation.run, number, self.releases.version, selected)
        logger.info("round %d opens with %d vehicles", number, len(selected))
        return True

    def _afford(self, number: int) -> bool:
        """Enters the round in the privacy ledger; without budget for it the run pauses."""
        if self._ledger is None or self._cost is None:
            return True
        try:
            self._spent = self._ledger.authorise(f"{self._federation.run}/{number}", self._cost)
        except PrivacyRefused as refused:
            logger.error("no round %d, paused: %s", number, refused)
            self.paused = True
            return False
        logger.info("round %d: epsilon %.4g spent of %g", number, self._spent, self._ledger.epsilon)
        return True

    def _close_if_due(self, current: Round, now: float) -> bool:
        self.gathering.advance(current, now)
        arrived = self.store.arrived(current.run, current.number)
        if not self.gathering.enough(current, arrived, self._late(current, now)):
            return False
        if arrived < self.gathering.least:
            self.store.advance(current, Phase.ABANDONED, reason=RoundReason.TOO_FEW_VEHICLES)
            logger.warning("round %d abandoned: %d of %d updates came", current.number, arrived, len(current.selected))
        else:
            self.store.close_round(current)
        return True

    def _settled(self, current: Round, now: float) -> bool:
        return self.gathering.settled(current, now) or self._late(current, now)

    def _late(self, current: Round, now: float) -> bool:
        """Counts this process's own time since it saw the round's phase, so that a clock that jumps ends no round."""
        watched = current.number, current.phase
        if self._watching is None or self._watching[0] != watched:
            self._watching = watched, now
        return now - self._watching[1] >= self._federation.deadline_s

    def _aggregate(self, current: Round) -> None:
        strategy = self._strategy(current)
        try:
            strategy.begin(self._shared(current.base), current.number)
            self.gathering.feed(current, strategy)
            model = strategy.finish()
        except (AggregationRefused, SecAggRefused, UpdateRefused) as error:
            logger.error("round %d abandoned: %s", current.number, error)
            self.store.advance(current, Phase.ABANDONED, reason=f"{RoundReason.AGGREGATION}: {error.reason}")
            return
        objects = self.store.objects
        state = strategy.state_dict()
        self.store.advance(
            current,
            Phase.AGGREGATED,
            model=objects.put(safetensors.numpy.save(model)),
            state=objects.put(safetensors.numpy.save(state)) if state else "",
        )

    def _release(self, current: Round) -> None:
        weights = safetensors.numpy.load(self.store.objects.read(current.model))
        metrics = current.metrics or self.releases.evaluate(current.base, weights)
        before = self.releases.evaluate(current.base, None)
        if drifted(before, metrics, self._federation.drift_gate):
            logger.warning("round %d held: %s after %s", current.number, metrics, before)
            self.store.advance(current, Phase.HELD, metrics=metrics, reason=RoundReason.DRIFT)
        else:
            version = self.releases.publish(current, weights, metrics, self._control(current))
            logger.info("round %d released version %d", current.number, version)
            self.store.advance(current, Phase.RELEASED, metrics=metrics, release=version)

    def _forget(self, ended: Round | None) -> None:
        """What vehicles sent is kept no longer than it is needed; after a crash the next start sees to it."""
        if ended is not None and ended.number != self._forgotten:
            self.gathering.forget(ended)
            self._forgotten = ended.number

    def _shared(self, version: int) -> Tensors:
        """The tensors of a release that vehicles train together."""
        return split_personal(self.releases.weights(version), self._federation.personal)[0]

    def _control(self, current: Round) -> Tensors:
        return self._restored(current.state).client_tensors()

    def _strategy(self, current: Round) -> Strategy:
        """The strategy with the state of the last released round."""
        released = [
            r for r in self.store.rounds(current.run) if r.phase is Phase.RELEASED and r.number < current.number
        ]
        return self._restored(released[-1].state if released else "")

    def _restored(self, state: str) -> Strategy:
        strategy = STRATEGIES.build(self.config.strategy)
        if state:
            strategy.load_state_dict(safetensors.numpy.load(self.store.objects.read(state)))
        return strategy


def drifted(before: dict[str, float], after: dict[str, float], gate: float) -> bool:
    """Whether mAP50 fell by more than the share `gate` of what it was."""
    return "map50" in before and after.get("map50", 0.0) < (1 - gate) * before["map50"]
