"""`python -m fed_vit_aggregator config/aggregator.yaml`: runs the service until SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import uvicorn

from fed_vit_aggregator import settings as service_settings
from fed_vit_aggregator.service import AggregatorService
from fed_vit_aggregator.vehicle_web import vehicle_app
from fed_vit_aggregator.web import operator_app
from fed_vit_autorl.deployment.release import ReleaseRefused
from fed_vit_autorl.federated.refusal import ConfigurationRefused

REVOCATIONS_PERIOD_S = 1.0
KEEP_ALIVE_S = 20  # a handshake costs more than an idle connection


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Two servers share one loop: `serve` below handles the signals for both."""
        yield


async def serve(service: AggregatorService) -> None:
    """Runs both planes until a signal comes."""
    folder, settings = service.settings.folder, service.settings
    hosts = {settings.vehicles.host, settings.operators.host, settings.public_host, "localhost", "127.0.0.1"} - {""}
    certificate, key = service.keys.authority.issue_server(folder / "keys", "https", sorted(hosts))
    common = {
        "ssl_certfile": certificate,
        "ssl_keyfile": key,
        "log_level": "warning",
        "lifespan": "off",
        "timeout_keep_alive": KEEP_ALIVE_S,
        "timeout_graceful_shutdown": 2,
    }
    vehicles = uvicorn.Config(
        vehicle_app(service),
        settings.vehicles.host,
        settings.vehicles.port,
        ssl_ca_certs=str(service.keys.authority.ca_path),
        ssl_cert_reqs=ssl.CERT_REQUIRED,
        **common,
    )
    operators = uvicorn.Config(operator_app(service), settings.operators.host, settings.operators.port, **common)
    for config in (vehicles, operators):
        config.load()
    vehicles.ssl.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    revocations = asyncio.create_task(_follow_revocations(vehicles.ssl, service.keys.authority.crl_path))
    servers = [_Server(vehicles), _Server(operators)]

    def leave() -> None:
        for server in servers:
            server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, leave)
    await asyncio.gather(*(server.serve() for server in servers))
    revocations.cancel()


async def _follow_revocations(context: ssl.SSLContext, path: Path) -> None:
    """Loads the revocation list whenever it has changed; of several OpenSSL takes the latest."""
    known = 0
    while True:
        changed = path.stat().st_mtime_ns
        if changed != known:
            context.load_verify_locations(path)
            known = changed
        await asyncio.sleep(REVOCATIONS_PERIOD_S)


@click.command()
@click.argument("config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(config: Path) -> None:
    """Run the aggregator of one region with the settings in CONFIG."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        service = AggregatorService(service_settings.load(config))
        service.start()
    except (ConfigurationRefused, ReleaseRefused, OSError) as error:
        click.secho(f"aggregator: {error}", fg="red", err=True)
        sys.exit(2)
    try:
        asyncio.run(serve(service))
    finally:
        service.stop()


if __name__ == "__main__":
    main()
