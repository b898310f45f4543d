"""The vehicle's side of one session of secure aggregation."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping

import msgspec
import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from . import shamir
from .keys import neighbours, pair_seed, seal, sealer, unseal
from .messages import Advertisement, Roster, Shares, UnmaskReply, UnmaskRequest, decode, encode
from .refusal import SecAggReason, SecAggRefused
from .ring import add_masks, to_ring
from .settings import SecAggSettings

Sign = Callable[[bytes], bytes]
Verify = Callable[[Advertisement, bytes], bool]  # an advertisement, the message that its signature is for


class Secrets(msgspec.Struct):
    """All of a vehicle's session that a restart must not lose; only the vehicle may read it.

    `step`: the next one. `held`: shares of the seed and of the mask key by owner, this vehicle's own among them.
    """

    vehicle: str
    session: bytes
    seal_key: bytes
    mask_key: bytes
    seed: bytes
    step: int = 0
    advertisement: Advertisement | None = None
    roster: Roster | None = None
    held: dict[str, tuple[bytes, bytes]] = {}


class SecAggClient:
    """Steps in order, each once: `advertise`, `share`, `collect`, `mask`, `unmask`.

    `sign` and `verify` are the fleet's identities (Ed25519 over certificates). `state` after a step and `load_state`
    after a restart continue a session. Store it before the step's message is sent, and the masked update before the
    state: a vehicle that masked two different updates, or answered two requests, would give itself away.
    """

    def __init__(self, vehicle: str, session: bytes, settings: SecAggSettings, sign: Sign, verify: Verify) -> None:
        self.vehicle = vehicle
        self._settings = settings
        self._sign = sign
        self._verify = verify
        self._adopt(
            Secrets(
                vehicle,
                session,
                *(X25519PrivateKey.generate().private_bytes_raw() for _ in range(2)),
                secrets.token_bytes(shamir.SECRET_BYTES),
            )
        )

    @property
    def step(self) -> int:
        """The next step: 0 advertise, 1 share, 2 collect, 3 mask, 4 unmask, 5 none."""
        return self._kept.step

    def state(self) -> bytes:
        """Secret: for a file that only the vehicle can read."""
        return encode(self._kept)

    def load_state(self, state: bytes) -> None:
        """Go on where `state` was; raises `SecAggRefused` for another vehicle's or session's."""
        kept = decode(state, Secrets)
        if (kept.vehicle, kept.session) != (self.vehicle, self._kept.session):
            raise SecAggRefused(SecAggReason.MALFORMED_MESSAGE, "the state belongs to another session")
        self._adopt(kept)

    def advertise(self, certificate: bytes = b"") -> Advertisement:
        """Step 0; `certificate` lets the others check the signature."""
        self._at(0)
        keys = (key.public_key().public_bytes_raw() for key in (self._seal_key, self._mask_key))
        unsigned = Advertisement(self.vehicle, *keys, certificate=certificate)
        signature = self._sign(unsigned.signed_part(self._kept.session))
        self._kept.advertisement = msgspec.structs.replace(unsigned, signature=signature)
        self._kept.step = 1
        return self._kept.advertisement

    def share(self, roster: Roster) -> Shares:
        """Step 1: check who takes part, and seal a share of both secrets for every neighbour."""
        self._at(1)
        self._check(roster)
        self._take_roster(roster)
        holders = [self._number[name] for name in [self.vehicle, *self._neighbours]]
        seed_shares, key_shares = (
            shamir.split(secret, self._share_threshold, holders) for secret in (self._kept.seed, self._kept.mask_key)
        )
        own = self._number[self.vehicle]
        self._kept.held = {self.vehicle: (seed_shares[own], key_shares[own])}
        sealed = {}
        for name in self._neighbours:
            cipher = sealer(self._seal_key, self._members[name].seal_key, self._roster, self.vehicle, name)
            number = self._number[name]
            sealed[name] = seal(cipher, seed_shares[number] + key_shares[number])
        self._kept.step = 2
        return Shares(self.vehicle, hashlib.sha256(self._kept.seed).digest(), sealed)

    def collect(self, inbox: Mapping[str, bytes]) -> None:
        """Step 2: open the shares, by sender, of the neighbours that are still there."""
        self._at(2)
        opened = {}
        for sender, sealed in inbox.items():
            if sender not in self._neighbours:
                raise SecAggRefused(SecAggReason.UNKNOWN_VEHICLE, f"{sender!r} is not a neighbour")
            opened[sender] = self._open(sender, sealed)
        if len(opened) + 1 < self._share_threshold:
            raise SecAggRefused(SecAggReason.BELOW_THRESHOLD, f"{len(inbox)} neighbours are left")
        self._kept.held |= opened
        self._kept.step = 3

    def mask(self, values: np.ndarray, weight: float = 1.0) -> np.ndarray:
        """Step 3: `values` float32 (n,) in ±value_range, weighted by `weight` in (0, 1], under all masks.

        Result uint32 (n + 1,).
        """
        self._at(3)
        seeds: dict[bool, list[bytes]] = {True: [self._kept.seed], False: []}
        for name in self._kept.held.keys() - {self.vehicle}:
            seed = pair_seed(self._mask_key, self._members[name].mask_key, self._roster, self.vehicle, name)
            seeds[self.vehicle < name].append(seed)
        ring = to_ring(values, weight, self._settings)
        add_masks(ring, seeds[True], seeds[False])
        self._kept.step = 4
        return ring

    def unmask(self, request: UnmaskRequest) -> UnmaskReply:
        """Step 4: for each vehicle one share of one of its secrets; raises `SecAggRefused` below the threshold."""
        self._at(3, 4)  # 3: a restart came between the masked update and the state
        survivors = set(request.survivors)
        if request.session != self._kept.session or not {self.vehicle} <= survivors <= set(self._members):
            raise SecAggRefused(SecAggReason.MALFORMED_MESSAGE, "the request is not of this session and vehicle")
        if len(survivors) < self._settings.threshold:
            raise SecAggRefused(
                SecAggReason.BELOW_THRESHOLD, f"{len(survivors)} survivors, at least {self._settings.threshold}"
            )
        self._kept.step = 5
        return UnmaskReply(
            self.vehicle,
            {name: seed for name, (seed, _) in self._kept.held.items() if name in survivors},
            {name: key for name, (_, key) in self._kept.held.items() if name not in survivors},
        )

    def _at(self, *steps: int) -> None:
        if self.step not in steps:
            raise SecAggRefused(SecAggReason.OUT_OF_ORDER, f"step {steps[0]}, the next is {self.step}")

    def _adopt(self, kept: Secrets) -> None:
        self._kept = kept
        self._seal_key = X25519PrivateKey.from_private_bytes(kept.seal_key)
        self._mask_key = X25519PrivateKey.from_private_bytes(kept.mask_key)
        if kept.roster is not None:
            self._take_roster(kept.roster)

    def _take_roster(self, roster: Roster) -> None:
        self._kept.roster, self._roster = roster, roster.digest()
        self._members = {member.vehicle: member for member in roster.members}
        self._number = {member.vehicle: number for number, member in enumerate(roster.members, 1)}
        self._neighbours = neighbours(roster, self._settings.neighbours)[self.vehicle]
        self._share_threshold = self._settings.share_threshold(len(self._neighbours))

    def _check(self, roster: Roster) -> None:
        names, own = [member.vehicle for member in roster.members], self._kept.advertisement
        if roster.session != self._kept.session or names != sorted(set(names)) or own not in roster.members:
            raise SecAggRefused(SecAggReason.BAD_ROSTER, "the roster is not of this session, sorted, with this vehicle")
        if not self._settings.threshold <= len(names) <= self._settings.num_vehicles:
            raise SecAggRefused(SecAggReason.BELOW_THRESHOLD, f"{len(names)} vehicles take part")
        for member in roster.members:
            if not self._verify(member, member.signed_part(self._kept.session)):
                raise SecAggRefused(SecAggReason.BAD_SIGNATURE, f"the keys of {member.vehicle!r} are not its own")

    def _open(self, sender: str, sealed: bytes) -> tuple[bytes, bytes]:
        cipher = sealer(self._seal_key, self._members[sender].seal_key, self._roster, sender, self.vehicle)
        try:
            plain = unseal(cipher, sealed)
        except InvalidTag as error:
            raise SecAggRefused(SecAggReason.BAD_SHARE, f"the share of {sender!r} does not open") from error
        if len(plain) != 2 * shamir.SHARE_BYTES:
            raise SecAggRefused(SecAggReason.BAD_SHARE, f"the share of {sender!r} is malformed")
        return plain[: shamir.SHARE_BYTES], plain[shamir.SHARE_BYTES :]
