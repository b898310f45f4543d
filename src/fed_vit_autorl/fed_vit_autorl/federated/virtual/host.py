"""`python -m fed_vit_autorl.federated.virtual.host FILE`: virtual vehicles in one process, each with its own link and
outbox.

Ends with SIGTERM. While the file `hold` of its configuration exists, no training ends.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from pathlib import Path

import msgspec

from ..vehicle.service import ClientService, ClientSettings
from ..vehicle.training import TrainingResult
from .vehicles import VirtualTrainer

SWEEP_S = 0.05
logger = logging.getLogger(__name__)


class HostSettings(msgspec.Struct, frozen=True):
    """`vehicles`: names; identities lie in `<folder>/vehicles/<name>`, states in `<folder>/state/<name>`."""

    folder: str
    region: str
    broker_host: str
    broker_port: int
    initial_release: str
    vehicles: list[str]
    hold: str = ""

    def client(self, vehicle: str) -> ClientSettings:
        """Of one vehicle."""
        folder = Path(self.folder)
        return ClientSettings(
            region=self.region,
            broker_host=self.broker_host,
            broker_port=self.broker_port,
            identity=folder / "vehicles" / vehicle,
            state=folder / "state" / vehicle,
            initial_release=Path(self.initial_release),
        )


class HeldTrainer(VirtualTrainer):
    """Doesn't end while a file exists."""

    def __init__(self, vehicle: str, hold: Path) -> None:
        super().__init__(vehicle)
        self._hold = hold

    def poll(self, now: float) -> TrainingResult | None:
        return None if self._hold.exists() else super().poll(now)


def run(settings: HostSettings, stopping: threading.Event) -> None:
    """Takes the vehicles' turns until `stopping` is set."""
    clients = []
    for vehicle in settings.vehicles:
        trainer = HeldTrainer(vehicle, Path(settings.hold)) if settings.hold else VirtualTrainer(vehicle)
        clients.append(ClientService(settings.client(vehicle), trainer))
        clients[-1].connect()
    while not stopping.is_set():
        started = time.monotonic()
        for client in clients:
            try:
                client.turn()
            except Exception:
                logger.exception("a virtual vehicle is at fault; trying again")
        stopping.wait(max(0.0, SWEEP_S - (time.monotonic() - started)))
    for client in clients:
        client.stop()


def main() -> None:
    """Reads the settings and runs."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    signal.signal(signal.SIGINT, lambda *_: stopping.set())
    run(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=HostSettings), stopping)


if __name__ == "__main__":
    main()
