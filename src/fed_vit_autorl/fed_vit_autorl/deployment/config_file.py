"""YAML files as typed structures: an unknown key is refused with the one that was probably meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec
import yaml

from fed_vit_autorl.federated.refusal import ConfigurationReason, ConfigurationRefused

MAX_FILE_BYTES = 1 << 20

T = TypeVar("T")


class _Loader(yaml.SafeLoader):
    """YAML 1.1, but 8e-4 is a number as in YAML 1.2: 1.1 wants a dot and a sign, and reads a string."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)[eE][-+]?\d+$"), list("-+.0123456789")
)


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of a file's sections."""


def load_yaml(path: Path, kind: type[T], overrides: Mapping[str, str] | None = None) -> T:
    """A YAML file as an instance of the msgspec struct `kind`; raises `ConfigurationRefused` that names the key and
    what to write.
    """
    text = Path(path).read_bytes()[: MAX_FILE_BYTES + 1]
    if len(text) > MAX_FILE_BYTES:
        raise ConfigurationRefused(ConfigurationReason.BAD_VALUE, f"{path} is larger than {MAX_FILE_BYTES} bytes")
    try:
        content = _parsed(text) or {}
        for key, value in (overrides or {}).items():
            _set(content, key, _parsed(value))
    except yaml.YAMLError as error:
        raise ConfigurationRefused(ConfigurationReason.BAD_VALUE, f"{path}: {error}") from error
    return from_mapping(content, kind, str(path))


def _parsed(text: bytes | str) -> Any:
    return yaml.load(text, _Loader)


def from_mapping(content: Any, kind: type[T], source: str = "configuration") -> T:
    """`content` as an instance of `kind`; raises `ConfigurationRefused`."""
    _check_keys(content, kind, source, "")
    try:
        return msgspec.convert(content, kind, strict=True)
    except msgspec.ValidationError as error:
        raise ConfigurationRefused(ConfigurationReason.BAD_VALUE, f"{source}: {_readable(str(error))}") from error


def _check_keys(content: Any, kind: Any, source: str, where: str) -> None:
    if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        return
    if not isinstance(content, Mapping):
        raise ConfigurationRefused(
            ConfigurationReason.BAD_VALUE, f"{source}: {where.rstrip('.') or 'the file'} must hold 'key: value' lines"
        )
    hints = get_type_hints(kind, include_extras=False)
    for key, value in content.items():
        if key not in kind.__struct_fields__:
            raise ConfigurationRefused(
                ConfigurationReason.UNKNOWN_OPTION, f"{source}: unknown key {where}{key}; {_suggestion(str(key), kind)}"
            )
        struct = _struct_of(hints[key])
        for entry in _entries(value, hints[key]):
            if entry is not None or struct is hints[key]:  # an optional section may be left empty
                _check_keys(entry, struct, source, f"{where}{key}.")


def _entries(value: Any, hint: Any) -> list:
    """What stands below a key: itself, a list's items, or the values under names that the file chooses."""
    if isinstance(value, list):
        return value
    return list(value.values()) if get_origin(hint) is dict and isinstance(value, Mapping) else [value]


def _struct_of(hint: Any) -> Any:
    if get_origin(hint) is None:
        return hint
    return next((part for part in get_args(hint) if isinstance(part, type) and issubclass(part, msgspec.Struct)), None)


def _suggestion(key: str, kind: type[msgspec.Struct]) -> str:
    close = difflib.get_close_matches(key, kind.__struct_fields__, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(kind.__struct_fields__)}"


def _readable(error: str) -> str:
    """msgspec's message with `federation.num_rounds` for `$.federation.num_rounds`."""
    return re.sub(r" - at `\$\.?([^`]*)`", r" at \1", error)


def _set(content: dict, dotted: str, value: Any) -> None:
    *parents, last = dotted.split(".")
    for parent in parents:
        content = content.setdefault(parent, {})
        if not isinstance(content, dict):
            raise ConfigurationRefused(ConfigurationReason.UNKNOWN_OPTION, f"{dotted}: {parent} has no keys")
    content[last] = value
