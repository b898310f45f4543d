"""A graph's arguments as typed on a command line."""

from collections.abc import Callable, Mapping
from pathlib import Path

from fed_vit_bringup.graph import Arguments, Value


def parse_arguments(kind: type[Arguments], given: Mapping[str, str]) -> Arguments:
    """Arguments from text as typed on a command line; ValueError names what is wrong and what there is."""
    fields = kind.__dataclass_fields__
    unknown = sorted(set(given) - set(fields))
    if unknown:
        raise ValueError(f"no argument {', '.join(unknown)}; there are: {', '.join(fields)}")
    if given.get("params_file"):
        given = {**given, "params_file": str(Path(given["params_file"]).absolute())}
    return kind(**{name: _PARSERS[type(fields[name].default)](name, text) for name, text in given.items()})


def _boolean(name: str, text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(f"{name} is true or false, not {text!r}")
    return text.lower() == "true"


def _integer(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{name} is a whole number, not {text!r}") from None


_PARSERS: dict[type, Callable[[str, str], Value]] = {bool: _boolean, int: _integer, str: lambda name, text: text}
