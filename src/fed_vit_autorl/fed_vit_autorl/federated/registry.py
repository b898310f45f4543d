"""Named implementations: one table per interface, built from what a fleet's YAML says."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, Generic, TypeVar

from .refusal import ConfigurationReason, ConfigurationRefused

T = TypeVar("T")


class Registry(Generic[T]):
    """Classes (or factories) of one interface by name."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._factories: dict[str, Callable[..., T]] = {}

    def register(self, name: str) -> Callable[[Callable[..., T]], Callable[..., T]]:
        """Decorator that enters a class under `name` and sets its `name`."""

        def enter(factory: Callable[..., T]) -> Callable[..., T]:
            if name in self._factories:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self._factories[name] = factory
            factory.name = name  # type: ignore[attr-defined]
            return factory

        return enter

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._factories))

    def __getitem__(self, name: str) -> Callable[..., T]:
        if name not in self._factories:
            raise ConfigurationRefused(
                ConfigurationReason.UNKNOWN_NAME, f"unknown {self.kind} {name!r}{_suggestion(name, self._factories)}"
            )
        return self._factories[name]

    def options(self, name: str) -> list[str]:
        """Names of the options of an implementation."""
        return list(_parameters(self[name]))

    def build(self, spec: str | Mapping[str, Any]) -> T:
        """Build from `"name"` or `{"name": {option: value}}`; raises `ConfigurationRefused`."""
        name, options = split_spec(self.kind, spec)
        factory = self[name]
        known = self.options(name)
        for option in options:
            if option not in known:
                raise ConfigurationRefused(
                    ConfigurationReason.UNKNOWN_OPTION,
                    f"{self.kind} {name!r} has no option {option!r}{_suggestion(option, known)}",
                )
        try:
            return factory(**options)
        except (TypeError, ValueError) as error:
            if isinstance(error, ConfigurationRefused):
                raise
            raise ConfigurationRefused(
                ConfigurationReason.BAD_VALUE, f"{self.kind} {name!r} with {options}: {error}"
            ) from error


@cache
def _parameters(factory: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(inspect.signature(factory).parameters)


def split_spec(kind: str, spec: str | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """`"name"` or `{"name": options}` → name and options."""
    if isinstance(spec, str):
        return spec, {}
    if isinstance(spec, Mapping) and len(spec) == 1:
        [(name, options)] = spec.items()
        if isinstance(name, str) and (options is None or isinstance(options, Mapping)):
            return name, dict(options or {})
    raise ConfigurationRefused(
        ConfigurationReason.BAD_VALUE, f"a {kind} is written as 'name' or 'name: {{option: value}}', not {spec!r}"
    )


def _suggestion(name: str, known: Any) -> str:
    close = difflib.get_close_matches(str(name), [str(entry) for entry in known], n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(sorted(known)) or 'none'}"
