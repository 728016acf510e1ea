"""Sample a policy on a benchmark and judge what it says; stopped at any sample, it goes on from there.

Every draw is keyed by (seed, question id, sample), and rows are appended in the order of questions and
samples: a run that was resumed leaves the same bytes as one that was never interrupted.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import rng
from ..answers import Judge
from ..benchmarks import Benchmark, load, spec_of
from ..errors import ConfigError, DataError
from ..io import append_jsonl, atomic_write_json
from ..records import Question
from .grading import Grader
from .prompting import prompting_mode
from .prompts import check_style, make_image_prompt, make_prompt
from .result import EvalResult
from .settings import SAMPLES, SUMMARY, open_output, policy_fingerprint, questions_fingerprint

UNREADABLE = "image"  # finish_reason of samples of a question whose image cannot be opened
BATCH_SAMPLES = 64  # samples generated, judged and written together, unless a batch size is given


def evaluate(
    policy: Any,
    benchmark: str | os.PathLike[str] | Benchmark | Sequence[Question],
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
    output_dir: str | os.PathLike[str] | None = None,
    seed: int = 0,
    judge: Judge | None = None,
    kind: str = "math",
    official: bool = False,
    limit: int | None = None,
    batch_size: int | None = None,
    progress: bool = True,
    samples_after: int = 0,
) -> EvalResult:
    """Sample `k` responses to each question, judge them, and return the figures.

    Args:
        policy: a `Policy` (anything with its `generate` and `tokenizer`). Questions with images need one whose
            `accepts_images` is true: its `generate` gets chat messages whose content has parts of type "image" (a
            Pillow image) and "text". An image that cannot be opened makes the question's samples an `error` (and so
            wrong), and the run goes on.
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
        official: grade by the benchmark's published rule, guesses included, where it has one of its own.
        limit: only the first so many questions (of a balanced benchmark: equally many of each part).
        batch_size: samples that are generated together, and written together. Changes no result.
        progress: show a bar with the accuracy so far and the remaining time.
        samples_after: that other evaluations will draw after this one, for the bar's estimate of the whole.

    Raises:
        ConfigError: a setting out of range, or questions with images for a policy that reads text only.
        DataError: a question without an answer, or a repeated id.
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
    check_style(prompt_style)
    loaded = _questions(benchmark, limit)
    name, questions, spec = loaded.name, loaded.questions, loaded.spec
    refuse_images(policy, [name] if any(question.images for question in questions) else [])
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
        **({"official": True} if official else {}),
        **sampling,
        "questions": questions_fingerprint(questions),
        "weights": policy_fingerprint(policy),
    }
    folder = None if output_dir is None else Path(output_dir)
    rows = [] if folder is None else open_output(folder, settings, questions, k)
    active = Judge() if judge is None else judge
    bar = _Bar(name, len(questions) * k, rows, progress, samples_after)
    by_id = {question.id: question for question in questions}
    grader = Grader(spec, active, kind, official)
    try:
        grader.replay(
            [(by_id[row["id"]], row["response"]) for row in rows if row["finish_reason"] != UNREADABLE]
        )
        for chunk in _chunks(len(questions), k, len(rows), batch_size or BATCH_SAMPLES):
            new = _sample(policy, loaded, chunk, seed, prompt_style, sampling, batch_size)
            answered = [row for row in new if "status" not in row]
            verdicts = grader.grade([(by_id[row["id"]], row["response"]) for row in answered])
            for row, verdict in zip(answered, verdicts, strict=True):
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
    result = EvalResult(
        name, k, rows, settings, columns, loaded.group_columns, kind,
        balance=None if spec is None else spec.balance,
        notes=tuple(loaded.notes),
        title=loaded.title or name,
        side="" if spec is None else spec.table,
    )  # fmt: skip
    if folder is not None:
        atomic_write_json(folder / SUMMARY, result.summary())
    return result


def refuse_images(policy: Any, names: Sequence[str]) -> None:
    """Refuse benchmarks whose questions have images, for a policy that reads text only.

    Raises:
        ConfigError: names the model and the benchmarks.
    """
    if names and not getattr(policy, "accepts_images", False):
        model = getattr(getattr(policy, "config", None), "model_type", type(policy).__name__)
        raise ConfigError(
            f"the questions of {', '.join(names)} have images, and this model ({model}) reads text only. Choose "
            "benchmarks of text (--benchmark maths), or a vision-language model"
        )


def _questions(benchmark: str | os.PathLike[str] | Benchmark | Sequence[Question], limit: int | None) -> Benchmark:
    """The benchmark with the questions to ask, checked."""
    if isinstance(benchmark, (str, os.PathLike)):
        benchmark = load(benchmark)
    if not isinstance(benchmark, Benchmark):
        benchmark = Benchmark("questions", list(benchmark))
    questions = _limited(benchmark, limit)
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
    return replace(benchmark, questions=questions)


def _limited(benchmark: Benchmark, limit: int | None) -> list[Question]:
    balance = None if benchmark.spec is None else benchmark.spec.balance
    if limit is None or balance is None:
        return list(benchmark.questions)[:limit]
    turns = Counter[str]()
    order = []  # (how many of its part came before, position)
    for position, question in enumerate(benchmark.questions):
        part = str(question.columns.get(balance))
        order.append((turns[part], position))
        turns[part] += 1
    return [benchmark.questions[position] for position in sorted(p for _, p in sorted(order)[:limit])]


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
    benchmark: Benchmark,
    chunk: list[tuple[int, range]],
    seed: int,
    style: str,
    sampling: dict[str, Any],
    batch_size: int | None,
) -> list[dict[str, Any]]:
    """Rows of a chunk, without verdicts (but for questions whose images cannot be opened). Questions that want equally
    many samples go to `generate` together."""
    questions = benchmark.questions
    by_count: dict[int, list[int]] = {}
    prompts: dict[int, Any] = {}
    unreadable: dict[int, str] = {}
    for position, (index, samples) in enumerate(chunk):
        try:
            if questions[index].images:
                prompts[position] = make_image_prompt(questions[index], style, benchmark)
            else:
                prompts[position] = make_prompt(questions[index], policy.tokenizer, style, benchmark)
            by_count.setdefault(len(samples), []).append(position)
        except DataError as error:
            unreadable[position] = str(error)
    completions: dict[int, list[Any]] = {}
    for n, positions in by_count.items():
        keys = [rng.key(seed, "eval", questions[chunk[p][0]].id, s) for p in positions for s in chunk[p][1]]
        generated = policy.generate(
            [prompts[p] for p in positions], n=n, keys=np.array(keys, dtype=np.uint64),
            batch_size=batch_size, **sampling,
        )  # fmt: skip
        completions.update(zip(positions, generated, strict=True))
    rows: list[dict[str, Any]] = []
    for position, (index, samples) in enumerate(chunk):
        for place, sample in enumerate(samples):
            row: dict[str, Any] = {
                "id": questions[index].id, "sample": sample, "answer": questions[index].answer,
            }  # fmt: skip
            if position in unreadable:
                row.update(response="", tokens=0, finish_reason=UNREADABLE, extracted=None, status="error")
                row["detail"] = unreadable[position]
            else:
                completion = completions[position][place]
                row.update(response=completion.text, tokens=len(completion.token_ids))
                row["finish_reason"] = completion.finish_reason
            rows.append(row)
    return rows


class _Bar:
    """A progress bar over samples that shows the accuracy so far, and when all is done if more evaluations follow."""

    def __init__(self, name: str, total: int, rows: list[dict[str, Any]], shown: bool, after: int):
        from tqdm.auto import tqdm

        self._right = self._all = 0
        self._after = after
        self._bar = tqdm(total=total, desc=name, unit="sample", disable=not shown, initial=len(rows))
        self._count(rows)

    def _count(self, rows: list[dict[str, Any]]) -> None:
        self._right += sum(row["status"] == "correct" for row in rows)
        self._all += len(rows)

    def update(self, rows: list[dict[str, Any]]) -> None:
        self._count(rows)
        if self._bar.disable:
            return
        self._bar.update(len(rows))
        shown = f"accuracy {100 * self._right / self._all:.1f} %"
        if self._after:
            elapsed = self._bar.format_dict["elapsed"]
            left = elapsed * (self._bar.total - self._bar.n + self._after) / (self._bar.n - self._bar.initial)
            shown += f", all benchmarks done in {self._bar.format_interval(left)}"
        self._bar.set_postfix_str(shown, refresh=False)

    def close(self) -> None:
        self._bar.close()


def run_eval(
    policy: Any,
    benchmarks: Sequence[str | os.PathLike[str]],
    *,
    output_dir: str | os.PathLike[str] | None = None,
    data_path: str | os.PathLike[str] | None = None,
    partial: bool = False,
    **settings: Any,
) -> list[EvalResult]:
    """Evaluate a policy on several benchmarks with the same settings and one judge: what `ptagrpo eval` does.

    Args:
        policy: a `Policy`, or a path or hub id to load one from.
        benchmarks: names of `ptagrpo.benchmarks`, Python files with a `SPEC`, or JSONL files; none repeated.
        output_dir: each benchmark gets a folder of its name in it.
        data_path: folder (or, for one benchmark, file) to read the benchmarks from; None: see
            `benchmarks.load`.
        partial: accept files with fewer rows than a benchmark has.
        settings: further keywords of `evaluate`.

    Raises:
        ConfigError: no benchmark, one named twice, or questions with images for a policy that reads text only; and
            what `evaluate` raises. Benchmarks are all read and checked before the first sample is drawn.
    """
    specs = [spec_of(name) for name in benchmarks]
    names = [spec.name for spec in specs]
    if not names or len(set(names)) != len(names):
        raise ConfigError(
            f"run_eval: expected one or more different benchmarks, got {', '.join(names) or 'none'}"
        )
    if isinstance(policy, (str, os.PathLike)):
        from ..policy import load as load_policy

        policy = load_policy(policy)
    refuse_images(policy, [spec.name for spec in specs if spec.image_columns])
    loaded = [
        load(name, None if str(name).endswith(".jsonl") else data_path, partial=partial)
        for name in benchmarks
    ]
    judge = settings.pop("judge", None)
    owned = Judge() if judge is None else None
    pending = [len(_limited(b, settings.get("limit"))) * settings.get("k", 1) for b in loaded]
    try:
        return [
            evaluate(
                policy, benchmark, judge=judge or owned, samples_after=sum(pending[index + 1 :]),
                output_dir=None if output_dir is None else Path(output_dir) / benchmark.name, **settings,
            )
            for index, benchmark in enumerate(loaded)
        ]  # fmt: skip
    finally:
        if owned is not None:
            owned.close()
