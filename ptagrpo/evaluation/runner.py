"""Sample a policy on a benchmark and judge what it says; stopped at any sample, it goes on from there.

Every draw is keyed by (seed, question id, sample), and rows are appended in the order of questions and
samples: a run that was resumed leaves the same bytes as one that was never interrupted.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import rng
from ..answers import Judge
from ..benchmarks import INSTRUCTION, Benchmark, load, official_messages
from ..errors import ConfigError, DataError, did_you_mean
from ..io import append_jsonl, atomic_write_json
from ..records import Question
from ..template import build_prompt
from .prompting import prompting_mode
from .result import EvalResult
from .settings import SAMPLES, SUMMARY, open_output, policy_fingerprint, questions_fingerprint

PROMPT_STYLES = ("plan", "official", "cot", "raw")
BATCH_SAMPLES = 64  # samples generated, judged and written together, unless a batch size is given


def make_prompt(question: Question, tokenizer: Any, style: str) -> str:
    """The text that a response to `question` continues.

    Args:
        style: "plan" (the template of PTA-GRPO), "official" (Qwen2.5-Math's step-by-step prompt), "cot" or
            "raw" (see `template.build_prompt`).

    Raises:
        ConfigError: an unknown style.
    """
    if style not in PROMPT_STYLES:
        raise ConfigError(
            f"prompt_style is {style!r}, expected one of "
            f"{', '.join(PROMPT_STYLES)}.{did_you_mean(style, PROMPT_STYLES)}"
        )
    if style != "official":
        return build_prompt(question.prompt, tokenizer, style=style)
    if tokenizer.chat_template is None and isinstance(question.prompt, str):
        return f"{question.prompt}\n{INSTRUCTION}\n"
    return tokenizer.apply_chat_template(official_messages(question.prompt), add_generation_prompt=True)


def evaluate(
    policy: Any,
    benchmark: str | os.PathLike | Benchmark | Sequence[Question],
    *,
    k: int = 1,
    temperature: float = 0.6,
    top_p: float = 0.95,
    top_k: int = 0,
    min_p: float = 0.0,
    max_new_tokens: int = 2048,
    prompt_style: str = "plan",
    prompting: str | None = None,
    stop: Sequence[str] = (),
    output_dir: str | os.PathLike | None = None,
    seed: int = 0,
    judge: Judge | None = None,
    kind: str = "math",
    limit: int | None = None,
    batch_size: int | None = None,
    progress: bool = True,
) -> EvalResult:
    """Sample `k` responses to each question, judge them, and return the figures.

    Args:
        policy: a `Policy` (anything with its `generate` and `tokenizer`).
        benchmark: a name of `ptagrpo.benchmarks`, a JSONL file, a `Benchmark`, or questions with answers and
            unique ids.
        temperature, top_p, top_k, min_p, max_new_tokens, stop: as `Policy.generate`; temperature 0 is greedy.
        prompt_style: "plan", "official", "cot" or "raw" (see `make_prompt`).
        prompting: "cot", "self_consistency" or "plan" (see `prompting`): sets the prompt style, and which figure
            counts.
        output_dir: gets `samples.jsonl` (one row a sample), `settings.json` and `summary.json`. If it holds
            the beginning of the same evaluation, that is continued. None: nothing is written.
        judge: used and left open; None: one is made and closed.
        kind: "math" or "exact", how answers are compared (see `ptagrpo.answers`).
        limit: only the first so many questions.
        batch_size: samples that are generated together, and written together. Changes no result.
        progress: show a bar with the accuracy so far.

    Raises:
        ConfigError: a setting out of range.   DataError: a question without an answer, or a repeated id.
        ResumeError: `output_dir` holds an evaluation of other settings, questions or weights; they are named.
        GradingError: the answer-checking worker cannot be started.
    """
    for name, value in (
        ("k", k),
        ("max_new_tokens", max_new_tokens),
        ("limit", limit),
        ("batch_size", batch_size),
    ):
        if value is not None and value < 1:
            raise ConfigError(f"evaluate: {name} is {value}, expected at least 1")
    if prompting is not None:
        prompt_style = prompting_mode(prompting, k).prompt_style
    name, questions, group_columns = _questions(benchmark, limit)
    prompts = [make_prompt(question, policy.tokenizer, prompt_style) for question in questions]
    sampling = {
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "top_p": top_p,
        "top_k": top_k,
        "min_p": min_p,
        "stop": list(stop),
    }
    settings = {
        "benchmark": name,
        "k": k,
        "prompt_style": prompt_style,
        "prompting": prompting,
        "seed": seed,
        "kind": kind,
        "limit": limit,
        **sampling,
        "questions": questions_fingerprint(questions),
        "weights": policy_fingerprint(policy),
    }
    folder = None if output_dir is None else Path(output_dir)
    rows = [] if folder is None else open_output(folder, settings, questions, k)
    active = Judge() if judge is None else judge
    bar = _Bar(name, len(questions) * k, rows, progress)
    try:
        for chunk in _chunks(len(questions), k, len(rows), batch_size or BATCH_SAMPLES):
            new = _sample(policy, questions, prompts, chunk, seed, sampling, batch_size)
            verdicts = active.judge([(row["response"], row["answer"]) for row in new], kind)
            for row, verdict in zip(new, verdicts, strict=True):
                row.update(extracted=verdict.extracted, status=verdict.status, detail=verdict.detail)
            if folder is not None:
                append_jsonl(folder / SAMPLES, new)
            rows.extend(new)
            bar.update(new)
    finally:
        bar.close()
        if judge is None:
            active.close()
    columns = {question.id: question.columns for question in questions}
    result = EvalResult(name, k, rows, settings, columns, group_columns, kind)
    if folder is not None:
        atomic_write_json(folder / SUMMARY, result.summary())
    return result


def _questions(
    benchmark: str | os.PathLike | Benchmark | Sequence[Question], limit: int | None
) -> tuple[str, list[Question], tuple[str, ...]]:
    if isinstance(benchmark, (str, os.PathLike)):
        benchmark = load(benchmark)
    if isinstance(benchmark, Benchmark):
        name, questions, groups = benchmark.name, list(benchmark.questions), benchmark.group_columns
    else:
        name, questions, groups = "questions", list(benchmark), ()
    questions = questions[:limit]
    if not questions:
        raise DataError("evaluate: no questions")
    seen: set[str] = set()
    for index, question in enumerate(questions):
        if question.answer is None:
            raise DataError(f"evaluate: question {index} (id {question.id!r}) has no reference answer")
        if question.id in seen:
            raise DataError(
                f"evaluate: question {index} has the id {question.id!r} of an earlier one; draws are keyed "
                "by it"
            )
        seen.add(question.id)
    return name, questions, groups


def _chunks(questions: int, k: int, done: int, size: int) -> Iterator[list[tuple[int, range]]]:
    """Pending (question, samples) in order, in chunks of about `size` samples; `done` samples are there
    already."""
    chunk: list[tuple[int, range]] = []
    count = 0
    for question in range(questions):
        first = min(max(done - question * k, 0), k)
        while first < k:
            last = min(k, first + size - count)
            chunk.append((question, range(first, last)))
            count += last - first
            first = last
            if count >= size:
                yield chunk
                chunk, count = [], 0
    if chunk:
        yield chunk


def _sample(
    policy: Any,
    questions: list[Question],
    prompts: list[str],
    chunk: list[tuple[int, range]],
    seed: int,
    sampling: dict[str, Any],
    batch_size: int | None,
) -> list[dict[str, Any]]:
    """Rows of a chunk, without verdicts. Questions that want equally many samples go to `generate`
    together."""
    by_count: dict[int, list[int]] = {}
    for position, (_, samples) in enumerate(chunk):
        by_count.setdefault(len(samples), []).append(position)
    completions: dict[int, list[Any]] = {}
    for n, positions in by_count.items():
        keys = [rng.key(seed, "eval", questions[chunk[p][0]].id, s) for p in positions for s in chunk[p][1]]
        generated = policy.generate(
            [prompts[chunk[p][0]] for p in positions], n=n, keys=np.array(keys, dtype=np.uint64),
            batch_size=batch_size, **sampling,
        )  # fmt: skip
        completions.update(zip(positions, generated, strict=True))
    rows = []
    for position, (index, samples) in enumerate(chunk):
        for sample, completion in zip(samples, completions[position], strict=True):
            rows.append({
                "id": questions[index].id,
                "sample": sample,
                "answer": questions[index].answer,
                "response": completion.text,
                "tokens": len(completion.token_ids),
                "finish_reason": completion.finish_reason,
            })  # fmt: skip
    return rows


class _Bar:
    """A progress bar over samples that shows the accuracy so far."""

    def __init__(self, name: str, total: int, rows: list[dict[str, Any]], shown: bool):
        from tqdm.auto import tqdm

        self._right = self._all = 0
        self._bar = tqdm(total=total, desc=name, unit="sample", disable=not shown)
        self.update(rows)

    def update(self, rows: list[dict[str, Any]]) -> None:
        self._right += sum(row["status"] == "correct" for row in rows)
        self._all += len(rows)
        if self._all:
            self._bar.set_postfix_str(f"accuracy {100 * self._right / self._all:.1f} %", refresh=False)
        self._bar.update(len(rows))

    def close(self) -> None:
        self._bar.close()


def run_eval(
    policy: Any,
    benchmarks: Sequence[str | os.PathLike],
    *,
    output_dir: str | os.PathLike | None = None,
    data_path: str | os.PathLike | None = None,
    **settings: Any,
) -> list[EvalResult]:
    """Evaluate a policy on several benchmarks with the same settings and one judge: what `ptagrpo eval` does.

    Args:
        policy: a `Policy`, or a path or hub id to load one from.
        benchmarks: names of `ptagrpo.benchmarks`, or JSONL files; none repeated.
        output_dir: each benchmark gets a folder of its name in it.
        data_path: folder (or, for one benchmark, file) to read the benchmarks from; None: see
            `benchmarks.load`.
        settings: further keywords of `evaluate`.

    Raises:
        ConfigError: no benchmark, or one named twice; and what `evaluate` raises. Benchmarks are all read
            and checked before the first sample is drawn.
    """
    loaded = [load(name, None if str(name).endswith(".jsonl") else data_path) for name in benchmarks]
    names = [benchmark.name for benchmark in loaded]
    if not names or len(set(names)) != len(names):
        raise ConfigError(
            f"run_eval: expected one or more different benchmarks, got {', '.join(names) or 'none'}"
        )
    if isinstance(policy, (str, os.PathLike)):
        from ..policy import load as load_policy

        policy = load_policy(policy)
    judge = settings.pop("judge", None)
    owned = Judge() if judge is None else None
    try:
        return [
            evaluate(
                policy, benchmark, judge=judge or owned,
                output_dir=None if output_dir is None else Path(output_dir) / benchmark.name, **settings,
            )
            for benchmark in loaded
        ]  # fmt: skip
    finally:
        if owned is not None:
            owned.close()
