r"""Decide whether a stated answer is the reference answer: shapes here, scalar expressions by a caller's
engine.

`compare` answers True, False or None. None means "only a symbolic engine can tell"; without an engine
nothing here can hang, so the training process calls it directly and sends what is left to the worker.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from .normalize import clean, is_word, strip_units
from .rational import equal_numbers, parse_number
from .structure import Shape, parse_shape

Engine = Callable[[str, str], bool]

_BASE = re.compile(r"([0-9A-Fa-f]+)_\{?(\d+)\}?")
_CHOICE = re.compile(r"\(?([A-J])\)?")
_CHOICE_AND_TEXT = re.compile(r"(?:\\text\{\s*)?(?:\(([A-J])\)|([A-J])[.:)]).*|\(([A-J])\).*", re.DOTALL)


def _choice(text: str) -> str | None:
    """The capital letter of a multiple-choice answer such as `(C)`, or None."""
    inner = text[6:-1].strip() if is_word(text) else text
    match = _CHOICE.fullmatch(inner.rstrip("."))
    return match.group(1) if match else None


def _words(text: str) -> str:
    inner = text[6:-1] if is_word(text) else text
    return " ".join(inner.replace("~", " ").casefold().strip(" .").split())


def _letters_only(text: str) -> bool:
    return len(text) > 1 and text.replace(" ", "").isalpha()


def _compare_atoms(prediction: str, gold: str, engine: Engine | None) -> bool | None:
    prediction, gold = strip_units(prediction), strip_units(gold)
    if prediction == gold:
        return True
    left, right = parse_number(prediction), parse_number(gold)
    if left is not None and right is not None:
        return equal_numbers(left, right)
    if is_word(gold) or is_word(prediction):
        if is_word(gold) or _letters_only(gold):
            return _words(prediction) == _words(gold)
        return False
    gold_base, prediction_base = _BASE.fullmatch(gold), _BASE.fullmatch(prediction)
    if gold_base:
        digits, base = gold_base.groups()
        if prediction_base:
            return prediction_base.groups() == (digits, base)
        return prediction == digits
    if prediction_base and right is not None:
        return prediction_base.group(2) == "10" and prediction_base.group(1) == gold
    if "@" in prediction or "@" in gold:  # times of day; without "a.m." or "p.m." the clock's face decides
        (first, _, half), (second, _, other) = prediction.partition("@"), gold.partition("@")
        return first == second and (half == other or not half or not other)
    if ":" in prediction or ":" in gold or not prediction or not gold:
        return False
    return None if engine is None else engine(prediction, gold)


def _compare_unordered(
    prediction: tuple[Shape, ...], gold: tuple[Shape, ...], engine: Engine | None
) -> bool | None:
    if len(prediction) != len(gold):
        return False
    rest = list(prediction)
    unmatched: list[list[bool | None]] = []
    for wanted in gold:
        verdicts: list[bool | None] = []
        for index, candidate in enumerate(rest):
            verdict = _compare_shapes(candidate, wanted, engine)
            if verdict:
                del rest[index]
                break
            verdicts.append(verdict)
        else:
            unmatched.append(verdicts)
    if not unmatched:
        return True
    if any(all(verdict is False for verdict in verdicts) for verdicts in unmatched):
        return False
    return None


def _compare_ordered(
    prediction: tuple[Shape, ...], gold: tuple[Shape, ...], engine: Engine | None
) -> bool | None:
    if len(prediction) != len(gold):
        return False
    answer: bool | None = True
    for left, right in zip(prediction, gold, strict=True):
        verdict = _compare_shapes(left, right, engine)
        if verdict is False:
            return False
        if verdict is None:
            answer = None
    return answer


def _compare_shapes(prediction: Shape, gold: Shape, engine: Engine | None) -> bool | None:
    if prediction.variable and gold.variable and prediction.variable != gold.variable:
        return False
    if gold.kind == "list" and len(gold.parts) == 1 and prediction.kind != "list":
        gold = gold.parts[0]
    if prediction.kind == "list" and len(prediction.parts) == 1 and gold.kind != "list":
        prediction = prediction.parts[0]
    if prediction.kind != gold.kind:
        return False
    if gold.kind == "atom":
        if _is_equation(prediction.text) and not _is_equation(gold.text) and not prediction.variable:
            prediction = parse_shape(_result_of_chain(prediction.text))
            if prediction.kind != "atom":
                return False
        if (
            _is_equation(gold.text) and prediction.variable
        ):  # gold "2x+y=3" against "y=3-2x": compare the equations
            prediction = Shape("atom", text=f"{prediction.variable}={prediction.text}")
        elif _is_equation(prediction.text) and gold.variable:
            gold = Shape("atom", text=f"{gold.variable}={gold.text}")
        return _compare_atoms(prediction.text, gold.text, engine)
    if gold.kind in ("list", "union"):
        return _compare_unordered(prediction.parts, gold.parts, engine)
    if gold.brackets != prediction.brackets:
        return False
    return _compare_ordered(prediction.parts, gold.parts, engine)


def _is_equation(text: str) -> bool:
    return re.search(r"(?<![<>!])=", text) is not None


def _result_of_chain(text: str) -> str:
    r"""`A=\pi r^2=9\pi` and `\frac{6}{4}=\frac{3}{2}` end in their result; `2x+y=1` is an equation and stays
    whole."""
    *sides, last = text.split("=")
    bare = [re.sub(r"\\[a-zA-Z]+", "", side) for side in sides]
    named = len(bare[0]) == 1 and bare[0].isalpha() and len(sides) > 1
    return last if named or not any(character.isalpha() for side in bare for character in side) else text


def compare(prediction: str, gold: str, engine: Engine | None = None) -> bool | None:
    r"""Whether `prediction` states the answer `gold`.

    Args:
        prediction: the extracted answer, as written.
        gold: the reference answer, as its file has it.
        engine: decides equality of two scalar expressions (see `symbolic.equal_expressions`); may raise.

    Returns:
        True or False when certain, None when that needs an engine and there is none.

    >>> compare("0.5", r"\frac12"), compare("(2,1)", "(1,2)"), compare(r"\sqrt8", r"2\sqrt2")
    (True, False, None)
    """
    left, right = clean(prediction), clean(gold)
    if left == right:
        return True
    letter = _choice(right)
    if letter is not None:
        chosen = _choice(left)
        if chosen is None and (match := _CHOICE_AND_TEXT.fullmatch(left)):
            chosen = next(group for group in match.groups() if group)
        if chosen is not None:
            return chosen == letter
        if is_word(right) or right.startswith("("):
            return False
    return _compare_shapes(parse_shape(left), parse_shape(right), engine)
