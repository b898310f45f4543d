"""A release as commands take it: a folder, and the keys that are trusted to sign."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import click

from fed_vit_autorl.cli.output import CommandError
from fed_vit_autorl.deployment import keys, release
from fed_vit_autorl.deployment.release import Manifest
from fed_vit_autorl.edge import runtime
from fed_vit_autorl.edge.runtime import ModelRuntime

TRUSTED = (Path("releases/keys"), Path("~/.config/fed-vit-autorl"))
"""The project's own key, and that of releases made on this machine."""


def release_options(command: Callable) -> Callable:
    """Adds ``--model`` (folder) and ``--keys`` (folders or files); they arrive as `model` and `trusted`."""
    path = click.Path(path_type=Path)
    release_folder = click.option(
        "--model", type=path, default="releases/base", show_default=True, help="Release folder."
    )
    key_help = "Public keys that may sign releases: files, or folders of *.pub."
    trusted = click.option("--keys", "trusted", type=path, multiple=True, default=TRUSTED, help=key_help)
    return release_folder(trusted(command))


def verified(model: Path, trusted: Sequence[Path]) -> Manifest:
    """The manifest of the release at `model`. Raises `CommandError` that says what is wrong with it."""
    there = [path.expanduser() for path in trusted if path.expanduser().exists()]
    if not (model / release.MANIFEST).is_file():
        raise CommandError(f"{model} is no release: it has no {release.MANIFEST}; name one with --model")
    try:
        return release.verify(model, keys.load_public_keys(*there))
    except ValueError as error:
        raise CommandError(f"{model}: {error} (trusted keys: {', '.join(map(str, there)) or 'none'})") from error


def load_model(model: Path, trusted: Sequence[Path], name: str = "perception") -> ModelRuntime:
    """One model of a verified release in ONNX Runtime on the CPU. Raises `CommandError`."""
    manifest = verified(model, trusted)
    if f"{name}.onnx" not in manifest.files:
        raise CommandError(f"{model} holds no {name} model")
    try:
        return runtime.load(model, manifest, name)
    except ValueError as error:
        raise CommandError(f"{model}: {error}") from error
