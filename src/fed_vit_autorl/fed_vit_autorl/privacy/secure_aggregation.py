"""All parties of a secure aggregation in one process: for research, simulation and tests of the protocol."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ..federated.update import Layout, Tensors
from .secagg import SecAggClient, SecAggReason, SecAggRefused, SecAggServer, SecAggSettings
from .secagg.messages import Advertisement

PROTOCOLS = ("shamir_secret_sharing",)


@dataclass(frozen=True)
class EncryptedUpdate:
    """A masked update: without the others' of its round its words are random."""

    vehicle: str
    words: np.ndarray


@dataclass(frozen=True)
class EncryptedSum:
    """A sum from which the masks have not been taken yet."""

    survivors: tuple[str, ...]


class SecureAggregator:
    """`encrypt_update` for each vehicle, `aggregate_encrypted`, `decrypt`; a fresh session after every `decrypt`.

    `num_vehicles` vehicles named `vehicle-0` …; `threshold` of them must be in the sum, or nothing can be read.
    Values are in ±`value_range`. `neighbours`: see `SecAggSettings`.
    """

    def __init__(
        self,
        num_vehicles: int = 100,
        threshold: int = 80,
        protocol: str = "shamir_secret_sharing",
        value_range: float = 1.0,
        neighbours: int | None = None,
    ) -> None:
        if protocol not in PROTOCOLS:
            raise SecAggRefused(SecAggReason.BAD_SETTINGS, f"protocol {protocol!r}, known: {', '.join(PROTOCOLS)}")
        self._settings = SecAggSettings(num_vehicles, threshold, neighbours, value_range)
        self.vehicles = [f"vehicle-{index}" for index in range(num_vehicles)]
        self._identities = {vehicle: Ed25519PrivateKey.generate() for vehicle in self.vehicles}
        self._layout: Layout | None = None

    def encrypt_update(self, vehicle: str, update: Mapping[str, np.ndarray], weight: float = 1.0) -> EncryptedUpdate:
        """Mask `update` (float32 by name) of `vehicle`, counted with `weight` in (0, 1]; raises `SecAggRefused`."""
        if self._layout is None:
            self._open_session(Layout.of(update))
        assert self._layout is not None
        client = self._clients.get(vehicle)
        if client is None:
            raise SecAggRefused(SecAggReason.UNKNOWN_VEHICLE, f"{vehicle!r} is not in the fleet")
        client.collect(self._server.inbox(vehicle))
        words = client.mask(self._layout.flatten(update), weight)
        return EncryptedUpdate(vehicle, words)

    def aggregate_encrypted(self, updates: Sequence[EncryptedUpdate]) -> EncryptedSum:
        """Sum the masked updates; those that are missing have dropped out."""
        for update in updates:
            self._server.add_masked(update.vehicle, update.words)
        return EncryptedSum(tuple(self._server.request().survivors))

    def decrypt(self, total: EncryptedSum) -> Tensors:
        """Weighted mean of the survivors' updates; raises `SecAggRefused` below the threshold."""
        assert self._layout is not None
        request = self._server.request()
        for vehicle in total.survivors:
            self._server.add_reply(self._clients[vehicle].unmask(request))
        mean, _ = self._server.finish()
        layout, self._layout = self._layout, None
        return layout.unflatten(mean)

    def _open_session(self, layout: Layout) -> None:
        session = secrets.token_bytes(32)
        self._server = SecAggServer(session, self._settings, layout.size)
        self._clients = {
            vehicle: SecAggClient(vehicle, session, self._settings, self._identities[vehicle].sign, self._verify)
            for vehicle in self.vehicles
        }
        for client in self._clients.values():
            self._server.add_advertisement(client.advertise())
        roster = self._server.roster()
        for client in self._clients.values():
            self._server.add_shares(client.share(roster))
        self._layout = layout

    def _verify(self, member: Advertisement, message: bytes) -> bool:
        try:
            self._identities[member.vehicle].public_key().verify(member.signature, message)
        except (KeyError, InvalidSignature):
            return False
        return True
