"""The aggregator's part in sessions of secure aggregation, one session per round."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress

import msgspec
import numpy as np

from ...privacy.secagg import SecAggReason, SecAggRefused, SecAggServer, SecAggSettings
from ...privacy.secagg.messages import Advertisement, Roster, Shares, UnmaskReply, decode, encode
from ..protocol.masking import Assembly, SessionMessage, Step, session_of
from .masking_book import SessionBook
from .records import Phase, Round

STEP_S = 20.0  # for vehicles that are online; a restart fits in


class Sessions:
    """Every step is in the book before it counts, so that a restart changes nothing; safe between threads.

    A step ends when all vehicles have taken it, or `step_s` after its start once the threshold has. Vehicles that
    missed one have dropped out.
    """

    def __init__(self, book: SessionBook, settings: SecAggSettings, step_s: float = STEP_S) -> None:
        self._book, self._settings, self._step_s = book, settings, step_s
        self._lock = threading.RLock()
        self._live: tuple[tuple[str, int, Phase], SecAggServer] | None = None
        self._assemblies: dict[str, Assembly] = {}
        self._since: tuple[object, float] = (None, 0.0)

    def take(self, round: Round, message: SessionMessage) -> None:
        """A vehicle's word, its signature checked; a repeat changes nothing. Raises `SecAggRefused`."""
        vehicle, step = message.vehicle, message.step
        if (message.run, message.round) != (round.run, round.number) or vehicle not in round.selected:
            raise SecAggRefused(SecAggReason.UNKNOWN_VEHICLE, f"{vehicle} is not in round {message.round}")
        data = self._assemblies.setdefault(vehicle, Assembly()).add(message)
        with self._lock:
            if data is None or vehicle in self._book.vehicles(round.run, round.number, step):
                return
            self._check(round, vehicle, step, data)
            try:
                self._book.enter(round.run, round.number, step, vehicle, data)
            except Exception:
                self._live = None  # it knows more than the book does
                raise

    def advance(self, round: Round, now: float) -> None:
        """Ends the steps of an open round that are due. `now` is a steady clock in seconds."""
        with self._lock:
            for step, closing in ((Step.KEYS, Step.ROSTER), (Step.SHARES, Step.INBOX)):
                if self._closed(round, closing) is not None:
                    continue
                expected = len(round.selected) if step is Step.KEYS else len(self._members(round))
                taken = self._book.vehicles(round.run, round.number, step)
                everybody = len(taken) == expected
                if len(taken) >= self._settings.threshold and (everybody or self._late(round, step, now)):
                    content = (
                        encode(self._server(round).roster())
                        if step is Step.KEYS
                        else msgspec.msgpack.encode(sorted(taken))
                    )
                    self._book.enter(round.run, round.number, closing, "", content)
                    self._live = None
                return

    def due(self, round: Round, senders: Iterable[str]) -> Iterator[tuple[str, Step, bytes]]:
        """(vehicle, step, data) of what the round's vehicles must hear; `senders` have sent their updates."""
        with self._lock:
            if round.phase is Phase.CLOSED:
                survivors = {vehicle for vehicle, _ in round.participants}
                with suppress(SecAggRefused):  # below the threshold nobody is asked
                    request = encode(self._server(round).request())
                    for vehicle in sorted(survivors - self._book.vehicles(round.run, round.number, Step.REPLY)):
                        yield vehicle, Step.REQUEST, request
            elif sharers := self.sharers(round):
                server = self._server(round)
                heard = self._book.vehicles(round.run, round.number, Step.READY) | set(senders)
                for vehicle in sorted(sharers - heard):
                    yield vehicle, Step.INBOX, msgspec.msgpack.encode(server.inbox(vehicle))
            elif (roster := self._closed(round, Step.ROSTER)) is not None:
                taken = self._book.vehicles(round.run, round.number, Step.SHARES)
                for vehicle in sorted(self._members(round) - taken):
                    yield vehicle, Step.ROSTER, roster

    def sharers(self, round: Round) -> set[str]:
        """Who may send a masked update: empty while keys and shares are still coming in."""
        names = self._closed(round, Step.INBOX)
        return set(msgspec.msgpack.decode(names, type=list[str])) if names is not None else set()

    def settled(self, round: Round, now: float) -> bool:
        """Whether a closed round need not wait for shares any more: all have answered, or enough and time is up."""
        with self._lock:
            replies = self._book.vehicles(round.run, round.number, Step.REPLY)
            if replies >= {vehicle for vehicle, _ in round.participants}:
                return True
            return self._late(round, Step.REPLY, now) and self._server(round).recoverable

    def mean(self, round: Round, size: int, masked: Iterable[tuple[str, np.ndarray]]) -> tuple[np.ndarray, float]:
        """Weighted mean float32 (size,) of masked updates (vehicle, uint32 (size + 1,)), and the sum of weights.

        Raises `SecAggRefused` (below_threshold) when too few vehicles sent or revealed their shares.
        """
        with self._lock:
            server = self._replayed(round, size)
            for vehicle, words in masked:
                server.add_masked(vehicle, words)
            server.request()
            self._replay_replies(round, server)
            return server.finish()

    def forget(self, round: Round) -> None:
        """Removes what was said for a round that has ended."""
        with self._lock:
            self._book.forget(round.run, round.number)
            self._live = None

    def _check(self, round: Round, vehicle: str, step: Step, data: bytes) -> None:
        if step is Step.READY:
            if vehicle not in self.sharers(round):
                raise SecAggRefused(SecAggReason.OUT_OF_ORDER, f"{vehicle} has got no shares")
            return
        server = self._server(round)
        kinds = {
            Step.KEYS: (Advertisement, server.add_advertisement),
            Step.SHARES: (Shares, server.add_shares),
            Step.REPLY: (UnmaskReply, server.add_reply),
        }
        if step not in kinds:
            raise SecAggRefused(SecAggReason.MALFORMED_MESSAGE, f"{step} is the aggregator's message")
        kind, add = kinds[step]
        content = decode(data, kind)
        if content.vehicle != vehicle:
            raise SecAggRefused(SecAggReason.UNKNOWN_VEHICLE, f"{vehicle} speaks for {content.vehicle}")
        add(content)

    def _server(self, round: Round) -> SecAggServer:
        """The session as it stands, with updates of no values: it checks what vehicles say."""
        key = round.run, round.number, round.phase
        if self._live is None or self._live[0] != key:
            server = self._replayed(round, 0)
            if round.phase is Phase.CLOSED:
                for vehicle, _ in round.participants:
                    server.add_masked(vehicle, np.zeros(1, np.uint32))
                server.request()
                self._replay_replies(round, server)
            self._live = key, server
        return self._live[1]

    def _replayed(self, round: Round, size: int) -> SecAggServer:
        server = SecAggServer(session_of(round.run, round.number), self._settings, size)
        roster = self._closed(round, Step.ROSTER)
        if roster is None:
            for data in self._book.said(round.run, round.number, Step.KEYS).values():
                server.add_advertisement(decode(data, Advertisement))
            return server
        for member in decode(roster, Roster).members:
            server.add_advertisement(member)
        server.roster()
        sharers = self.sharers(round)
        for vehicle, data in self._book.said(round.run, round.number, Step.SHARES).items():
            if not sharers or vehicle in sharers:
                server.add_shares(decode(data, Shares))
        for vehicle in sorted(sharers)[:1]:
            server.inbox(vehicle)  # ends the step
        return server

    def _replay_replies(self, round: Round, server: SecAggServer) -> None:
        for data in self._book.said(round.run, round.number, Step.REPLY).values():
            server.add_reply(decode(data, UnmaskReply))

    def _members(self, round: Round) -> set[str]:
        roster = self._closed(round, Step.ROSTER)
        return {member.vehicle for member in decode(roster, Roster).members} if roster is not None else set()

    def _closed(self, round: Round, step: Step) -> bytes | None:
        return self._book.said(round.run, round.number, step).get("")

    def _late(self, round: Round, step: Step, now: float) -> bool:
        """Counts this process's own time, so that a clock that jumps ends no step."""
        key = round.run, round.number, step
        if self._since[0] != key:
            self._since = key, now
        return now - self._since[1] >= self._step_s
