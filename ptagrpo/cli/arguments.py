"""Flags and YAML: kebab-case spelling, settings of a configuration class as flags, unknown names refused."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import ConfigError, did_you_mean
from ..yaml_file import YamlFile

REPEATED = ("--reward_funcs",)  # options that take several values after one flag
TYPERS_OWN = ("--install-completion", "--show-completion")


def normalise(arguments: Sequence[str]) -> list[str]:
    """Snake-case option names, and one flag per value of an option that takes several.

    >>> normalise(["train", "--learning-rate=1e-4", "--reward-funcs", "a", "b", "--seed", "-1"])
    ['train', '--learning_rate=1e-4', '--reward_funcs', 'a', '--reward_funcs', 'b', '--seed', '-1']
    """
    result: list[str] = []
    repeat: str | None = None
    taken = 0
    for position, argument in enumerate(arguments):
        if argument == "--":
            return result + list(arguments[position:])
        if argument.startswith("--") and argument not in TYPERS_OWN:
            name, equals, value = argument.partition("=")
            name = name.replace("-", "_").replace("__", "--", 1)
            repeat, taken = (name if name in REPEATED and not equals else None), 0
            result.append(name + equals + value)
        elif repeat is not None:
            result += [repeat, argument] if taken else [argument]
            taken += 1
        else:
            result.append(argument)
    return result


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; kebab-case keys become snake_case.

    Raises:
        ConfigError: not there, not YAML, or not a mapping; names the file, and the line where there is one.
    """
    return {name.replace("-", "_"): value for name, value in YamlFile(path).values.items()}


def unknown_key(path: Path, name: str, known: Iterable[str]) -> ConfigError:
    """What to say of a key of a YAML file that is no option: its line, and the nearest name."""
    file = YamlFile(path)
    where = file.where(name if name in file.lines else name.replace("_", "-"))
    return ConfigError(f"{where}: there is no option '{name}'.{did_you_mean(name, known)}")


def merge(
    config: Path | None,
    own: Mapping[str, Any],
    extras: Sequence[str],
    settings_class: type | None,
    aliases: Mapping[str, str] | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Bring YAML, the command's own options and further flags together; flags win over the file.

    Args:
        config: YAML file, or None.
        own: the command's own options by name; None (or an empty list) where not given as a flag.
        extras: arguments that the command does not declare: flags of `settings_class`.
        settings_class: configuration class whose options may be set; None: no further flags.
        aliases: other names of own options in YAML.

    Returns:
        (own options, settings for `settings_class`).

    Raises:
        ConfigError: an unknown name, with a suggestion; names the file where it came from.
    """
    known = {} if settings_class is None else settings_class.options()
    refused = getattr(settings_class, "_not_yet", {})
    names = [*own, *(aliases or {}), *known]
    options, settings = dict(own), {}
    for name, value in ({} if config is None else read_yaml(config)).items():
        target = (aliases or {}).get(name, name)
        if target in own:
            if own[target] in (None, []):
                options[target] = _own_value(config, name, value, listed=own[target] == [])
        elif name in known or name in refused:
            settings[name] = value
        else:
            raise unknown_key(config, name, names)
    for name, values in _flags(extras).items():
        if name not in known and name not in refused:
            flag = did_you_mean(name, names).replace("'", "'--", 1)
            raise ConfigError(f"there is no option '--{name}'.{flag}")
        kind = typing.get_type_hints(settings_class).get(name) if name in known else None
        settings[name] = _flag_value(name, values, kind)
    return options, settings


def as_pairs(mapping: Mapping[Any, Any]) -> list[str]:
    """A mapping, as YAML files have it, in the way that flags write it.

    >>> as_pairs({"prompt": "question", "answer": "gold"})
    ['prompt=question', 'answer=gold']
    """
    return [f"{ours}={theirs}" for ours, theirs in mapping.items()]


def _own_value(config: Path | None, name: str, value: Any, *, listed: bool) -> Any:
    if listed:
        if isinstance(value, dict):
            return as_pairs(value)
        return [str(item) for item in value] if isinstance(value, list) else [str(value)]
    if isinstance(value, (list, dict)):
        raise ConfigError(f"{config}: {name}: expected one value, got a {type(value).__name__}")
    return value


def _flags(extras: Sequence[str]) -> dict[str, list[str]]:
    """`--name value …` and `--name=value` by name; a flag without a value has an empty list."""
    flags: dict[str, list[str]] = {}
    current: list[str] | None = None
    for argument in extras:
        if argument.startswith("--") and len(argument) > 2:
            name, equals, value = argument[2:].partition("=")
            if name in flags:
                raise ConfigError(f"--{name} is given twice")
            current = flags.setdefault(name, [value] if equals else [])
        elif current is None:
            raise ConfigError(f"unexpected argument '{argument}': options begin with --")
        else:
            current.append(argument)
    return flags


def _flag_value(name: str, values: list[str], kind: Any) -> Any:
    """The value of a flag: the configuration class converts text; lists and mappings are YAML."""
    import yaml

    kinds = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    kinds = [typing.get_origin(k) or k for k in kinds]
    if list in kinds and values != ["none"]:
        parsed = [yaml.safe_load(value) for value in values]
        return parsed[0] if len(parsed) == 1 and isinstance(parsed[0], list) else parsed
    if not values:
        if bool in kinds:
            return True
        raise ConfigError(f"--{name} needs a value")
    if len(values) > 1:
        raise ConfigError(f"--{name} takes one value, got {len(values)}: {' '.join(values)}")
    return yaml.safe_load(values[0]) if dict in kinds else values[0]


def settings_table(settings_class: type) -> str:
    """The options of a configuration class as text: name, type, default, meaning."""
    lines = [f"Settings of {settings_class.__name__} (as flags, or as keys of the --config file)", ""]
    hints = typing.get_type_hints(settings_class)
    for name, field in settings_class.options().items():
        hint = hints[name]
        kind = hint.__name__ if isinstance(hint, type) else str(hint)
        default = field.default_factory() if callable(field.default_factory) else field.default
        lines.append(f"  --{name} ({kind}, default {default!r})")
        meaning = field.metadata["doc"]
        if field.metadata["choices"]:
            meaning += f" [{' | '.join(map(str, field.metadata['choices']))}]"
        lines.append(f"      {meaning}")
    return "\n".join(lines)


def key_values(name: str, values: Sequence[str]) -> dict[str, str]:
    """`ours=theirs` pairs, as of --columns.

    >>> key_values("columns", ["question=q", "answer=gold"])
    {'question': 'q', 'answer': 'gold'}
    """
    pairs = {}
    for value in values:
        left, equals, right = value.partition("=")
        if not equals or not left or not right:
            raise ConfigError(f"--{name}: expected name=column, got '{value}'")
        pairs[left] = right
    return pairs


def required(options: Mapping[str, Any], *names: str) -> None:
    """Raise `ConfigError` naming the first of `names` that is not set."""
    for name in names:
        if options[name] in (None, []):
            raise ConfigError(f"--{name} is needed (as a flag or in the --config file)")
