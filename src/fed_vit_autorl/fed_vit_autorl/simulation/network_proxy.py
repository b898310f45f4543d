"""A TCP proxy with the manners of a radio link, for putting a simulated network between a real client and a real
server.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from collections.abc import Callable

from .network import PACKET_BYTES, Link, NetworkSimulator

BLOCK_BYTES = 64 * 1024
RETRY_LIMIT = 7  # dot11ShortRetryLimit of IEEE 802.11: then the packet is given up, here the connection
BACKOFF_S = 0.0005
OUTAGE_POLL_S = 0.1


class NetworkProxy:
    """Listens on `port` of 127.0.0.1 and forwards to the target with the conditions that `link(seconds)` gives.

    A packet that the radio loses is sent again by the link layer: it costs its time again and a back-off, and after
    seven losses in a row the connection is cut. `cut()` cuts all connections at once.
    """

    def __init__(self, host: str, port: int, link: Callable[[float], Link], seed: int = 0) -> None:
        self._target, self._link = (host, port), link
        self._random = random.Random(seed)
        self.port = 0
        self.bytes_up = 0
        self._busy_until: dict[bool, float] = {}
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="network-proxy", daemon=True)
        self._started = time.monotonic()

    @classmethod
    def of_vehicle(cls, host: str, port: int, network: NetworkSimulator, vehicle: int, seed: int = 0) -> NetworkProxy:
        """Between a simulated vehicle and a server."""
        return cls(host, port, lambda seconds: network.link(vehicle, seconds), seed)

    def start(self) -> None:
        """Returns when it listens."""
        self._thread.start()
        self._ready.wait(10)

    def stop(self) -> None:
        """Cuts everything and ends the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def cut(self) -> None:
        """Ends all connections without a goodbye; new ones are taken."""
        self._loop.call_soon_threadsafe(self._abort)

    def __enter__(self) -> NetworkProxy:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _abort(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0, limit=BLOCK_BYTES))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        self._abort()
        server.close()
        pending = asyncio.all_tasks(self._loop)
        for task in pending:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target, limit=BLOCK_BYTES)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, far_writer}
        self._writers |= ends
        ways = [
            asyncio.ensure_future(self._carry(reader, far_writer, upward=True)),
            asyncio.ensure_future(self._carry(far_reader, writer, upward=False)),
        ]
        try:
            with contextlib.suppress(asyncio.CancelledError):  # the proxy ends
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            for end in ends:
                end.transport.abort()
            self._writers -= ends

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, upward: bool) -> None:
        """Blocks leave the radio one after the other and arrive a latency later, in order."""
        arrivals: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(64)
        delivery = asyncio.ensure_future(_deliver(arrivals, writer))
        try:
            while block := await reader.read(BLOCK_BYTES):
                link = self._link(time.monotonic() - self._started)
                while not link.hops:
                    await asyncio.sleep(OUTAGE_POLL_S)
                    link = self._link(time.monotonic() - self._started)
                airtime = self._airtime(len(block), link)
                if airtime is None:
                    return
                now = time.monotonic()
                sent = max(now, self._busy_until.get(upward, 0.0)) + airtime
                self._busy_until[upward] = sent
                if upward:
                    self.bytes_up += len(block)
                await arrivals.put((sent + link.latency_s, block))
                if sent - now > 0.002:
                    await asyncio.sleep(sent - now)
            await arrivals.put((0.0, b""))
            await delivery  # the end comes after all that was sent before it
        except OSError:
            return
        finally:
            delivery.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await delivery

    def _airtime(self, size: int, link: Link) -> float | None:
        """Seconds that the radio is busy with so many bytes; None when a packet was lost too often."""
        seconds = 8 * size / link.bandwidth
        for _ in range(-(-size // PACKET_BYTES)):
            tries = 0
            while self._random.random() < link.loss:
                tries += 1
                if tries > RETRY_LIMIT:
                    return None
                seconds += 8 * PACKET_BYTES / link.bandwidth + BACKOFF_S
        return seconds


async def _deliver(arrivals: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
    """Returns after an empty block, when the kernel has all that came before it."""
    writer.transport.set_write_buffer_limits(0)
    while True:
        due, block = await arrivals.get()
        if not block:
            return
        delay = due - time.monotonic()
        if delay > 0:
            await asyncio.sleep(delay)
        writer.write(block)
        await writer.drain()
