"""The vehicle's side of one session of secure aggregation."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from . import shamir
from .keys import neighbours, pair_seed, seal, sealer, unseal
from .messages import Advertisement, Roster, Shares, UnmaskReply, UnmaskRequest
from .refusal import SecAggReason, SecAggRefused
from .ring import add_masks, to_ring
from .settings import SecAggSettings

Sign = Callable[[bytes], bytes]
Verify = Callable[[str, bytes, bytes], bool]  # vehicle, message, signature


class SecAggClient:
    """Steps in order, each once: `advertise`, `share`, `mask`, `unmask`. Keys live in memory and for one session only.

    `sign` and `verify` are the fleet's identities (Ed25519 over certificates); a vehicle restarted in the middle of
    a session has dropped out of it.
    """

    def __init__(self, vehicle: str, session: bytes, settings: SecAggSettings, sign: Sign, verify: Verify) -> None:
        self.vehicle = vehicle
        self._session = session
        self._settings = settings
        self._sign = sign
        self._verify = verify
        self._step = 0
        self._seal_key = X25519PrivateKey.generate()
        self._mask_key = X25519PrivateKey.generate()
        self._seed = secrets.token_bytes(shamir.SECRET_BYTES)

    def advertise(self) -> Advertisement:
        """Step 0."""
        self._enter(0)
        keys = (key.public_key().public_bytes_raw() for key in (self._seal_key, self._mask_key))
        message = Advertisement(self.vehicle, *keys)
        self._advertisement = Advertisement(
            message.vehicle, message.seal_key, message.mask_key, self._sign(message.signed_part(self._session))
        )
        return self._advertisement

    def share(self, roster: Roster) -> Shares:
        """Step 2: check who takes part, and seal a share of both secrets for every neighbour."""
        self._enter(1)
        self._check(roster)
        self._roster = roster.digest()
        self._members = {member.vehicle: member for member in roster.members}
        self._number = {member.vehicle: number for number, member in enumerate(roster.members, 1)}
        self._neighbours = neighbours(roster, self._settings.neighbours)[self.vehicle]
        self._share_threshold = self._settings.share_threshold(len(self._neighbours))
        holders = [self._number[name] for name in [self.vehicle, *self._neighbours]]
        seed_shares, key_shares = (
            shamir.split(secret, self._share_threshold, holders)
            for secret in (self._seed, self._mask_key.private_bytes_raw())
        )
        own = self._number[self.vehicle]
        self._held = {self.vehicle: (seed_shares[own], key_shares[own])}
        sealed = {}
        for name in self._neighbours:
            cipher = sealer(self._seal_key, self._members[name].seal_key, self._roster, self.vehicle, name)
            number = self._number[name]
            sealed[name] = seal(cipher, seed_shares[number] + key_shares[number])
        return Shares(self.vehicle, hashlib.sha256(self._seed).digest(), sealed)

    def mask(self, values: np.ndarray, inbox: Mapping[str, bytes], weight: float = 1.0) -> np.ndarray:
        """Step 3: `values` float32 (size,) in ±value_range, weighted by `weight` in (0, 1], under all masks.

        Result uint32 (size + 1,).
        `inbox`: sealed shares by sender, from the neighbours that are still there.
        """
        self._enter(2)
        for sender, sealed in inbox.items():
            if sender not in self._neighbours:
                raise SecAggRefused(SecAggReason.UNKNOWN_VEHICLE, f"{sender!r} is not a neighbour")
            self._held[sender] = self._open(sender, sealed)
        if len(self._held) < self._share_threshold:
            raise SecAggRefused(SecAggReason.BELOW_THRESHOLD, f"{len(inbox)} neighbours are left")
        seeds: dict[bool, list[bytes]] = {True: [self._seed], False: []}
        for name in inbox:
            seed = pair_seed(self._mask_key, self._members[name].mask_key, self._roster, self.vehicle, name)
            seeds[self.vehicle < name].append(seed)
        ring = to_ring(values, weight, self._settings)
        add_masks(ring, seeds[True], seeds[False])
        return ring

    def unmask(self, request: UnmaskRequest) -> UnmaskReply:
        """Step 5: for each vehicle one share of one of its secrets; raises `SecAggRefused` below the threshold."""
        self._enter(3)
        survivors = set(request.survivors)
        if request.session != self._session or not survivors <= set(self._members):
            raise SecAggRefused(SecAggReason.MALFORMED_MESSAGE, "the request is not of this session")
        if len(survivors) < self._settings.threshold:
            raise SecAggRefused(
                SecAggReason.BELOW_THRESHOLD, f"{len(survivors)} survivors, at least {self._settings.threshold}"
            )
        return UnmaskReply(
            self.vehicle,
            {name: seed for name, (seed, _) in self._held.items() if name in survivors},
            {name: key for name, (_, key) in self._held.items() if name not in survivors},
        )

    def _enter(self, step: int) -> None:
        if self._step != step:
            raise SecAggRefused(SecAggReason.OUT_OF_ORDER, f"step {step} after step {self._step - 1}")
        self._step += 1

    def _check(self, roster: Roster) -> None:
        names = [member.vehicle for member in roster.members]
        if roster.session != self._session or names != sorted(set(names)) or self._advertisement not in roster.members:
            raise SecAggRefused(SecAggReason.BAD_ROSTER, "the roster is not of this session, sorted, with this vehicle")
        if not self._settings.threshold <= len(names) <= self._settings.num_vehicles:
            raise SecAggRefused(SecAggReason.BELOW_THRESHOLD, f"{len(names)} vehicles take part")
        for member in roster.members:
            if not self._verify(member.vehicle, member.signed_part(self._session), member.signature):
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
