"""`ptagrpo distill`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from ..errors import ConfigError
from .arguments import key_values
from .main import Interrupted


def run(
    *,
    data: str,
    output: Path,
    teacher: str | None,
    base_url: str | None,
    api_key_env: str,
    self_plan: str | None,
    cache: Path | None,
    data_format: str | None,
    dataset_config: str | None,
    dataset_train_split: str | None,
    contamination: str,
    columns: list[str] | None,
    limit: int | None,
    per_question: int | None,
    keep_wrong: bool,
    temperature: float,
    top_p: float,
    max_tokens: int,
    max_words: int,
    attempts: int,
    concurrency: int,
    timeout: float,
    max_retries: int,
    input_price: float | None,
    output_price: float | None,
    seed: int,
    batch_size: int,
    progress: bool,
) -> None:
    """Distill plans and write records, drops and counts."""
    from ..data import read_traces
    from ..distill import EndpointTeacher, SelfTeacher, distill_plans, write_report

    if (teacher is None) == (self_plan is None):
        raise ConfigError("give either --teacher NAME (an endpoint, with --base_url) or --self_plan MODEL")
    traces, skipped = read_traces(
        data,
        data_format=data_format or "auto",
        columns=key_values("columns", columns or []),
        split=dataset_train_split,
        config=dataset_config,
        limit=limit,
        per_question=per_question,
        keep_wrong=keep_wrong,
    )
    traces, contaminated = _screened(traces, data, contamination, output, progress)
    if teacher is not None:
        who: Any = EndpointTeacher(
            teacher,
            base_url=base_url,
            api_key_env=api_key_env,
            temperature=temperature,
            top_p=top_p,
            max_tokens=max_tokens,
            concurrency=concurrency,
            timeout=timeout,
            max_retries=max_retries,
        )
    else:
        from ..policy import Policy

        who = SelfTeacher(
            Policy.from_pretrained(self_plan),
            temperature=temperature,
            top_p=top_p,
            max_tokens=max_tokens,
            seed=seed,
            batch_size=batch_size,
        )
    cache = cache or output.with_name(f"{output.stem}.cache.jsonl")
    bar, answers = _Bar("plans", "reply", progress), _Bar("answers", "comparison", progress)
    try:
        report = distill_plans(
            traces,
            who,
            skipped=[*skipped, *contaminated],
            verify=not keep_wrong,
            cache=cache,
            attempts=attempts,
            max_words=max_words,
            on_progress=bar.update,
            on_verify=answers.update,
        )
    except KeyboardInterrupt:
        raise Interrupted(f"Finished replies are saved in {cache}; the same command goes on") from None
    finally:
        bar.close()
        answers.close()
    paths = write_report(report, output)
    _tell(report, paths, input_price, output_price)


def _screened(
    traces: list[dict[str, Any]], data: str, mode: str, output: Path, progress: bool
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Compare with the benchmarks; the traces to go on with, and those dropped with their reasons."""
    from ..data import check_contamination, effective_mode
    from ..io import atomic_write_json

    mode = effective_mode(mode, data)
    if mode == "off":
        return traces, []
    report = check_contamination(traces, progress=progress)
    for line in report.lines():
        typer.echo(line)
    path = output.with_name(f"{output.stem}.contamination.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_json(path, report.to_dict())
    typer.echo(f"every overlap: {path}")
    why = report.reasons() if mode == "drop" else {}
    dropped = [{**traces[row], "reason": reason} for row, reason in why.items()]
    return [trace for row, trace in enumerate(traces) if row not in why], dropped


class _Bar:
    """How far a part of the work is."""

    def __init__(self, name: str, unit: str, shown: bool):
        self._name, self._unit, self._shown, self._bar = name, unit, shown, None

    def update(self, done: int, total: int, tokens: int | None = None) -> None:
        if not self._shown:
            return
        if self._bar is None or self._bar.total != total:
            from tqdm.auto import tqdm

            self.close()
            self._bar = tqdm(total=total, desc=self._name, unit=self._unit)
        self._bar.n = done
        self._bar.set_postfix_str("" if tokens is None else f"{tokens} tokens")

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _tell(report: Any, paths: dict[str, Path], input_price: float | None, output_price: float | None) -> None:
    counts = report.summary()
    typer.echo(f"{counts['records']} of {counts['traces']} solutions have a plan: {paths['output']}")
    for reason, count in counts["dropped_because"].items():
        typer.echo(f"  dropped {count}: {reason}")
    if report.dropped:
        typer.echo(f"  each with its reason: {paths['dropped']}")
    typer.echo(
        f"{counts['requests']} replies asked for, {counts['cached']} from the cache, {counts['retries']} "
        "retries; "
        f"{counts['prompt_tokens']} + {counts['completion_tokens']} tokens"
    )
    if input_price is not None or output_price is not None:
        spent = counts["prompt_tokens"] * (input_price or 0.0) + counts["completion_tokens"] * (
            output_price or 0.0
        )
        typer.echo(f"cost of this run at the given prices: {spent / 1e6:.4f}")
