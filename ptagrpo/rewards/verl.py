"""verl's scorers as reward functions: `from_verl(compute_score)`."""

from __future__ import annotations

import functools
import inspect
import math
import numbers
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ..errors import ConfigError
from .think_format_reward import completion_text

_NAMES = ("data_source", "solution_str", "ground_truth", "extra_info")


def from_verl(compute_score: Callable[..., Any], **fixed: Any) -> Callable[..., Any]:
    """A reward function that calls verl's `compute_score(data_source, solution_str, ground_truth, extra_info)`.

    It is called once for each response, by keyword, with what the row has: columns `data_source` and `extra_info`,
    the reference answer (verl's `reward_model.ground_truth`), the response's text. It returns a number, or a mapping
    with "score"; other numbers of the mapping are logged as metrics `{function}/{key}`, its values are kept as columns
    of completions/. A coroutine function is awaited, one response after another.

    Args:
        fixed: further keywords for `compute_score`, verl's `reward_kwargs`.

    Raises:
        ConfigError: `compute_score` does not take verl's arguments.

    >>> def compute_score(data_source, solution_str, ground_truth, extra_info=None):
    ...     return {"score": float(solution_str == ground_truth), "length": len(solution_str)}
    >>> from_verl(compute_score)(completions=["4", "five"], answer=["4", "5"])
    [1.0, 0.0]
    """
    if not callable(compute_score):
        raise ConfigError(f"from_verl: expected a function, got {compute_score!r}")
    name = getattr(compute_score, "__name__", type(compute_score).__name__)
    _check_signature(name, compute_score, fixed)

    def calls(
        completions: Sequence[Any], answer: Sequence[Any], columns: Mapping[str, Any], reward_model: Any
    ) -> Iterator[Callable[[], Any]]:
        sources = columns.get("data_source") or [None] * len(completions)
        extras = columns.get("extra_info") or [None] * len(completions)
        models = reward_model or [None] * len(completions)
        for text, truth, source, extra, model in zip(
            completions, answer, sources, extras, models, strict=True
        ):
            if isinstance(model, Mapping) and model.get("ground_truth") is not None:
                truth = model["ground_truth"]
            yield functools.partial(
                compute_score,
                data_source=source, solution_str=completion_text(text), ground_truth=truth, extra_info=extra, **fixed,
            )  # fmt: skip

    if inspect.iscoroutinefunction(compute_score) or inspect.iscoroutinefunction(
        getattr(compute_score, "__call__", None)  # noqa: B004 - an object with an async __call__
    ):

        async def waits(
            completions: Any, answer: Any, reward_model: Any = None, log_extra: Any = None, log_metric: Any = None,
            **columns: Any,
        ) -> list[float]:  # fmt: skip
            results = [await call() for call in calls(completions, answer, columns, reward_model)]
            return _collect(name, results, log_extra, log_metric)

        waits.__name__ = name
        return waits

    def reward(
        completions: Any, answer: Any, reward_model: Any = None, log_extra: Any = None, log_metric: Any = None,
        **columns: Any,
    ) -> list[float]:  # fmt: skip
        results = [call() for call in calls(completions, answer, columns, reward_model)]
        return _collect(name, results, log_extra, log_metric)

    reward.__name__ = name
    return reward


def _check_signature(name: str, function: Callable[..., Any], fixed: Mapping[str, Any]) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # built in C, no signature to look at
        return
    try:
        signature.bind(**dict.fromkeys([*_NAMES, *fixed]))
    except TypeError as error:
        raise ConfigError(
            f"from_verl: {name}{signature}: {error}; it is called as {name}({', '.join(_NAMES)}), all by keyword"
        ) from error


def _collect(name: str, results: list[Any], log_extra: Any, log_metric: Any) -> list[float]:
    """The scores; what else mappings hold goes to the logs."""
    scores, rows = [], []
    for row, result in enumerate(results):
        details = dict(result) if isinstance(result, Mapping) else {"score": result}
        score = details.pop("score", None)
        if isinstance(score, bool) or not isinstance(score, numbers.Real):
            raise ValueError(f"response {row}: expected a number or a mapping with 'score', got {result!r}")
        scores.append(float(score))
        rows.append(details)
    for key in dict.fromkeys(key for row in rows for key in row):
        values = [row.get(key) for row in rows]
        if log_extra is not None:
            log_extra(f"{name}/{key}", values)
        known = [float(value) for value in values if isinstance(value, numbers.Real) and math.isfinite(value)]
        if known and log_metric is not None:
            log_metric(f"{name}/{key}", sum(known) / len(known))
    return scores
