"""YAML files of options, read so that every complaint can name the line."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from .errors import ConfigError


class YamlFile:
    """The mapping in a YAML file.

    Attributes:
        values: its keys and values; an empty file has none. lines: the line of each key, from 1 on.

    Raises:
        ConfigError: not there, not YAML, not a mapping, or a key that is given twice; names file and line.
    """

    def __init__(self, path: str | Path):
        self.path = path
        try:
            text = Path(path).read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise ConfigError(f"{path}: there is no such file") from error
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: cannot be read as YAML: {error}") from error
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
            values = yaml.safe_load(text)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = f", line {mark.line + 1}" if mark else ""
            problem = getattr(error, "problem", None) or error
            raise ConfigError(f"{path}{line}: cannot be read as YAML: {problem}") from error
        if values is None:
            values = {}
        if not isinstance(values, dict):
            raise ConfigError(f"{path}: expected a mapping of options, got {type(values).__name__}")
        self.values: dict[str, Any] = {str(name): value for name, value in values.items()}
        self.lines: dict[str, int] = {}
        for key, _ in node.value if node else ():
            line = key.start_mark.line + 1
            if key.value in self.lines:
                raise ConfigError(
                    f"{path}, line {line}: {key.value!r} is given twice, first in line {self.lines[key.value]}"
                )
            self.lines[key.value] = line

    def where(self, name: str) -> str:
        """File and line of a key, for a message."""
        line = self.lines.get(name)
        return f"{self.path}, line {line}" if line else str(self.path)

    def where_named(self, message: str, names: Iterable[str]) -> str:
        """File, and line of the first key that `message` is about, as in "SomeConfig: key: got ..."."""
        words = message.replace(":", " ").replace("'", " ").replace("=", " ").split()
        return self.where(next((word for word in words if word in self.lines and word in names), ""))
