"""How a configuration class describes, checks and reads its options. Knows nothing of any single option.

An option is a dataclass field made by `option(...)`. Its description, range and whether it takes part in the
run's trajectory (may not change on resume) are in the field's metadata; `docs/` and the command line read
them from there.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfigError, did_you_mean
from ..yaml_file import YamlFile


def option(
    default: Any,
    doc: str,
    *,
    choices: tuple | None = None,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    trajectory: bool = True,
) -> Any:
    """A dataclass field with its description and range.

    Args:
        trajectory: True if a change of this option would change weights or metrics of a run, so that
            resuming with another value is refused.
    """
    metadata = {
        "doc": doc,
        "choices": choices,
        "at_least": at_least,
        "above": above,
        "at_most": at_most,
        "below": below,
        "trajectory": trajectory,
    }
    if isinstance(default, dict):
        return dataclasses.field(default_factory=lambda: dict(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class NotYet:
    """An option that other trainers have and this one has not: only its neutral values are accepted."""

    neutral: tuple
    reason: str


class ConfigMeta(type):
    """Turns keyword arguments into checked ones before the dataclass sees them."""

    def __call__(cls, *args: Any, **settings: Any) -> Any:
        if args:
            raise ConfigError(
                f"{cls.__name__}: options are given by name, e.g. {cls.__name__}(learning_rate=1e-5)"
            )
        config = super().__call__(**cls._prepare(settings))
        object.__setattr__(config, "_given", settings)
        return config


class Config(metaclass=ConfigMeta):
    """Base of the configuration classes: unknown options are errors, values are converted and
    range-checked.
    """

    _not_yet: typing.ClassVar[Mapping[str, NotYet]] = types.MappingProxyType({})

    @classmethod
    def options(cls) -> dict[str, dataclasses.Field]:
        """The options by name, in order of declaration."""
        return {field.name: field for field in dataclasses.fields(cls)}

    @classmethod
    def _prepare(cls, settings: dict[str, Any]) -> dict[str, Any]:
        known = cls.options()
        types_of = typing.get_type_hints(cls)
        prepared = {}
        for name, value in settings.items():
            if name in known:
                prepared[name] = _convert(cls, name, value, types_of[name])
            elif name in cls._not_yet:
                _refuse_unless_neutral(cls, name, value)
            else:
                names = [*known, *cls._not_yet]
                raise ConfigError(f"{cls.__name__}: there is no option {name!r}.{_hint(name, names)}")
        return prepared

    def _check_ranges(self) -> None:
        for name, field in self.options().items():
            _check_range(type(self), name, getattr(self, name), field.metadata)

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Any:
        """Build from a mapping such as a parsed YAML file; numbers may be text ("1e-6" is text to YAML).

        Raises:
            ConfigError: an unknown option (with a suggestion), or a value of the wrong type or out of range.
        """
        if not isinstance(settings, Mapping):
            raise ConfigError(f"{cls.__name__}: expected a mapping of options, got {type(settings).__name__}")
        for name in settings:
            if not isinstance(name, str):
                raise ConfigError(f"{cls.__name__}: option names are text, got {name!r}")
        return cls(**settings)

    @classmethod
    def from_yaml(cls, path: str | Path, **overrides: Any) -> Any:
        """Build from a YAML file; `overrides` win.

        Raises:
            ConfigError: the file is missing, is not YAML or not a mapping, or an option is wrong; names the
                file.
        """
        file = YamlFile(path)
        try:
            return cls.from_dict({**file.values, **overrides})
        except ConfigError as error:
            raise ConfigError(f"{file.where_named(str(error), file.values)}: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """All options and their values, JSON-serialisable; `from_dict` of it gives an equal configuration."""
        return {name: _plain(getattr(self, name)) for name in self.options()}

    def replace(self, **changes: Any) -> Any:
        """A copy with some options changed; derived options follow unless they were set."""
        return type(self)(**{**self._given, **changes})

    def trajectory(self) -> dict[str, Any]:
        """The options that decide weights and metrics: what resuming compares."""
        return {
            name: _plain(getattr(self, name))
            for name, field in self.options().items()
            if field.metadata["trajectory"]
        }


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _hint(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    inside = sorted((other for other in names if name in other.split("_") or name in other), key=len)
    return did_you_mean(name, names) if close or not inside else f" Did you mean {inside[0]!r}?"


def _refuse_unless_neutral(cls: type[Config], name: str, value: Any) -> None:
    entry = cls._not_yet[name]
    if not any(
        value is neutral or (type(value) is type(neutral) and value == neutral) for neutral in entry.neutral
    ):
        allowed = " or ".join(repr(neutral) for neutral in entry.neutral)
        advice = f"leave it out or set it to {allowed}" if entry.neutral else "leave it out"
        raise ConfigError(f"{cls.__name__}: {name}={value!r} is not supported: {entry.reason}; {advice}")


def _convert(cls: type[Config], name: str, value: Any, hint: Any) -> Any:
    """`value` as the type of the option; text is read as a number or truth value where one is wanted."""
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    for kind in kinds:
        try:
            return _as_kind(value, typing.get_origin(kind) or kind)
        except (TypeError, ValueError):
            continue
    expected = " or ".join(
        "None" if kind is type(None) else getattr(kind, "__name__", str(kind)) for kind in kinds
    )
    raise ConfigError(f"{cls.__name__}: {name}: expected {expected}, got {value!r} ({type(value).__name__})")


def _as_kind(value: Any, kind: Any) -> Any:
    if kind is type(None):
        if value is None or (isinstance(value, str) and value.lower() in ("none", "null")):
            return None
        raise TypeError
    if kind is bool:
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        raise TypeError
    if isinstance(value, bool):
        raise TypeError
    if kind is int:
        number = float(value) if isinstance(value, str) and not value.lstrip("+-").isdigit() else value
        if int(number) != float(number):
            raise ValueError
        return int(number)
    if kind is float:
        if not isinstance(value, (int, float, str)) and not hasattr(value, "__float__"):
            raise TypeError
        return float(value)
    if kind is str:
        if isinstance(value, (str, Path)):
            return str(value)
        raise TypeError
    if kind is list:
        if isinstance(value, (list, tuple)):
            return list(value)
        raise TypeError
    if kind is dict:
        if isinstance(value, Mapping):
            return dict(value)
        raise TypeError
    raise TypeError


def _check_range(cls: type[Config], name: str, value: Any, limits: Mapping[str, Any]) -> None:
    where = f"{cls.__name__}: {name}"
    choices = limits["choices"]
    if choices is not None and value not in choices:
        options = ", ".join(repr(choice) for choice in choices)
        hint = (
            did_you_mean(value, [c for c in choices if isinstance(c, str)]) if isinstance(value, str) else ""
        )
        raise ConfigError(f"{where}: got {value!r}, expected one of {options}.{hint}")
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return
    if math.isnan(value):
        raise ConfigError(f"{where}: got nan, expected a number")
    for key, holds, text in (
        ("at_least", lambda limit: value >= limit, "at least"),
        ("above", lambda limit: value > limit, "more than"),
        ("at_most", lambda limit: value <= limit, "at most"),
        ("below", lambda limit: value < limit, "less than"),
    ):
        if limits[key] is not None and not holds(limits[key]):
            raise ConfigError(f"{where}: got {value!r}, must be {text} {limits[key]!r}")
    if math.isinf(value):
        raise ConfigError(f"{where}: got {value!r}, must be finite")
