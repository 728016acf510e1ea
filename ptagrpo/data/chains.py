"""The built-in task: chains of quantities, in the manner of iGSM (Ye et al. 2024, arXiv 2407.20311), by our
own generator.

Ten people each think of a number from 0 to 6; sums wrap around at 7, as weekdays do. A question defines some
of the numbers by others and asks for one:

    Ida is 5 plus Jon. Cat is Ida plus Jon. Dan is 4. Eve is 2 plus Hal. Jon is 5. Hal is 6 plus Cat. What is
    Hal?

- The *plan* names the quantities that the answer needs, from the goal backwards (`Hal Cat Ida Jon`): no
  calculation.
- *think* works through them in reverse: `Jon 5. Ida 5 plus Jon = 5 plus 5 = 3. ...`.
- Every needed quantity but the first is built on the one before it (at times on an earlier one as well), so
  that there is exactly one right order. The other statements are *distractors*.
- Difficulty is the number of needed quantities, 2 to 5.
- A question belongs to the test split when the checksum of its structure falls in one tenth of the checksums.
  The structure is the whole question up to names and order of statements, so that no test question is a
  renamed or shuffled training question, whatever the seeds.

This module knows text and numbers only: no model, no training. `teacher_record` writes solutions as a
*teacher that tires* does: it stops its plan early, and its reasoning then guesses what it has not worked out.
"""

from __future__ import annotations

import json
import random
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from ..errors import ConfigError, DataError
from ..records import Question
from ..tokenizer import Tokenizer

MODULUS = 7
NAMES = ("Ada", "Ben", "Cat", "Dan", "Eve", "Fay", "Gus", "Hal", "Ida", "Jon")
LENGTHS = (2, 3, 4, 5)
NUM_DISTRACTORS = 2
TEST_SHARE = 10  # one checksum in ten is a test question
TIRING_TEACHER = (0.1, 0.3, 0.5, 0.5)  # chance to stop the plan after 1, 2, 3, 4 names
TAGS = ("<plan>", "</plan>", "<think>", "</think>", "<answer>", "</answer>")
EOS_TOKEN, PAD_TOKEN, UNK_TOKEN = "<eos>", "<pad>", "<unk>"


@dataclass(frozen=True)
class Definition:
    """One statement: `name` is `constant` plus the sum of `parents` (names); at most one parent beside a
    constant."""

    name: str
    constant: int | None
    parents: tuple[str, ...]

    @property
    def terms(self) -> tuple[str, ...]:
        """The right-hand side as written, for example `("5", "Jon")`."""
        return (() if self.constant is None else (str(self.constant),)) + self.parents

    def text(self) -> str:
        """The statement as a sentence."""
        return f"{self.name} is {' plus '.join(self.terms)}."


@dataclass(frozen=True)
class Problem:
    """One question: its statements in the order shown, the name asked for, and the one right plan (goal
    first)."""

    definitions: tuple[Definition, ...]
    goal: str
    plan: tuple[str, ...]

    @property
    def length(self) -> int:
        """Difficulty: how many quantities the answer needs."""
        return len(self.plan)

    @property
    def by_name(self) -> dict[str, Definition]:
        """Statements by the name that they define."""
        return {definition.name: definition for definition in self.definitions}

    def values(self) -> dict[str, int]:
        """The value of every needed quantity, 0 to `MODULUS - 1`."""
        by_name, values = self.by_name, {}
        for name in reversed(self.plan):
            definition = by_name[name]
            values[name] = ((definition.constant or 0) + sum(values[p] for p in definition.parents)) % MODULUS
        return values

    @property
    def answer(self) -> str:
        """The value of the goal, as text."""
        return str(self.values()[self.goal])

    @property
    def question(self) -> str:
        """The question as text."""
        return " ".join([d.text() for d in self.definitions] + [f"What is {self.goal}?"])

    def structure(self) -> str:
        """The question up to names, order of statements and order of summands: equal for renamed or shuffled
        copies."""
        index = {name: i for i, name in enumerate(self.plan)}

        def shape(definition: Definition) -> list:
            # Distractors build on needed quantities or on nothing, so their parents always have an index.
            return [
                -1 if definition.constant is None else definition.constant,
                *sorted(index[p] for p in definition.parents),
            ]

        by_name = self.by_name
        needed = [shape(by_name[name]) for name in self.plan]
        others = sorted(shape(d) for d in self.definitions if d.name not in index)
        return json.dumps([needed, others])

    def split(self) -> str:
        """ "test" for one tenth of all structures, else "train"."""
        return "test" if zlib.crc32(self.structure().encode()) % TEST_SHARE == 0 else "train"

    def think(
        self,
        plan: Sequence[str] | None = None,
        guess: random.Random | None = None,
        slip: float = 0.0,
    ) -> tuple[str, str]:
        """Work through `plan` (default: the right one) in reverse; return the reasoning and its answer.

        A quantity that a definition needs and that the plan leaves out is guessed with `guess`.

        Args:
            slip: chance, drawn with `guess`, that the result of a sum is written down as any of the values,
                right or wrong, and used as such from there on.

        Raises:
            ConfigError: the plan leaves something out, or there is a `slip`, and there is no `guess`; or the
                plan does not begin with the goal.
        """
        if slip and guess is None:
            raise ConfigError(f"slip: got {slip}, which needs a generator to draw with; pass guess=")
        plan = tuple(self.plan if plan is None else plan)
        if not plan or plan[0] != self.goal:
            raise ConfigError(f"plan: expected it to begin with the goal {self.goal!r}, got {list(plan)}")
        by_name, values, sentences = self.by_name, {}, []
        for name in reversed(plan):
            definition = by_name[name]
            numbers = [] if definition.constant is None else [definition.constant]
            for parent in definition.parents:
                if parent not in values:
                    if guess is None:
                        raise ConfigError(
                            f"plan {list(plan)} lacks {parent!r}, which {name!r} is built on; pass guess="
                        )
                    values[parent] = guess.randrange(MODULUS)
                numbers.append(values[parent])
            values[name] = sum(numbers) % MODULUS
            if slip and definition.parents and guess is not None and guess.random() < slip:
                values[name] = guess.randrange(MODULUS)
            if definition.parents:
                sums = " plus ".join(str(number) for number in numbers)
                sentences.append(f"{name} {' plus '.join(definition.terms)} = {sums} = {values[name]}.")
            else:
                sentences.append(f"{name} {values[name]}.")
        return " ".join(sentences), str(values[self.goal])

    def to_question(self, id: str) -> Question:
        """The record that rollouts and evaluation take. Columns: `gold_plan` (text) and `length`
        (difficulty)."""
        return Question(
            id=id,
            prompt=self.question,
            answer=self.answer,
            columns={"gold_plan": " ".join(self.plan), "length": self.length},
        )


def random_problem(rng: random.Random, length: int) -> Problem:
    """Draw one problem with `length` needed quantities, of either split.

    Raises:
        ConfigError: `length` is not in 2 … 8 (ten names, two of them for distractors).
    """
    if not 2 <= length <= len(NAMES) - NUM_DISTRACTORS:
        raise ConfigError(
            f"length: expected 2 to {len(NAMES) - NUM_DISTRACTORS} needed quantities, got {length}"
        )
    names = rng.sample(NAMES, length + NUM_DISTRACTORS)
    chain, spare = names[:length], names[length:]
    definitions = [Definition(chain[0], rng.randrange(MODULUS), ())]
    for i in range(1, length):
        if i >= 2 and rng.random() < 0.3:
            definitions.append(Definition(chain[i], None, (chain[i - 1], rng.choice(chain[: i - 1]))))
        else:
            definitions.append(Definition(chain[i], rng.randrange(MODULUS), (chain[i - 1],)))
    for name in spare:
        parents = () if rng.random() < 0.3 else (rng.choice(chain),)
        definitions.append(Definition(name, rng.randrange(MODULUS), parents))
    rng.shuffle(definitions)
    return Problem(tuple(definitions), chain[-1], tuple(reversed(chain)))


def problems(count: int, *, split: str, seed: int, lengths: Sequence[int] = LENGTHS) -> list[Problem]:
    """Return `count` problems of one split, difficulties taking turns; a pure function of the arguments.

    Args:
        count: how many.
        split: "train" or "test"; the two never share a structure.
        seed: another seed gives other problems.
        lengths: difficulties that take turns.

    Raises:
        ConfigError: an unknown split, or a length out of range.

    >>> one = problems(1, split="test", seed=0)[0]
    >>> one.split(), one.length, set(one.plan) <= set(NAMES)
    ('test', 2, True)
    """
    if split not in ("train", "test"):
        raise ConfigError(f"split: expected 'train' or 'test', got {split!r}")
    rng = random.Random(f"chains-{split}-{seed}")
    found: list[Problem] = []
    while len(found) < count:
        problem = random_problem(rng, lengths[len(found) % len(lengths)])
        if problem.split() == split:
            found.append(problem)
    return found


def questions(count: int, *, split: str, seed: int, lengths: Sequence[int] = LENGTHS) -> list[Question]:
    """`problems` as `Question` records with ids such as "chains-test-0-17"."""
    return [
        problem.to_question(f"chains-{split}-{seed}-{i}")
        for i, problem in enumerate(problems(count, split=split, seed=seed, lengths=lengths))
    ]


def clean_record(problem: Problem, rng: random.Random | None = None, slip: float = 0.0) -> dict[str, str]:
    """The right plan with right reasoning: a record (question, plan, think, answer) for supervised training.

    With `slip` the reasoning errs that often (see `Problem.think`), and the answer with it: a model trained on
    such records plans rightly and calculates noisily.
    """
    think, answer = problem.think(guess=rng, slip=slip)
    return {"question": problem.question, "plan": " ".join(problem.plan), "think": think, "answer": answer}


def teacher_record(
    problem: Problem, rng: random.Random, stop: Sequence[float] = TIRING_TEACHER, slip: float = 0.0
) -> dict[str, str]:
    """A record by a teacher that tires: after `j` names it ends its plan with chance `stop[j - 1]` (the last
    one for longer plans), and guesses the rest. `slip`: see `clean_record`."""
    plan = [problem.plan[0]]
    for name in problem.plan[1:]:
        if rng.random() < stop[min(len(plan), len(stop)) - 1]:
            break
        plan.append(name)
    think, answer = problem.think(plan, rng, slip)
    return {"question": problem.question, "plan": " ".join(plan), "think": think, "answer": answer}


_STATEMENT = re.compile(r"(?P<name>\w+) is (?P<terms>\w+(?: plus \w+)*) ?\.")


def parse_question(text: str) -> Problem:
    """Read a question back from its text; the plan is found by following the definitions from the goal.

    Raises:
        DataError: the text is not a question of this task (the message says which part).
    """
    goal = re.search(r"What is (\w+) ?\?\s*$", text)
    if goal is None:
        raise DataError(f"expected a question that ends 'What is NAME?', got {text!r}")
    definitions, rest = [], text[: goal.start()]
    for match in _STATEMENT.finditer(rest):
        terms = match["terms"].split(" plus ")
        numbers = [int(term) for term in terms if term.isdigit()]
        parents = tuple(term for term in terms if not term.isdigit())
        definitions.append(Definition(match["name"], numbers[0] if numbers else None, parents))
    if _STATEMENT.sub("", rest).strip():
        raise DataError(f"not a statement of this task: {_STATEMENT.sub('', rest).strip()!r} in {text!r}")
    by_name = {definition.name: definition for definition in definitions}
    needed: set[str] = set()
    waiting = [goal[1]]
    while waiting:
        name = waiting.pop()
        if name not in by_name:
            raise DataError(f"{name!r} is needed but not defined in {text!r}")
        if name not in needed:
            needed.add(name)
            waiting.extend(by_name[name].parents)
    # The right order: each needed quantity before everything that it is built on.
    plan: list[str] = []
    while len(plan) < len(needed):
        free = [
            n
            for n in needed.difference(plan)
            if not any(n in by_name[m].parents for m in needed.difference(plan))
        ]
        if len(free) != 1:
            raise DataError(
                f"the quantities {sorted(free) or sorted(needed)} have no single order in {text!r}"
            )
        plan.append(free[0])
    return Problem(tuple(definitions), goal[1], tuple(plan))


@dataclass(frozen=True)
class PlanCheck:
    """How a plan compares with the right one. `marks`: (name as written, "right" | "wrong") in the plan's
    order;
    `missing`: needed names that it lacks, in the right order. `right` holds iff names and order are exactly
    right."""

    right: bool
    marks: tuple[tuple[str, str], ...]
    missing: tuple[str, ...]


def check_plan(gold_plan: str, plan: str | None) -> PlanCheck:
    """Compare a plan's text with the right one, name by name: a name is right where the same name stands in
    its place.

    >>> check_plan("Hal Cat Ida", "Hal Cat")
    PlanCheck(right=False, marks=(('Hal', 'right'), ('Cat', 'right')), missing=('Ida',))
    >>> check_plan("Hal Cat", " Hal  Cat ").right, check_plan("Hal Cat", "Cat Hal").right
    (True, False)
    """
    gold, written = gold_plan.split(), (plan or "").split()
    marks = tuple(
        (name, "right" if i < len(gold) and gold[i] == name else "wrong") for i, name in enumerate(written)
    )
    return PlanCheck(written == gold, marks, tuple(name for name in gold if name not in written))


def vocabulary() -> list[str]:
    """The 32 words of the task, in the order of their token ids."""
    return [
        PAD_TOKEN,
        EOS_TOKEN,
        UNK_TOKEN,
        *TAGS,
        "is",
        "plus",
        "=",
        ".",
        "What",
        "?",
        *NAMES,
        *(str(value) for value in range(MODULUS)),
    ]


def build_tokenizer() -> Tokenizer:
    """The task's word-level tokenizer: one token a word, white space carries no meaning.

    Decoding puts no space before a full stop or a question mark. The tags are ordinary added tokens (they
    stay when special tokens are skipped); `<eos>`, `<pad>` and `<unk>` are special.

    >>> tokenizer = build_tokenizer()
    >>> tokenizer.decode(tokenizer.encode("Hal is 6 plus Cat . What is Hal ?"))
    'Hal is 6 plus Cat. What is Hal?'
    """
    backend = tokenizers.Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(vocabulary())}, unk_token=UNK_TOKEN)
    )
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    backend.add_special_tokens([PAD_TOKEN, EOS_TOKEN, UNK_TOKEN])
    backend.add_tokens([tokenizers.AddedToken(tag, normalized=False, special=False) for tag in TAGS])
    return Tokenizer(
        backend,
        config={
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": EOS_TOKEN,
            "pad_token": PAD_TOKEN,
            "unk_token": UNK_TOKEN,
            "clean_up_tokenization_spaces": False,
            "model_max_length": 256,
        },
    )
