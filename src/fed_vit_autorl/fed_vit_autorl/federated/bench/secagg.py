"""`bench secagg`: what secure aggregation costs a vehicle and the server, beside Flower's SecAgg+."""

from __future__ import annotations

import secrets
import time
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from ...privacy.secagg import SecAggClient, SecAggServer, SecAggSettings
from ..update import Layout
from .data import PARAMETERS, SHAPES, seconds, update_of
from .peer import run_peer

VEHICLES, DROPPED, NEIGHBOURS = 100, 10, 10


def secagg() -> dict[str, Any]:
    """One client of 5.7 million parameters with 10 neighbours; the server's unmasking with 10 of 100 dropped."""
    theirs = run_peer("flwr_secagg.py", str(NEIGHBOURS))
    layout = Layout.of({name: np.empty(shape, np.float32) for name, shape in SHAPES.items()})
    settings = SecAggSettings(VEHICLES, VEHICLES - DROPPED, NEIGHBOURS)
    session = secrets.token_bytes(32)
    server = SecAggServer(session, settings, PARAMETERS)
    names = [f"v{index:03}" for index in range(VEHICLES)]
    clients = {name: SecAggClient(name, session, settings, lambda _: b"", lambda *_: True) for name in names}
    for client in clients.values():
        server.add_advertisement(client.advertise())
    roster = server.roster()
    share_s = seconds(lambda: [server.add_shares(client.share(roster)) for client in clients.values()], 1) / VEHICLES
    update, inboxes, mask_s = update_of(0), {name: server.inbox(name) for name in names}, []
    survivors = names[:-DROPPED]
    total = np.zeros(PARAMETERS)
    for name in survivors:
        # The vehicle's whole step: flatten, quantise, agree on 10 keys, open 10 shares, add 11 masks.
        start = time.perf_counter()
        clients[name].collect(inboxes[name])
        masked = clients[name].mask(layout.flatten(update))
        mask_s.append(time.perf_counter() - start)
        server.add_masked(name, masked)
        total += layout.flatten(update)
    request = server.request()
    for name in survivors:
        server.add_reply(clients[name].unmask(request))
    sums: list[np.ndarray] = []
    unmask_s = seconds(lambda: sums.append(server.finish()[0]), 1)
    ours = float(np.median(mask_s))
    return {
        "parameters": PARAMETERS,
        "vehicles": VEHICLES,
        "dropped": DROPPED,
        "neighbours": NEIGHBOURS,
        "mask_s": ours,
        "flwr_s": theirs["client_s"],
        "ratio": theirs["client_s"] / ours,
        "floor_s": _key_streams(NEIGHBOURS + 1),
        "upload_mb": 4 * (PARAMETERS + 1) / 1e6,
        "flwr_upload_mb": theirs["upload_bytes"] / 1e6,
        "share_s": share_s,
        "unmask_s": unmask_s,
        "largest_error": float(np.abs(sums[0] - total / len(survivors)).max()),
        "flwr_parts_s": {"quantise": theirs["quantise_s"], "one_mask": theirs["one_mask_s"]},
    }


def _key_streams(count: int) -> float:
    """Time of ChaCha20 alone for `count` masks on one core."""
    zeros, stream = bytes(1 << 20), bytearray(1 << 20)

    def work() -> None:
        for _ in range(count):
            encryptor = Cipher(algorithms.ChaCha20(bytes(32), bytes(16)), None).encryptor()
            for _ in range(-(-4 * PARAMETERS // len(zeros))):
                encryptor.update_into(zeros, stream)

    return seconds(work, 3)
