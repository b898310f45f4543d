"""How a round's updates come together: which count, when there are enough, and how they reach the strategy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import replace

from fed_vit_autorl.deployment.fleet_config import FleetConfig

from ...privacy.secagg import SecAggReason, SecAggRefused
from ..asynchronous import discounted
from ..protocol.masking import SessionMessage, Step
from ..selection import weighting
from ..strategies import Strategy
from ..update import Update, UpdateMetadata
from .masking import Sessions
from .masking_book import SessionBook
from .pipelines import Pipelines
from .records import Phase, Round, StoredUpdate
from .spool import Spool
from .store import Store

OpenStored = Callable[[str, int, str, str], bytes]
"""`open_stored(run, round, vehicle, digest)`: encoded bytes of a stored update that was made for that round."""


class Gathering(ABC):
    """Of one fleet. The store says what has arrived; nothing here has to survive a restart."""

    def __init__(self, config: FleetConfig, store: Store, pipelines: Pipelines, open_stored: OpenStored) -> None:
        self.config, self.store, self.pipelines = config, store, pipelines
        self._open_stored = open_stored

    @property
    def least(self) -> int:
        """Updates without which a round is not aggregated."""
        return self.config.federation.min_vehicles

    def origin(self, current: Round, number: int) -> Round | None:
        """The round `number` if an update made for it counts in the open round `current`."""
        return current if number == current.number else None

    def carries_over(self, current: Round) -> bool:
        """Whether what comes too late for `current` may count in the next round."""
        return False

    def admits(self, round: Round, vehicle: str) -> bool:
        """Whether a vehicle of the round may send its update now."""
        return vehicle in round.selected

    def enough(self, round: Round, arrived: int, late: bool) -> bool:
        """Whether an open round ends with the `arrived` updates; `late`: its deadline is over."""
        return late or arrived >= len(round.selected)

    @abstractmethod
    def check(self, origin: Round, encoded: bytes) -> UpdateMetadata:
        """Metadata of an update's bytes that can be used; raises `UpdateRefused`."""

    @abstractmethod
    def feed(self, round: Round, strategy: Strategy) -> None:
        """Adds a closed round's updates to `strategy`, in the order of their vehicles' names."""

    def advance(self, round: Round, now: float) -> None:
        """What an open round needs besides updates. `now` is a steady clock in seconds."""
        return None

    def settled(self, round: Round, now: float) -> bool:
        """Whether a closed round has all that `feed` needs, or will get no more of it."""
        return True

    def due(self, round: Round) -> Iterator[tuple[str, Step, bytes]]:
        """(vehicle, step, data) of what vehicles must be told in a session."""
        return iter(())

    def take(self, round: Round, message: SessionMessage) -> None:
        """A vehicle's word in a session; raises `SecAggRefused`."""
        raise SecAggRefused(SecAggReason.OUT_OF_ORDER, "this fleet has no sessions of secure aggregation")

    def forget(self, round: Round) -> None:
        """A round has ended: what vehicles sent for it goes."""
        for update in self._updates(round):
            self.store.objects.remove(update.digest)

    def _encoded(self, update: StoredUpdate) -> bytes:
        return self._open_stored(update.run, update.made_for, update.vehicle, update.digest)

    def _updates(self, round: Round) -> list[StoredUpdate]:
        return self.store.updates(round.run, round.number)


class Readable(Gathering):
    """Every update is decoded and weighed by itself."""

    def check(self, origin: Round, encoded: bytes) -> UpdateMetadata:
        return self.pipelines.for_bytes(origin.base, encoded).decode(encoded).metadata

    def feed(self, round: Round, strategy: Strategy) -> None:
        with Spool(self.store.folder / "spool") as spool:
            for stored in self._updates(round):
                encoded = self._encoded(stored)
                base = self.store.round(stored.run, stored.made_for).base
                update = self._shaped(round, self.pipelines.for_bytes(base, encoded).decode(encoded))
                weight = self._weight(update.metadata)
                if weight > 0:
                    # What is kept until the end of the round is kept on disk.
                    strategy.add(update if strategy.streaming else spool.keep(update), weight)

    def _shaped(self, round: Round, update: Update) -> Update:
        return update

    def _weight(self, metadata: UpdateMetadata) -> float:
        """A vehicle that claims more samples than it was asked to use counts for what it was asked."""
        most = self.config.training.max_samples
        return weighting(self.config.federation.weighting)(replace(metadata, samples=min(metadata.samples, most)))


class Buffered(Readable):
    """Asynchronous: a round ends with the first `buffer_size` updates, made for it or for one before (FedBuff)."""

    @property
    def least(self) -> int:
        return self._plan.buffer_size

    def origin(self, current: Round, number: int) -> Round | None:
        if not current.number - self._plan.max_staleness <= number <= current.number:
            return None
        return self.store.round(current.run, number) if number >= 1 else None

    def carries_over(self, current: Round) -> bool:
        return current.number < self.config.federation.num_rounds

    def enough(self, round: Round, arrived: int, late: bool) -> bool:
        return arrived >= self._plan.buffer_size

    def _shaped(self, round: Round, update: Update) -> Update:
        return discounted(update, round.base, self._plan.staleness_factor)

    @property
    def _plan(self):
        return self.config.federation.asynchronous


class Masked(Gathering):
    """Secure aggregation: vehicles exchange keys and shares as the round opens; only their sum is ever decoded."""

    def __init__(self, config: FleetConfig, store: Store, pipelines: Pipelines, open_stored: OpenStored) -> None:
        super().__init__(config, store, pipelines, open_stored)
        self._book = SessionBook(store.folder / "sessions.sqlite")
        self.sessions = Sessions(self._book, config.mask.settings())

    def admits(self, round: Round, vehicle: str) -> bool:
        return vehicle in self.sessions.sharers(round)

    def enough(self, round: Round, arrived: int, late: bool) -> bool:
        sharers = self.sessions.sharers(round)
        return late or (bool(sharers) and arrived >= len(sharers))

    def check(self, origin: Round, encoded: bytes) -> UpdateMetadata:
        return self.pipelines.of(origin.base).decode_masked(encoded)[0]

    def advance(self, round: Round, now: float) -> None:
        self.sessions.advance(round, now)

    def settled(self, round: Round, now: float) -> bool:
        return self.sessions.settled(round, now)

    def due(self, round: Round) -> Iterator[tuple[str, Step, bytes]]:
        if round.phase in (Phase.OPEN, Phase.CLOSED):
            yield from self.sessions.due(round, self.store.senders(round.run, round.number))

    def take(self, round: Round, message: SessionMessage) -> None:
        self.sessions.take(round, message)

    def feed(self, round: Round, strategy: Strategy) -> None:
        pipeline = self.pipelines.of(round.base)
        masked = ((stored.vehicle, pipeline.decode_masked(self._encoded(stored))[1]) for stored in self._updates(round))
        mean, weight = self.sessions.mean(round, pipeline.sent, masked)
        metadata = UpdateMetadata(round.number, round.base, "secure_aggregation", 0)
        strategy.add(pipeline.decode_mean(mean, metadata), weight)

    def forget(self, round: Round) -> None:
        super().forget(round)
        self.sessions.forget(round)


def gathering_for(config: FleetConfig) -> type[Gathering]:
    """The kind that a fleet's file asks for."""
    if config.mask is not None:
        return Masked
    return Buffered if config.federation.asynchronous is not None else Readable
