"""The quickstart's stages, each a few calls of the public trainers. Every one resumes where a killed run left
it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..algorithms import AdvantageSettings, assign_advantages
from ..answers import Judge
from ..data import chains
from ..evaluation import evaluate
from ..parsing import PLAN_CLOSE, PLAN_OPEN, parse_response
from ..policy import Policy
from ..records import Group, Question
from ..rewards import RewardSettings, score_groups
from ..rollouts import SamplingParams, sample_trees
from ..training import GRPOTrainer, PTAGRPOTrainer, SFTTrainer
from .results import HeldOut, Sample, Share
from .settings import MAX_COMPLETION, MAX_PLAN, MODEL, QuickstartSettings


def new_policy(seed: int) -> Policy:
    """A random model of 164 thousand parameters with the task's tokenizer.

    Token embeddings get unit variance instead of the small one of the matrices: looking a name up (an
        attention head that finds its equal) then appears within some hundred steps instead of some thousand.
    """
    policy = Policy.from_config(MODEL, chains.build_tokenizer(), seed=seed)
    policy.model.parameters()["model.embed_tokens.weight"][...] /= MODEL["initializer_range"]
    return policy


def completion_row(record: dict[str, str]) -> dict[str, str]:
    """A record as a prompt and its completion, the template around plan, reasoning and answer."""
    body = " ".join(f"<{tag}> {record[tag]} </{tag}>" for tag in ("plan", "think", "answer"))
    return {"prompt": record["question"], "completion": body}


def clean_rows(count: int, seed: int) -> list[dict[str, str]]:
    """Rows for the base: right plans, right reasoning."""
    return [completion_row(chains.clean_record(p)) for p in chains.problems(count, split="train", seed=seed)]


def teacher_rows(count: int, seed: int) -> list[dict[str, str]]:
    """Rows for the cold start: the teacher that tires."""
    rng = random.Random(seed)
    problems = chains.problems(count, split="train", seed=seed)
    return [completion_row(chains.teacher_record(problem, rng)) for problem in problems]


def train_base(
    policy: Policy,
    settings: QuickstartSettings,
    folder: Path,
    seed: int,
    round_number: int = 0,
    *,
    polish: bool = False,
    progress: bool = True,
) -> list[dict[str, Any]]:
    """Teach the skill itself, in place; return the rows of its metrics."""
    args = settings.base(folder, seed, round_number, polish=polish, progress=progress)
    rows = clean_rows(
        args.max_steps * args.per_device_train_batch_size, 1_000_000 + 100 * seed + round_number
    )
    trainer = SFTTrainer(model=policy, args=args, train_dataset=rows)
    trainer.train(resume_from_checkpoint="auto")
    return trainer.state.log_history


def train_cold_start(
    policy: Policy, settings: QuickstartSettings, folder: Path, seed: int, *, progress: bool = True
) -> list[dict[str, Any]]:
    """Stage 1: imitate the teacher that tires, in place."""
    args = settings.cold_start(folder, seed, progress=progress)
    rows = teacher_rows(args.max_steps * args.per_device_train_batch_size, 2_000_000 + seed)
    trainer = SFTTrainer(model=policy, args=args, train_dataset=rows)
    trainer.train(resume_from_checkpoint="auto")
    return trainer.state.log_history


def plan_right(plans: Sequence[str | None], gold_plan: Sequence[str], **_: Any) -> list[float]:
    """A reward function of TRL's signature: 1 for exactly the right plan. At weight 0 it is but watched."""
    return [float(chains.check_plan(gold, plan).right) for gold, plan in zip(gold_plan, plans, strict=True)]


def reinforce(
    policy: Policy,
    settings: QuickstartSettings,
    folder: Path,
    seed: int,
    algorithm: str,
    *,
    progress: bool = True,
) -> list[dict[str, Any]]:
    """Stage 2 with "pta_grpo" or "grpo", in place: same questions, budget and seeds for both."""
    count = settings.rollouts * settings.questions_per_rollout
    questions = chains.questions(count, split="train", seed=3_000_000 + seed)
    make, trainer_class = {
        "pta_grpo": (settings.pta_grpo, PTAGRPOTrainer),
        "grpo": (settings.grpo, GRPOTrainer),
    }[algorithm]
    trainer = trainer_class(
        model=policy,
        reward_funcs=[plan_right],
        args=make(folder, seed, progress=progress),
        train_dataset=questions,
    )
    trainer.train(resume_from_checkpoint="auto")
    return trainer.state.log_history


def answer_held_out(policy: Policy, questions: Sequence[Question], name: str, seed: int) -> HeldOut:
    """One response to each question at temperature 1, judged by exact answer and exact plan."""
    result = evaluate(
        policy,
        list(questions),
        k=1,
        temperature=1.0,
        top_p=1.0,
        max_new_tokens=MAX_COMPLETION,
        prompt_style="raw",
        kind="exact",
        seed=seed,
        progress=False,
    )
    columns = {question.id: question.columns for question in questions}
    return HeldOut(
        name,
        [
            Sample(
                question=row["id"],
                length=int(columns[row["id"]]["length"]),
                correct=row["status"] == "correct",
                plan_right=chains.check_plan(
                    str(columns[row["id"]]["gold_plan"]), parse_response(row["response"]).plan
                ).right,
                tokens=row["tokens"],
            )
            for row in result.rows
        ],
    )


def reasoning_under_right_plan(policy: Policy, questions: Sequence[Question], seed: int) -> Share:
    """How often the model's reasoning ends right when it is handed the right plan: what RL on plans can build
    on."""
    openings = [f" {PLAN_OPEN} {question.columns['gold_plan']} {PLAN_CLOSE}" for question in questions]
    found = policy.generate(
        [f"{question.prompt}{opening}" for question, opening in zip(questions, openings, strict=True)],
        max_new_tokens=MAX_COMPLETION,
        temperature=1.0,
        seed=seed,
    )
    answers = [parse_response(o + c[0].text).answer for o, c in zip(openings, found, strict=True)]
    return Share(sum(a == q.answer for a, q in zip(answers, questions, strict=True)), len(questions))


def show_trees(
    policy: Policy, settings: QuickstartSettings, questions: Sequence[Question], seed: int
) -> list[Group]:
    """Sample and score a plan tree for each question, as PTA-GRPO does in training; changes nothing."""
    params = SamplingParams(max_completion_length=MAX_COMPLETION, max_plan_length=MAX_PLAN)
    groups = sample_trees(
        policy, questions, settings.num_plans, settings.cots_per_plan, params, seed=seed, step=0
    )
    rewards = RewardSettings(plan_temperature=0.3, length_reward_weight=0.0, answer_kind="exact")
    with Judge() as judge:
        score_groups(groups, rewards, judge)
    assign_advantages(groups, AdvantageSettings())
    return groups


def tree_questions(count: int, seed: int) -> list[Question]:
    """The first test questions of a seed of their own, the difficulties taking turns: no picking."""
    return chains.questions(count, split="test", seed=5_000_000 + seed, lengths=(4, 5, 3, 2))
