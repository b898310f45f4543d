"""What the aggregator says to the vehicles of a round, again and again: neither broker nor vehicle need remember."""

from __future__ import annotations

from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ..protocol.masking import Step, in_parts
from ..protocol.topics import Topics
from ..protocol.wire import Task, encode
from .records import Phase, Round
from .rounds import RoundEngine

REPEAT_S = 5.0

Publish = Callable[[str, bytes], bool]


class Teller:
    """Tasks for those who have not sent yet, and what a session of secure aggregation asks of its vehicles."""

    def __init__(self, engine: RoundEngine, sealing_key: bytes, key: Ed25519PrivateKey, publish: Publish) -> None:
        """`sealing_key`: public, for the updates; `key` signs what is said."""
        self._engine, self._sealing_key, self._key, self._publish = engine, sealing_key, key, publish
        self._region = engine.config.federation.region
        self._told: dict[tuple[str, str], tuple[int, float]] = {}  # (vehicle, what) → round and time

    def forget(self) -> None:
        """Nobody has heard anything: the connection was cut."""
        self._told.clear()

    def tell(self, current: Round, now: float) -> None:
        """What is due in the run's latest round. `now` is a steady clock in seconds."""
        if current.phase is Phase.OPEN:
            sent = self._engine.store.senders(current.run, current.number)
            for vehicle in current.selected:
                if vehicle not in sent and self._due(vehicle, "task", current, now):
                    self._publish(Topics(self._region, vehicle).task, encode(self.task(current, vehicle), self._key))
        for vehicle, step, data in self._engine.gathering.due(current):
            if self._due(vehicle, step, current, now):
                self._say(current, vehicle, step, data)

    def task(self, current: Round, vehicle: str) -> Task:
        """What a vehicle of the round is asked."""
        return Task(
            run=current.run,
            round=current.number,
            base_version=current.base,
            vehicle=vehicle,
            deadline_s=self._engine.config.federation.deadline_s,
            sealing_key=self._sealing_key,
            plan=self._engine.plan(vehicle, current.number),
        )

    def _say(self, current: Round, vehicle: str, step: Step, data: bytes) -> None:
        topic = Topics(self._region, vehicle).session_down
        for message in in_parts(current.run, current.number, vehicle, step, data):
            self._publish(topic, encode(message, self._key))

    def _due(self, vehicle: str, what: str, current: Round, now: float) -> bool:
        """Whether it is time to say `what`, which is then taken as said."""
        told_round, told_at = self._told.get((vehicle, what), (0, 0.0))
        if told_round == current.number and now - told_at < REPEAT_S:
            return False
        self._told[vehicle, what] = current.number, now
        return True
