"""The aggregator's side of one session of secure aggregation."""

from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from . import shamir
from .keys import neighbours, pair_seed
from .messages import Advertisement, Roster, Shares, UnmaskReply, UnmaskRequest
from .refusal import SecAggReason, SecAggRefused
from .ring import add_masks, from_ring
from .settings import SecAggSettings


class SecAggServer:
    """Collects each step's messages in any order and closes the step when asked for the next one's message.

    Memory is one update: masked updates are added as they come. Vehicles' identities are checked by the transport
    and by the vehicles. Every method raises `SecAggRefused` and leaves the session as it was.
    """

    def __init__(self, session: bytes, settings: SecAggSettings, size: int) -> None:
        """`size`: values of an update."""
        self.session = session
        self._settings = settings
        self._advertised: dict[str, Advertisement] = {}
        self._roster: Roster | None = None
        self._shares: dict[str, Shares] = {}
        self._sharing_closed = False
        self._sum = np.zeros(size + 1, np.uint32)
        self._survivors: set[str] = set()
        self._masking_closed = False
        self._replies: dict[str, UnmaskReply] = {}

    def add_advertisement(self, message: Advertisement) -> None:
        """Keys of one vehicle."""
        self._expect(self._roster is None, message.vehicle, self._advertised)
        if len(self._advertised) == self._settings.num_vehicles:
            raise SecAggRefused(SecAggReason.OVERFLOW, f"more than {self._settings.num_vehicles} vehicles")
        if {len(message.seal_key), len(message.mask_key)} != {32}:
            raise SecAggRefused(SecAggReason.MALFORMED_MESSAGE, "an X25519 key has 32 bytes")
        self._advertised[message.vehicle] = message

    def roster(self) -> Roster:
        """Who takes part: no keys are taken any more."""
        if self._roster is None:
            self._enough(len(self._advertised))
            self._roster = Roster(self.session, [self._advertised[name] for name in sorted(self._advertised)])
            self._digest = self._roster.digest()
            self._graph = neighbours(self._roster, self._settings.neighbours)
            self._number = {member.vehicle: number for number, member in enumerate(self._roster.members, 1)}
        return self._roster

    def add_shares(self, message: Shares) -> None:
        """Sealed shares of one vehicle."""
        self._expect(self._roster is not None and not self._sharing_closed, message.vehicle, self._shares)
        self._known(message.vehicle, self._number)
        if set(message.sealed) != set(self._graph[message.vehicle]):
            raise SecAggRefused(SecAggReason.MALFORMED_MESSAGE, "shares are for the neighbours and only for them")
        self._shares[message.vehicle] = message

    def inbox(self, vehicle: str) -> dict[str, bytes]:
        """What the neighbours of `vehicle` sealed for it: no shares are taken any more."""
        self._enough(len(self._shares))
        self._known(vehicle, self._shares)
        self._sharing_closed = True
        return {name: self._shares[name].sealed[vehicle] for name in self._graph[vehicle] if name in self._shares}

    def add_masked(self, vehicle: str, words: np.ndarray) -> None:
        """A vehicle's masked update, uint32 (size + 1,), joins the sum."""
        self._expect(self._sharing_closed and not self._masking_closed, vehicle, self._survivors)
        self._known(vehicle, self._shares)
        if words.dtype != np.uint32 or words.shape != self._sum.shape:
            raise SecAggRefused(SecAggReason.MALFORMED_MESSAGE, f"{words.dtype} {words.shape}, not {self._sum.shape}")
        self._sum += words
        self._survivors.add(vehicle)

    def request(self) -> UnmaskRequest:
        """Whose updates are in the sum: none is taken any more."""
        self._enough(len(self._survivors))
        self._masking_closed = True
        return UnmaskRequest(self.session, sorted(self._survivors))

    def add_reply(self, message: UnmaskReply) -> None:
        """Shares that one survivor reveals."""
        self._expect(self._masking_closed, message.vehicle, self._replies)
        self._known(message.vehicle, self._survivors)
        own_circle = {message.vehicle, *self._graph[message.vehicle]}
        if not (
            set(message.seed_shares) <= self._survivors & own_circle
            and set(message.key_shares) <= (set(self._shares) & own_circle) - self._survivors
            and all(len(share) == shamir.SHARE_BYTES for share in message.seed_shares.values())
            and all(len(share) == shamir.SHARE_BYTES for share in message.key_shares.values())
        ):
            raise SecAggRefused(SecAggReason.MALFORMED_MESSAGE, "shares of other vehicles or secrets than asked for")
        self._replies[message.vehicle] = message

    @property
    def recoverable(self) -> bool:
        """Whether the replies so far open the sum."""
        seeds = Counter(name for reply in self._replies.values() for name in reply.seed_shares)
        keys = Counter(name for reply in self._replies.values() for name in reply.key_shares)
        return all(
            (seeds if name in self._survivors else keys)[name] >= self._settings.share_threshold(len(self._graph[name]))
            for name in self._shares
        )

    def finish(self) -> tuple[np.ndarray, float]:
        """Weighted mean float32 (size,) of the survivors' values and the sum of their weights."""
        if not self._masking_closed:
            raise SecAggRefused(SecAggReason.OUT_OF_ORDER, "the masked updates are still coming in")
        plus, minus = [], [self._own_seed(name) for name in sorted(self._survivors)]
        for name in sorted(set(self._shares) - self._survivors):
            private = self._mask_key(name)
            for other in self._graph[name]:
                if other in self._survivors:
                    seed = pair_seed(private, self._advertised[other].mask_key, self._digest, name, other)
                    # What the survivor added for the pair is taken off again.
                    (minus if other < name else plus).append(seed)
        ring = self._sum.copy()
        add_masks(ring, plus, minus)
        return from_ring(ring, self._settings)

    def _own_seed(self, name: str) -> bytes:
        seed = self._recover(
            name, {reply: m.seed_shares[name] for reply, m in self._replies.items() if name in m.seed_shares}
        )
        if hashlib.sha256(seed).digest() != self._shares[name].commitment:
            raise SecAggRefused(SecAggReason.BAD_SHARE, f"shares of the seed of {name!r} are wrong")
        return seed

    def _mask_key(self, name: str) -> X25519PrivateKey:
        key = self._recover(
            name, {reply: m.key_shares[name] for reply, m in self._replies.items() if name in m.key_shares}
        )
        private = X25519PrivateKey.from_private_bytes(key)
        if private.public_key().public_bytes_raw() != self._advertised[name].mask_key:
            raise SecAggRefused(SecAggReason.BAD_SHARE, f"shares of the key of {name!r} are wrong")
        return private

    def _recover(self, name: str, shares: dict[str, bytes]) -> bytes:
        threshold = self._settings.share_threshold(len(self._graph[name]))
        return shamir.combine({self._number[holder]: share for holder, share in shares.items()}, threshold)

    def _enough(self, count: int) -> None:
        if count < self._settings.threshold:
            raise SecAggRefused(
                SecAggReason.BELOW_THRESHOLD, f"{count} vehicles, at least {self._settings.threshold} are needed"
            )

    @staticmethod
    def _expect(in_step: bool, vehicle: str, seen: object) -> None:
        if not in_step:
            raise SecAggRefused(SecAggReason.OUT_OF_ORDER, f"the step that {vehicle!r} takes is not open")
        if vehicle in seen:  # type: ignore[operator]
            raise SecAggRefused(SecAggReason.DUPLICATE, f"{vehicle!r} has taken this step")

    @staticmethod
    def _known(vehicle: str, names: object) -> None:
        if vehicle not in names:  # type: ignore[operator]
            raise SecAggRefused(SecAggReason.UNKNOWN_VEHICLE, f"{vehicle!r} does not take part in this step")
