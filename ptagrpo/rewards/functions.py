"""A user's reward functions: finding, calling and checking them. TRL's signature, ours only adds keywords.

    def my_reward(completions, solution, **kwargs) -> list[float | None]

Functions are called by keyword, with those keywords only that they accept: `prompts`, `completions`,
`completion_ids`, `trainer_state`, `log_extra`, `log_metric`, every column of the data set, and `plans`,
`plan_index`, `cot_index`, `group_id`. Each list has one entry per response of the whole batch.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import inspect
import math
import numbers
import pkgutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError, RewardError, did_you_mean
from ..records import Group, Response

_PARTS = {
    "compose", "functions", "length", "outcome", "overlong", "plan", "score", "settings", "structure", "verl",
}  # fmt: skip


@dataclass(frozen=True)
class RewardFunction:
    """A reward function and the name under which its values are recorded and logged."""

    name: str
    call: Callable[..., Any]


def names() -> list[str]:
    """Names of the reward functions that ship with the package, sorted.

    >>> "accuracy_reward" in names()
    True
    """
    package = importlib.import_module(__package__)
    return sorted({module.name for module in pkgutil.iter_modules(package.__path__)} - _PARTS)


def load(name: str) -> Callable[..., Any]:
    """Return the reward function called `name`: a shipped one, or a dotted path (`my_package.brevity`).

    A name that starts with `get_` is a factory: it is called with its defaults; call it yourself for others.

    Raises:
        ConfigError: no such function, or its module cannot be imported.

    >>> load("think_format_reward")(completions=["<think>so</think> 4", "4"])
    [1.0, 0.0]
    """
    module_name, _, attribute = name.rpartition(".")
    if not module_name:
        if name not in names():
            hint = did_you_mean(name, names())
            raise ConfigError(
                f"reward function: got {name!r}, expected one of {', '.join(names())}, "
                f"or a dotted path to your own.{hint}"
            )
        module_name = f"{__package__}.{name}"
        attribute = name
    try:
        function = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"reward function {name!r}: cannot be imported: {error}") from error
    found: Callable[..., Any] = function() if attribute.startswith("get_") else function
    return found


def prepare(funcs: Sequence[Callable[..., Any] | str], reserved: Sequence[str] = ()) -> list[RewardFunction]:
    """Load functions given by name; give each a name of its own (`f`, `f_2`, …), none of them in `reserved`.

    Raises:
        ConfigError: something in `funcs` is neither callable nor a name.
    """
    taken = set(reserved)
    prepared = []
    for func in funcs:
        if isinstance(func, str):
            func = load(func)
        if not callable(func):
            raise ConfigError(f"reward_funcs: expected functions or names, got {func!r}")
        base = _name_of(func)
        name, number = base, 1
        while name in taken:
            number += 1
            name = f"{base}_{number}"
        taken.add(name)
        prepared.append(RewardFunction(name, func))
    return prepared


def _name_of(func: Callable[..., Any]) -> str:
    while isinstance(func, functools.partial):
        func = func.func
    return getattr(func, "__name__", None) or type(func).__name__


class RewardCalls:
    """Calls reward functions on one batch of groups and keeps what they log."""

    def __init__(self, groups: Sequence[Group], judge: Any, trainer_state: Any, timeout: float | None):
        self._rows = [(group, response) for group in groups for response in group.responses]
        self._timeout = timeout
        self._logged: dict[str, list[float]] = {}
        self.extra: dict[str, list[Any]] = {}
        self._lists = _columns(self._rows)
        self._others = {
            "trainer_state": trainer_state,
            "log_extra": self._log_extra,
            "log_metric": self._log_metric,
        }
        self._judge = judge

    def metrics(self) -> dict[str, float]:
        """Mean of what was logged under each name."""
        return {name: math.fsum(values) / len(values) for name, values in self._logged.items()}

    def call(self, func: RewardFunction) -> list[float | None]:
        """Call `func` on all responses.

        Raises:
            RewardError: see the module; names the function, and row and value where one row is to blame.
        """
        if not self._rows:
            return []
        values = _run(func, self._keywords(func), self._timeout)
        return self._check(func.name, values)

    def _keywords(self, func: RewardFunction) -> dict[str, Any]:
        keywords = {name: list(values) for name, values in self._lists.items()} | self._others
        try:
            parameters = inspect.signature(func.call).parameters.values()
        except (TypeError, ValueError):  # built in C, no signature to look at
            return keywords
        named = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        required = {
            p.name
            for p in parameters
            if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        }
        if "judge" in named:  # ours: functions that compare answers share the running worker
            keywords["judge"] = self._judge
        missing = sorted(required - (named & keywords.keys()))
        if missing:
            hint = did_you_mean(missing[0], keywords)
            raise RewardError(
                f"reward function {func.name!r} wants {missing[0]!r}, which is neither a column of the data "
                f"nor one of the standard keywords. There are: {', '.join(sorted(keywords))}.{hint}"
            )
        if any(p.kind is p.VAR_KEYWORD for p in parameters):
            return keywords
        return {name: value for name, value in keywords.items() if name in named}

    def _check(self, name: str, values: Any) -> list[float | None]:
        if hasattr(values, "tolist"):
            values = values.tolist()
        if isinstance(values, (str, bytes, dict)) or not isinstance(values, Sequence):
            raise RewardError(
                f"reward function {name!r} returned {_short(values)} ({type(values).__name__}); "
                f"expected a list of {len(self._rows)} numbers or None"
            )
        if len(values) != len(self._rows):
            raise RewardError(
                f"reward function {name!r} returned {len(values)} values for {len(self._rows)} completions; "
                "expected one number or None for each"
            )
        return [self._check_value(name, row, value) for row, value in enumerate(values)]

    def _check_value(self, name: str, row: int, value: Any) -> float | None:
        if value is None:
            return None
        if hasattr(value, "item") and not isinstance(value, numbers.Real) and getattr(value, "ndim", 1) == 0:
            value = value.item()
        if isinstance(value, numbers.Real) and math.isfinite(value):
            return float(value)
        group, response = self._rows[row]
        raise RewardError(
            f"reward function {name!r}, row {row} (question {group.question.id!r}, "
            f"plan {response.plan_index}, chain {response.cot_index}): got {_short(value)}, "
            "expected a finite number, or None if not applicable"
        )

    def _log_extra(self, column: str, values: Sequence[Any]) -> None:
        values = list(values)
        if len(values) != len(self._rows):
            raise ValueError(
                f"log_extra({column!r}): got {len(values)} values for {len(self._rows)} completions"
            )
        self.extra[str(column)] = values

    def _log_metric(self, name: str, value: float) -> None:
        self._logged.setdefault(str(name), []).append(float(value))


def _columns(rows: Sequence[tuple[Group, Response]]) -> dict[str, list[Any]]:
    """The keyword lists, one entry per response; a column that a question lacks is None there.

    The reference answer is there as `answer` and, unless the data has such a column itself, as `solution`.
    """
    questions = [group.question for group, _ in rows]
    names = dict.fromkeys(name for question in questions for name in question.columns)
    lists = {name: [question.columns.get(name) for question in questions] for name in names}
    for name in ("answer", "solution"):
        lists.setdefault(name, [question.answer for question in questions])
    lists["prompts"] = [question.prompt for question in questions]
    lists["completions"] = [
        response.text
        if isinstance(group.question.prompt, str)
        else [{"role": "assistant", "content": response.text}]
        for group, response in rows
    ]
    lists["completion_ids"] = [
        [int(token) for segment in response.path for token in group.segments[segment].token_ids]
        for group, response in rows
    ]
    lists["plans"] = [response.plan for _, response in rows]
    lists["plan_index"] = [response.plan_index for _, response in rows]
    lists["cot_index"] = [response.cot_index for _, response in rows]
    lists["group_id"] = [question.id for question in questions]
    return lists


def _run(func: RewardFunction, keywords: dict[str, Any], timeout: float | None) -> Any:
    """Call a sync or async function in a thread of its own, so that one that hangs can be given up.

    Python cannot end a thread: a function that hangs keeps its (daemon) thread until the process exits.
    """
    outcome: list[tuple[bool, Any]] = []

    async def wait(awaitable: Any) -> Any:
        return await awaitable

    def work() -> None:
        try:
            value = func.call(**keywords)
            if inspect.isawaitable(value):
                value = asyncio.run(wait(value))
            outcome.append((True, value))
        except BaseException as error:  # noqa: BLE001 - handed to the calling thread
            outcome.append((False, error))

    thread = threading.Thread(target=work, name=f"reward function {func.name}", daemon=True)
    thread.start()
    thread.join(timeout)
    if not outcome:
        raise RewardError(
            f"reward function {func.name!r} did not return within {timeout:g} s (reward_timeout); "
            "make it faster, give it a time limit of its own, or raise reward_timeout"
        )
    fine, value = outcome[0]
    if not fine:
        raise RewardError(f"reward function {func.name!r} raised {type(value).__name__}: {value}") from value
    return value


def _short(value: Any, limit: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
