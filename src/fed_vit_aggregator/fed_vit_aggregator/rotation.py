"""`fedvit rotate`: new keys for the roles of the release repository, by the word of its root's key."""

from __future__ import annotations

from pathlib import Path

import click

from fed_vit_aggregator import settings as service_settings
from fed_vit_aggregator.keyring import Keyring
from fed_vit_autorl.cli.output import emit, json_option
from fed_vit_autorl.deployment.keys import load_or_create_signing_key
from fed_vit_autorl.deployment.tuf_repository import ONLINE


@click.command()
@click.argument("config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("roles", nargs=-1, type=click.Choice([*ONLINE, "root"]))
@click.option(
    "--root",
    "root_path",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The root's key, from where it is kept.",
)
@json_option
def rotate(config: Path, roles: tuple[str, ...], root_path: Path, as_json: bool) -> None:
    """Give ROLES new keys and the root metadata a new year; without ROLES only the latter. Stop the aggregator first.

    Vehicles follow by themselves. A new root key is written beside the old one as `<file>.new`.

    \b
    Examples:
      fedvit rotate config/aggregator.yaml --root /media/safe/root.pem
      fedvit rotate config/aggregator.yaml targets --root /media/safe/root.pem
    """
    keyring = Keyring(service_settings.load(config).folder)
    fresh = {role: keyring.role_path(role).with_suffix(".pem.new") for role in set(roles) - {"root"}}
    if "root" in roles:
        fresh["root"] = root_path.with_suffix(root_path.suffix + ".new")
    keys = {role: load_or_create_signing_key(path) for role, path in fresh.items()}
    root_keys = [load_or_create_signing_key(root_path), *([keys["root"]] if "root" in keys else [])]
    version = keyring.repository.authorise({role: key.public_key() for role, key in keys.items()}, root_keys)
    for role in set(fresh) - {"root"}:
        fresh[role].replace(keyring.role_path(role))
    emit({"root_version": version, "new_keys": sorted(fresh)}, as_json)
