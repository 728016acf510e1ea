"""One cell of a study: a variant with a seed, trained on its budget, evaluated, and never run twice.

cells/{variant}/seed-{seed}/
  run/           the trainer's folder, with its newest checkpoint: a killed cell goes on from there
  evaluation/    samples of the held-out questions; these go on too
  result.json    written last, in full or not at all: the cell is finished
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from .. import algorithms
from ..answers import Judge
from ..errors import ConfigError
from ..evaluation import evaluate
from ..evaluation.settings import policy_fingerprint, questions_fingerprint
from ..io import atomic_write_json
from ..policy import Policy
from ..records import Question
from ..training import GRPOConfig, GRPOTrainer, PTAGRPOTrainer
from ..training.plan_warnings import PlanWarning
from .budget import Budget, spent, step_seconds
from .spec import StudySpec, Variant, check_fair, configuration

RESULT = "result.json"
CURVE = (
    "rewards/outcome/mean", "rewards/plan/mean", "plan/success_mean", "plan/success_spread", "plan/tie_frac",
    "plan/variance_share", "plan/hsic_normalized", "entropy", "completions/mean_length",
    "frac_no_outcome_signal",
)  # fmt: skip


class Task(Protocol):
    """What is studied; see `chains_task` and `data_task`."""

    settings: Mapping[str, Any]
    reward_funcs: tuple

    def identity(self) -> dict[str, Any]: ...
    def train_questions(self, seed: int, count: int) -> list[Question]: ...
    def test_questions(self, count: int) -> list[Question]: ...
    def start(self, seed: int, kind: str) -> Policy: ...
    def check_start(self, kind: str) -> None: ...
    def untrained(self) -> Policy: ...


def cell_folder(root: Path, variant: Variant, seed: int) -> Path:
    """Where a cell lives."""
    return root / "cells" / variant.name / f"seed-{seed}"


def configurations(spec: StudySpec, variants: Sequence[Variant], task: Task) -> list[GRPOConfig]:
    """The training configuration of each variant's first seed: all that can be refused before the first cell.

    Raises:
        ConfigError: settings that contradict each other, a start that the task lacks, or fewer training questions
            than a variant asks for.
    """
    check_fair(spec, list(variants))
    made = []
    for variant in variants:
        task.check_start(variant.start)
        if variant.train_questions:
            training_questions(spec, task, variant, 0)
        made.append(configuration(spec, variant, cell_folder(Path(spec.output_dir), variant, 0) / "run", 0,
                                  task.settings))  # fmt: skip
    return made


def run_cell(spec: StudySpec, task: Task, variant: Variant, seed: int) -> dict[str, Any]:
    """The result of a cell: read where it is finished, else trained (from its checkpoint, if there is one),
    evaluated and written.

    Raises:
        ConfigError: the folder holds a result of other settings; they are named.
        ResumeError: it holds a half-done run of other settings.
    """
    folder = cell_folder(Path(spec.output_dir), variant, seed)
    config = None
    if variant.algorithm is not None:
        config = configuration(spec, variant, folder / "run", seed, task.settings)
    identity = _identity(spec, task, variant, seed, config)
    found = _finished(folder / RESULT, identity)
    if found is not None:
        return found
    policy = task.start(seed, variant.start)
    start = policy_fingerprint(policy)
    used, curve, findings = spent([], 0.0), [], []
    if config is not None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", PlanWarning)
            used, curve = _train(spec, task, variant, seed, config, policy)
        findings = [str(entry.message) for entry in caught if entry.category is PlanWarning]
        for entry in caught:
            if entry.category is not PlanWarning:
                warnings.warn_explicit(entry.message, entry.category, entry.filename, entry.lineno)
    result = {
        "variant": variant.name,
        "seed": seed,
        "identity": identity,
        "start": start,
        "spent": used,
        "evaluation": _evaluate(spec, task, variant, seed, folder, policy),
        "warnings": findings,
        "curve": curve,
    }
    atomic_write_json(folder / RESULT, result)
    return json.loads(json.dumps(result))


def _identity(spec: StudySpec, task: Task, variant: Variant, seed: int, config: Any) -> dict[str, Any]:
    settings = {} if config is None else config.trajectory()
    return json.loads(json.dumps({
        **task.identity(),
        "algorithm": variant.algorithm,
        "start": variant.start,
        "seed": seed,
        "budget": spec.budget if config is not None else None,
        "amount": spec.amount if config is not None else None,
        "train_questions": (variant.train_questions or spec.train_questions) if config is not None else None,
        "questions_per_rollout": spec.questions_per_rollout if config is not None else None,
        "test_questions": spec.test_questions,
        "eval": [spec.eval_samples, spec.eval_temperature, spec.eval_top_p],
        **{f"settings.{name}": value for name, value in settings.items()},
    }))  # fmt: skip


def _finished(file: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    if not file.exists():
        return None
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        there = found["identity"]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{file}: is not the result of a cell ({error!r}); delete it to run it again"
        ) from error
    changed = sorted(name for name in {*there, *identity} if there.get(name) != identity.get(name))
    if changed:
        listed = "; ".join(f"{n}: {there.get(n)!r} there, {identity.get(n)!r} now" for n in changed)
        raise ConfigError(
            f"{file} is of other settings ({listed}); use the same settings, another output_dir, or delete "
            f"{file.parent}"
        )
    return found


def _train(
    spec: StudySpec, task: Task, variant: Variant, seed: int, config: Any, policy: Policy
) -> tuple[dict[str, float], list[dict[str, float]]]:
    questions = training_questions(spec, task, variant, seed)
    unit = {"rollouts": "responses"}.get(spec.budget, spec.budget)
    responses = spec.questions_per_rollout * config.num_generations
    amount = spec.rollouts * responses if spec.budget == "rollouts" else spec.amount
    trainer = trainer_of(config, policy, questions, task, [Budget(unit, amount)])
    trainer.train(resume_from_checkpoint="auto")
    root, rows = Path(config.output_dir), trainer.state.log_history
    curve = []
    for number, row in enumerate(rows, start=1):
        if "reward" in row:
            used = spent(rows[:number], step_seconds(root, row["step"]))
            values = {name: row[name] for name in CURVE if name in row}
            curve.append({"step": row["step"], **used, **values})
    return spent(rows, step_seconds(root, trainer.state.global_step)), curve


def training_questions(spec: StudySpec, task: Task, variant: Variant, seed: int) -> list[Question]:
    count = variant.train_questions or spec.train_questions or spec.rollouts * spec.questions_per_rollout
    questions = task.train_questions(seed, count)
    if variant.train_questions and len(questions) < variant.train_questions:
        raise ConfigError(
            f"study: {variant.name}: asked for {variant.train_questions} training questions, there are "
            f"{len(questions)}"
        )
    return questions


def trainer_of(
    config: GRPOConfig, policy: Policy, questions: list[Question], task: Task, callbacks: Sequence[Any] = ()
) -> GRPOTrainer:
    """The trainer of a cell. Where there is an outcome reward, functions are added to it for flat groups as for
    trees."""
    trainer_class = PTAGRPOTrainer if algorithms.load(config.algorithm).tree else GRPOTrainer
    return trainer_class(
        model=policy,
        reward_funcs=list(task.reward_funcs),
        args=config if config.outcome_reward is not None else config.replace(outcome_reward=1.0),
        train_dataset=questions,
        callbacks=callbacks,
    )


def _evaluate(
    spec: StudySpec, task: Task, variant: Variant, seed: int, folder: Path, policy: Policy
) -> dict[str, Any]:
    """Held-out accuracy by question: `accuracy` of each, in the order of the questions, and `first`, whether
    the first response was right (1 or 0), which tests of yes-or-no outcomes take."""
    settings = {**task.settings, **spec.settings, **variant.changes}
    questions = task.test_questions(spec.test_questions)
    with Judge() as judge:
        result = evaluate(
            policy,
            questions,
            k=spec.eval_samples,
            temperature=spec.eval_temperature,
            top_p=spec.eval_top_p,
            max_new_tokens=int(settings.get("max_completion_length", 512)),
            prompt_style=str(settings.get("prompt_style", "plan")),
            kind=str(settings.get("answer_kind", "math")),
            seed=seed,
            judge=judge,
            output_dir=folder / "evaluation",
            progress=False,
        )
    rows = result.by_question()
    tokens = [row["tokens"] for row in result.rows]
    return {
        "questions": questions_fingerprint(questions),
        "accuracy": list(result.question_accuracies.values()),
        "first": [int(samples[0]["status"] == "correct") for samples in rows.values()],
        "pass_at": {str(k): result.pass_at(k).mean for k in result.pass_ks()},
        "maj": result.maj().mean,
        "mean_tokens": sum(tokens) / len(tokens),
        "statuses": result.statuses,
    }
