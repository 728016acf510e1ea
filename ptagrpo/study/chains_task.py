"""The built-in task as the object of a study: chains of any length, reasoning as noisy as wanted.

For each seed a base learns looking up and adding on right plans, and a cold start imitates a teacher that
stops its plans early. Both are made once and shared by all methods of that seed.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ..data import chains
from ..errors import ConfigError, did_you_mean
from ..io import atomic_write_json
from ..parsing import PLAN_CLOSE, PLAN_OPEN, parse_response
from ..policy import Policy
from ..quickstart import QuickstartSettings, stages
from ..records import Question
from ..training import SFTTrainer
from .spec import BASE, COLD, is_number

TEST_SEED = 4_000_000


@dataclass(frozen=True)
class ChainsSettings:
    """How long, how noisy, and how much of everything.

    lengths: difficulties (needed quantities, 2 to 8) of training and test. base_lengths: those that the base
    learns from at first, without slips (looking names up is found on short chains); None: 2 up to 5. Its
    further rounds, at least one where base_rounds is not 0, have all lengths up to the longest. slip: chance
    that a sum is written down wrong in the records of these rounds and of the cold start. stop: chance that
    the teacher ends its plan after 1, 2, ... names. base_steps, cold_steps: optimizer steps. good_enough: a
    base below this share of right answers under a right plan gets up to base_rounds further rounds of
    round_steps.
    """

    lengths: tuple[int, ...] = chains.LENGTHS
    base_lengths: tuple[int, ...] | None = None
    slip: float = 0.0
    stop: tuple[float, ...] = chains.TIRING_TEACHER
    base_steps: int = 2400
    cold_steps: int = 150
    base_rounds: int = 0
    round_steps: int = 1200
    good_enough: float = 0.85

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> ChainsSettings:
        """From the study's `chains`.

        Raises:
            ConfigError: an unknown key, or a value out of range.
        """
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                raise ConfigError(f"study: chains: there is no key {name!r}.{did_you_mean(name, known)}")
        settings = cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
        settings._check()
        for length in (*settings.lengths, *(settings.base_lengths or ())):
            chains.random_problem(random.Random(0), length)
        return settings

    def _check(self) -> None:
        if not is_number(self.slip) or not 0.0 <= self.slip < 1.0:
            raise ConfigError(f"study: chains: slip: got {self.slip!r}, expected from 0 to below 1")
        if not is_number(self.good_enough) or not 0.0 <= self.good_enough <= 1.0:
            raise ConfigError(f"study: chains: good_enough: got {self.good_enough!r}, expected from 0 to 1")
        for name, lowest in (("base_steps", 1), ("cold_steps", 1), ("base_rounds", 0), ("round_steps", 1)):
            value = getattr(self, name)
            if not is_number(value) or value != int(value) or value < lowest:
                raise ConfigError(
                    f"study: chains: {name}: expected a whole number of at least {lowest}, got {value!r}"
                )
        for name in ("lengths", "base_lengths", "stop"):
            value = getattr(self, name)
            if name == "base_lengths" and value is None:
                continue
            if not isinstance(value, tuple) or not value or not all(map(is_number, value)):
                raise ConfigError(f"study: chains: {name}: expected a list of numbers, got {value!r}")


class ChainsTask:
    """See the module. `settings`: training options that the task needs."""

    reward_funcs: tuple = ()

    def __init__(self, values: Mapping[str, Any], root: Path, progress: bool):
        self._settings = ChainsSettings.read(values)
        self._root, self._progress = root, progress
        longest = max(self._settings.lengths)
        self._limit = 16 + 12 * longest
        self.settings: dict[str, Any] = {
            "prompt_style": "raw",
            "answer_kind": "exact",
            "max_completion_length": self._limit,
            "max_plan_length": 6 + longest,
            "learning_rate": 1e-3,
            "adam_beta2": 0.95,
            "weight_decay": 0.0,
        }

    def identity(self) -> dict[str, Any]:
        """What decides the start and the questions."""
        return {"task": "chains", **json.loads(json.dumps(asdict(self._settings)))}

    def train_questions(self, seed: int, count: int) -> list[Question]:
        """Training questions of a seed."""
        lengths = self._settings.lengths
        return chains.questions(count, split="train", seed=3_000_000 + seed, lengths=lengths)

    def test_questions(self, count: int) -> list[Question]:
        """Held-out questions, the same for every seed."""
        return chains.questions(count, split="test", seed=TEST_SEED, lengths=self._settings.lengths)

    def start(self, seed: int, kind: str) -> Policy:
        """The base or the cold start of a seed; made at the first call, read from its folder afterwards."""
        folder = self._root / "start" / f"seed-{seed}"
        self._check_identity(folder)
        if not (folder / kind / "model" / "config.json").exists():
            base = self._base(folder, seed)
            if kind == COLD:
                self._train(base, folder / COLD, seed, self._rows(seed, COLD), kind=COLD)
                base.save(folder / COLD / "model")
        return Policy.from_pretrained(folder / kind / "model")

    def check_start(self, kind: str) -> None:
        """Both starts can be made."""

    def untrained(self) -> Policy:
        """A model of the size that is trained."""
        return stages.new_policy(0)

    def _check_identity(self, folder: Path) -> None:
        file, mine = folder / "start.json", self.identity()
        if file.exists():
            there = json.loads(file.read_text(encoding="utf-8"))
            changed = [name for name in mine if there.get(name) != mine[name]]
            if changed:
                listed = "; ".join(f"{n}: {there.get(n)!r} there, {mine[n]!r} now" for n in changed)
                raise ConfigError(
                    f"{folder} holds a start with other settings ({listed}); use another output_dir"
                )
        else:
            folder.mkdir(parents=True, exist_ok=True)
            atomic_write_json(file, mine)

    def _base(self, folder: Path, seed: int) -> Policy:
        if (folder / BASE / "model" / "config.json").exists():
            return Policy.from_pretrained(folder / BASE / "model")
        settings, policy = self._settings, stages.new_policy(seed)
        checks = chains.questions(200, split="train", seed=6_000_000 + seed, lengths=settings.lengths)
        shares: list[float] = []
        for number in range(settings.base_rounds + 1):
            polish = bool(shares) and shares[-1] >= QuickstartSettings().polish_from
            where = folder / (BASE if not number else f"base-round-{number + 1}")
            rows = self._rows(seed, BASE, number)
            self._train(policy, where, seed, rows, kind=BASE, number=number, polish=polish)
            shares.append(self._reasoning(policy, checks, seed))
            if number >= min(1, settings.base_rounds) and shares[-1] >= settings.good_enough:
                break
        atomic_write_json(folder / "base.json", {"right_under_right_plan": shares})
        policy.save(folder / BASE / "model")
        return policy

    def _rows(self, seed: int, kind: str, number: int = 0) -> list[dict[str, str]]:
        settings = self._settings
        rng = random.Random(f"study-{kind}-{seed}-{number}")
        if kind == COLD:
            count, first = settings.cold_steps * 16, 2_000_000 + seed
            problems = chains.problems(count, split="train", seed=first, lengths=settings.lengths)
            records = [chains.teacher_record(p, rng, settings.stop, settings.slip) for p in problems]
        else:
            count = (settings.round_steps if number else settings.base_steps) * 8
            longest = max(settings.lengths)
            short = settings.base_lengths or tuple(range(2, min(5, longest) + 1))
            lengths = tuple(range(2, longest + 1)) if number else short
            slip = settings.slip if number else 0.0
            problems = chains.problems(
                count, split="train", seed=1_000_000 + 100 * seed + number, lengths=lengths
            )
            records = [chains.clean_record(problem, rng, slip) for problem in problems]
        return [stages.completion_row(record) for record in records]

    def _train(
        self,
        policy: Policy,
        folder: Path,
        seed: int,
        rows: list[dict[str, str]],
        *,
        kind: str,
        number: int = 0,
        polish: bool = False,
    ) -> None:
        settings = self._settings
        amounts = QuickstartSettings(
            base_steps=settings.base_steps, round_steps=settings.round_steps, cold_steps=settings.cold_steps
        )
        if kind == COLD:
            args = amounts.cold_start(folder, seed, progress=self._progress)
        else:
            args = amounts.base(folder, seed, number, polish=polish, progress=self._progress)
        SFTTrainer(model=policy, args=args, train_dataset=rows).train(resume_from_checkpoint="auto")

    def _reasoning(self, policy: Policy, questions: list[Question], seed: int) -> float:
        """Share of right answers when the model is handed the right plan."""
        openings = [f" {PLAN_OPEN} {question.columns['gold_plan']} {PLAN_CLOSE}" for question in questions]
        prompts = [f"{q.prompt}{opening}" for q, opening in zip(questions, openings, strict=True)]
        found = policy.generate(prompts, max_new_tokens=self._limit, temperature=1.0, seed=seed)
        answers = [parse_response(o + c[0].text).answer for o, c in zip(openings, found, strict=True)]
        return sum(a == q.answer for a, q in zip(answers, questions, strict=True)) / len(questions)
