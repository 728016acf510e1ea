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
    from ..data import load_traces
    from ..distill import EndpointTeacher, SelfTeacher, distill_plans, write_report

    if (teacher is None) == (self_plan is None):
        raise ConfigError("give either --teacher NAME (an endpoint, with --base_url) or --self_plan MODEL")
    traces = load_traces(
        data,
        data_format=data_format or "auto",
        columns=key_values("columns", columns or []),
        limit=limit,
        per_question=per_question,
        keep_wrong=keep_wrong,
    )
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
    bar = _Bar(progress)
    try:
        report = distill_plans(
            traces, who, cache=cache, attempts=attempts, max_words=max_words, on_progress=bar.update
        )
    except KeyboardInterrupt:
        raise Interrupted(f"Finished replies are saved in {cache}; the same command goes on") from None
    finally:
        bar.close()
    paths = write_report(report, output)
    _tell(report, paths, input_price, output_price)


class _Bar:
    """Replies done, and tokens spent."""

    def __init__(self, shown: bool):
        self._shown, self._bar = shown, None

    def update(self, done: int, total: int, tokens: int) -> None:
        if not self._shown:
            return
        if self._bar is None or self._bar.total != total:
            from tqdm.auto import tqdm

            self.close()
            self._bar = tqdm(total=total, desc="plans", unit="reply")
        self._bar.n = done
        self._bar.set_postfix_str(f"{tokens} tokens")

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
