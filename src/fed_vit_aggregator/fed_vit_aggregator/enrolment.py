"""`fedvit claim`, `fedvit revoke` beside the aggregator's state, and `fedvit enrol` on a vehicle."""

from __future__ import annotations

import ssl
from pathlib import Path

import click
import httpx

from fed_vit_aggregator import settings as service_settings
from fed_vit_aggregator.keyring import Keyring
from fed_vit_autorl.cli.output import CommandError, emit, json_option
from fed_vit_autorl.deployment import fleet_config
from fed_vit_autorl.deployment.identity import Identity
from fed_vit_autorl.deployment.pki import Authority, EnrolmentRefused

_CONFIG = click.argument("config", type=click.Path(exists=True, dir_okay=False, path_type=Path))


@click.command()
@_CONFIG
@click.argument("vehicle")
@json_option
def claim(config: Path, vehicle: str, as_json: bool) -> None:
    """Print a one-time secret that lets its bearer enrol as VEHICLE with the aggregator of CONFIG.

    \b
    Example:
      fedvit claim config/aggregator.yaml vehicle_7
    """
    try:
        emit({"vehicle": vehicle, "claim": _authority(config).claim(vehicle)}, as_json)
    except EnrolmentRefused as refusal:
        raise CommandError(str(refusal)) from refusal


@click.command()
@_CONFIG
@click.argument("vehicle")
@json_option
def revoke(config: Path, vehicle: str, as_json: bool) -> None:
    """Take VEHICLE's certificate back: from now on the aggregator refuses what it sends and hears nothing of it.

    The broker of `broker_folder` cuts it off too. For one that runs elsewhere `broker_told` is false: bring it the
    access list and the revocation list anew (docker/prepare_broker.py), then send mosquitto SIGHUP.

    \b
    Examples:
      fedvit revoke config/aggregator.yaml vehicle_7
      docker compose -f docker/compose.yaml run --rm prepare && docker compose -f docker/compose.yaml kill -s HUP broker
    """
    try:
        settings = service_settings.load(config)
        keys = Keyring(settings.folder)
        keys.authority.revoke(vehicle)
        told = keys.tell_broker(settings.broker_folder, fleet_config.load(Path(settings.fleet)).federation.region)
        emit({"vehicle": vehicle, "revocation_list": str(keys.authority.crl_path), "broker_told": told}, as_json)
    except EnrolmentRefused as refusal:
        raise CommandError(str(refusal)) from refusal


@click.command()
@click.argument("url")
@click.argument("vehicle")
@click.option("--claim", "secret", required=True, help="What `fedvit claim` printed.")
@click.option("--ca", required=True, type=click.Path(exists=True, path_type=Path), help="The fleet's CA certificate.")
@click.option(
    "--identity", default=Path("identity"), show_default=True, type=click.Path(path_type=Path), help="Folder to make."
)
@json_option
def enrol(url: str, vehicle: str, secret: str, ca: Path, identity: Path, as_json: bool) -> None:
    """Enrol this machine as VEHICLE with the aggregator at URL: its key is made here and stays here.

    \b
    Example:
      fedvit enrol https://cloud.example:8844 vehicle_7 --claim SECRET --ca ca.crt
    """
    own = Identity(identity)
    body = {"vehicle": vehicle, "claim": secret, "request": own.request(vehicle).decode()}
    try:
        with httpx.Client(base_url=url, verify=ssl.create_default_context(cafile=str(ca)), timeout=20.0) as client:
            answer = client.post("/v1/enrol", json=body)
        if answer.status_code == httpx.codes.FORBIDDEN:
            raise CommandError(f"the aggregator refuses: {answer.json()['reason']}")
        own.take(answer.raise_for_status().json())
    except (httpx.HTTPError, KeyError, ValueError) as error:
        raise CommandError(f"no enrolment with {url}: {error}") from error
    emit({"vehicle": own.vehicle, "identity": str(own.folder)}, as_json)


def _authority(config: Path) -> Authority:
    return Authority(service_settings.load(config).folder / "pki")
