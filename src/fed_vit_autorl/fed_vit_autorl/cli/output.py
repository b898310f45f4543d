"""What every command prints: prose for people, or one JSON object as the last line of standard output."""

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import click


class CommandError(Exception):
    """An input that can't be used; the message says what to do about it."""


def json_option(command: Callable) -> Callable:
    """Adds ``--json`` to a command; the value arrives as ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object as the last line.")(command)


def emit(result: Mapping[str, Any], as_json: bool) -> None:
    """Prints a result: one line of JSON (NaN and infinities become null), or an indented tree."""
    if as_json:
        click.echo(json.dumps(_plain(result), allow_nan=False))
    else:
        _print_tree(_plain(result), "")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def _print_tree(value: dict, indent: str) -> None:
    width = max((len(key) for key in value), default=0)
    for key, item in value.items():
        if isinstance(item, dict):
            click.echo(f"{indent}{click.style(key, bold=True)}")
            _print_tree(item, indent + "  ")
        else:
            text = f"{item:.4g}" if isinstance(item, float) else item
            click.echo(f"{indent}{key:<{width}}  {text}")
