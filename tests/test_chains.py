"""The built-in task: questions are solvable in one way, splits never meet, the checker and the teacher do
what they say."""

from __future__ import annotations

import random
import re

import pytest

from ptagrpo.data import chains
from ptagrpo.errors import ConfigError, DataError
from ptagrpo.parsing import parse_response


def solve(question: str) -> int:
    """An independent solver: substitute until everything is known. Shares no code with the generator."""
    definitions = dict(re.findall(r"(\w+) is ([\w ]+?)\.", question))
    known: dict[str, int] = {}
    while len(known) < len(definitions):
        before = len(known)
        for name, terms in definitions.items():
            values = [int(t) if t.isdigit() else known.get(t) for t in terms.split(" plus ")]
            if None not in values:
                known[name] = sum(values) % 7
        assert len(known) > before, f"circular: {question}"
    return known[re.search(r"What is (\w+)\?", question)[1]]


def needed(question: str) -> set[str]:
    definitions = dict(re.findall(r"(\w+) is ([\w ]+?)\.", question))
    waiting, found = [re.search(r"What is (\w+)\?", question)[1]], set()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [t for t in definitions[name].split(" plus ") if not t.isdigit()]
    return found


@pytest.fixture(scope="module")
def many() -> list[chains.Problem]:
    return chains.problems(400, split="train", seed=5) + chains.problems(400, split="test", seed=5)


def test_answers_agree_with_an_independent_solver(many):
    for problem in many:
        assert problem.answer == str(solve(problem.question))
        assert set(problem.plan) == needed(problem.question)
        assert problem.plan[0] == problem.goal and len(set(problem.plan)) == problem.length


def test_the_plan_is_the_only_backward_order(many):
    for problem in many:
        by_name = problem.by_name
        for earlier, later in zip(problem.plan, problem.plan[1:], strict=False):
            assert later in by_name[earlier].parents  # each needs the next one: no other order is possible
        assert by_name[problem.plan[-1]].parents == ()


def test_difficulties_take_turns_and_distractors_are_there(many):
    assert [p.length for p in many[:8]] == [2, 3, 4, 5, 2, 3, 4, 5]
    assert all(len(p.definitions) == p.length + chains.NUM_DISTRACTORS for p in many)


def test_a_function_of_its_arguments():
    assert chains.problems(20, split="test", seed=1) == chains.problems(20, split="test", seed=1)
    assert chains.problems(20, split="test", seed=1) != chains.problems(20, split="test", seed=2)
    assert chains.problems(10, split="test", seed=1) == chains.problems(20, split="test", seed=1)[:10]


def rename(problem: chains.Problem, rng: random.Random) -> chains.Problem:
    """The same question under other names, in another order, summands swapped."""
    used = [d.name for d in problem.definitions]
    new = dict(zip(used, rng.sample(chains.NAMES, len(used)), strict=True))
    definitions = [
        chains.Definition(new[d.name], d.constant, tuple(new[p] for p in reversed(d.parents)))
        for d in problem.definitions
    ]
    rng.shuffle(definitions)
    return chains.Problem(tuple(definitions), new[problem.goal], tuple(new[n] for n in problem.plan))


def test_structure_is_blind_to_names_and_order_and_to_nothing_else(many):
    rng = random.Random(0)
    for problem in many[:200]:
        copy = rename(problem, rng)
        assert copy.structure() == problem.structure() and copy.split() == problem.split()
        first = problem.by_name[problem.plan[-1]]
        changed = chains.Definition(first.name, (first.constant + 1) % 7, ())
        other = chains.Problem(
            tuple(changed if d is first else d for d in problem.definitions), problem.goal, problem.plan
        )
        assert other.structure() != problem.structure()


def test_train_and_test_never_share_a_structure():
    train = {p.structure() for seed in range(3) for p in chains.problems(1500, split="train", seed=seed)}
    test = {p.structure() for seed in range(3) for p in chains.problems(300, split="test", seed=seed)}
    assert len(test) > 500 and not train & test
    rng = random.Random(1)
    share = sum(chains.random_problem(rng, 2 + i % 4).split() == "test" for i in range(4000)) / 4000
    assert 0.07 < share < 0.13


def test_questions_read_back(many):
    for problem in many[:200]:
        again = chains.parse_question(problem.question)
        assert again == problem
    spaced = many[0].question.replace(".", " .").replace("?", " ?")
    assert chains.parse_question(spaced) == many[0]


@pytest.mark.parametrize(
    "text, part",
    [
        ("Hal is 2.", "ends 'What is NAME?'"),
        ("Hal is 2. nonsense here. What is Hal?", "nonsense here"),
        ("Hal is 2 plus Cat. What is Hal?", "'Cat' is needed but not defined"),
        ("Hal is 1 plus Cat. Cat is 1 plus Hal. What is Hal?", "no single order"),
    ],
)
def test_what_is_no_question_is_refused(text, part):
    with pytest.raises(DataError, match=re.escape(part)):
        chains.parse_question(text)


@pytest.mark.parametrize(
    "call, part",
    [
        (lambda: chains.problems(1, split="dev", seed=0), "'dev'"),
        (lambda: chains.random_problem(random.Random(0), 9), "9"),
        (lambda: chains.problems(1, split="test", seed=0)[0].think(["Nobody"]), "begin with the goal"),
    ],
)
def test_bad_arguments_are_named(call, part):
    with pytest.raises(ConfigError, match=part):
        call()


def test_clean_records_compute_right(many):
    for problem in many[:200]:
        record = chains.clean_record(problem)
        assert record["plan"].split() == list(problem.plan)
        for line in re.findall(r"[^.]+\.", record["think"]):
            sides = [part.strip(" .") for part in line.split("=")]
            if len(sides) == 3:
                assert sum(int(t) for t in sides[1].split(" plus ")) % 7 == int(sides[2])
        assert record["think"].rstrip(".").split()[-1] == record["answer"] == str(solve(problem.question))


def test_a_plan_that_lacks_something_needs_a_guess():
    problem = chains.problems(4, split="train", seed=0)[3]
    with pytest.raises(ConfigError, match="lacks"):
        problem.think(problem.plan[:2])
    answers = {problem.think(problem.plan[:2], random.Random(i))[1] for i in range(60)}
    assert len(answers) >= 6  # a guess in, any answer out


def test_the_teacher_tires_as_often_as_it_says():
    rng = random.Random(0)
    problems = chains.problems(4000, split="train", seed=9)
    records = [chains.teacher_record(p, rng) for p in problems]
    whole = {k: 0 for k in chains.LENGTHS}
    for problem, record in zip(problems, records, strict=True):
        plan = tuple(record["plan"].split())
        assert plan == problem.plan[: len(plan)]  # a beginning of the right plan, never another one
        whole[problem.length] += plan == problem.plan
        if plan == problem.plan:
            assert record == chains.clean_record(problem)
    expected = {2: 0.9, 3: 0.9 * 0.7, 4: 0.9 * 0.7 * 0.5, 5: 0.9 * 0.7 * 0.25}
    for k, share in expected.items():
        assert whole[k] / 1000 == pytest.approx(share, abs=0.05)


@pytest.mark.parametrize(
    "plan, right, marks, missing",
    [
        ("Hal Cat Ida", True, "rrr", ""),
        (" Hal  Cat Ida ", True, "rrr", ""),
        ("Hal Cat", False, "rr", "Ida"),
        ("Hal Ida Cat", False, "rww", ""),
        ("Hal Cat Ida Jon", False, "rrrw", ""),
        ("Cat", False, "w", "Hal Ida"),
        ("", False, "", "Hal Cat Ida"),
        (None, False, "", "Hal Cat Ida"),
    ],
)
def test_plan_checker(plan, right, marks, missing):
    check = chains.check_plan("Hal Cat Ida", plan)
    assert check.right is right
    assert "".join(mark[0] for _, mark in check.marks) == marks
    assert " ".join(check.missing) == missing


def test_tokenizer_round_trip(many):
    tokenizer = chains.build_tokenizer()
    assert tokenizer.vocab_size == len(chains.vocabulary()) == 32
    for problem in many[:100]:
        record = chains.clean_record(problem)
        ids = tokenizer.encode(problem.question)
        assert tokenizer.decode(ids) == problem.question
        bodies = {tag: record[tag] for tag in ("plan", "think", "answer")}
        text = "\n".join(f"<{tag}>\n{body}\n</{tag}>" for tag, body in bodies.items())
        assert 2 not in tokenizer.encode(problem.question + text)  # <unk>
        response = tokenizer.decode([*tokenizer.encode(text), *tokenizer.eos_token_ids])
        parsed = parse_response(response)
        assert parsed.follows_template
        assert (parsed.plan, parsed.think, parsed.answer) == (
            record["plan"],
            record["think"],
            record["answer"],
        )


def test_saved_tokenizer_reads_the_same_in_transformers(tmp_path, many):
    transformers = pytest.importorskip("transformers", reason="the comparison needs transformers")
    tokenizer = chains.build_tokenizer()
    tokenizer.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for problem in many[:20]:
        ids = tokenizer.encode(problem.question)
        assert theirs(problem.question)["input_ids"] == ids
        assert theirs.decode(ids) == problem.question
