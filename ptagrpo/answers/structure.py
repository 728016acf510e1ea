r"""Read the outer shape of an answer: lists, sets, tuples, intervals, unions, matrices, `x = ...`, `a \pm b`.

The leaves stay text. `compare.py` compares shapes first and leaves after, so that `(1,2]` never meets `[1,2)`
and a symbolic engine only ever sees scalar expressions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from .normalize import is_word, strip_units
from .rational import parse_number

_MATRIX = re.compile(r"\\begin\{([pbvVB]?matrix)\}(.*?)\\end\{\1\}", re.DOTALL)
_ASSIGNMENT = re.compile(
    r"([A-Za-z](?:_\{?\w+\}?)?(?:\([A-Za-z](?:,[A-Za-z])*\))?|\\text\{[^{}]*\}|\\[a-z]+)=([^=<>]+)"
)
_MEMBER = re.compile(r"([A-Za-z])\\in ?(.+)")
_BOUND = re.compile(r"([A-Za-z])(<=|>=|<|>)([^<>=]+)")
_BOUND_REVERSED = re.compile(r"([^<>=]+)(<=|>=|<|>)([A-Za-z])")
_CHAIN = re.compile(r"([^<>=]+)(<=?)([A-Za-z])(<=?)([^<>=]+)")
_CHAIN_DOWN = re.compile(r"([^<>=]+)(>=?)([A-Za-z])(>=?)([^<>=]+)")
_REALS = (r"\mathbb{R}", r"\text{all real numbers}", r"\text{all reals}", r"\R")
_OPEN, _CLOSE = "([{", ")]}"


@dataclass(frozen=True)
class Shape:
    r"""One node. kind: "atom" (text in `text`), "list" (unordered, also sets), "tuple" (ordered; `brackets`
    as written: this covers intervals), "union" (unordered), "matrix" (ordered cells, `brackets` = "rows x
        columns kind").

    `variable` is the left side of `x = ...` or `x \in ...`, or "".
    """

    kind: str
    text: str = ""
    parts: tuple[Shape, ...] = field(default=())
    brackets: str = ""
    variable: str = ""


def split_top(text: str, separator: str) -> list[str]:
    r"""Split at `separator` outside all brackets. Interval brackets need not match in kind: `(0,1]`.

    >>> split_top("(1,2],{3,4}", ",")
    ['(1,2]', '{3,4}']
    """
    parts, depth, start, position = [], 0, 0, 0
    while position < len(text):
        if depth == 0 and text.startswith(separator, position):
            parts.append(text[start:position])
            position += len(separator)
            start = position
            continue
        if text[position] == "\\" and text[position + 1 : position + 2] not in ("{", "}"):
            position += 2
            continue
        if text[position] == "\\":
            position += 1
        character = text[position]
        depth += (character in _OPEN) - (character in _CLOSE)
        position += 1
    parts.append(text[start:])
    return parts


def _closes_at_end(text: str, start: int) -> bool:
    depth = 0
    for position in range(start, len(text)):
        depth += (text[position] in _OPEN) - (text[position] in _CLOSE)
        if depth == 0:
            return position == len(text) - 1
    return False


def _interval(low: str, high: str, brackets: str, variable: str = "") -> Shape:
    return Shape("tuple", parts=(parse_shape(low), parse_shape(high)), brackets=brackets, variable=variable)


def _inequality(text: str) -> Shape | None:
    if match := _CHAIN.fullmatch(text):
        low, first, name, second, high = match.groups()
        return _interval(low, high, "(["[first == "<="] + ")]"[second == "<="], name)
    if match := _CHAIN_DOWN.fullmatch(text):
        high, second, name, first, low = match.groups()
        return _interval(low, high, "(["[first == ">="] + ")]"[second == ">="], name)
    if match := _BOUND.fullmatch(text):
        name, sign, bound = match.groups()
    elif match := _BOUND_REVERSED.fullmatch(text):
        bound, sign, name = match.groups()
        sign = sign.translate(str.maketrans("<>", "><"))
    else:
        return None
    if sign[0] == ">":
        return _interval(bound, r"\infty", "(["[sign == ">="] + ")", name)
    return _interval(r"-\infty", bound, "(" + ")]"[sign == "<="], name)


def _matrix(match: re.Match[str]) -> Shape:
    kind = "det" if match.group(1) in ("vmatrix", "Vmatrix") else "matrix"
    body = re.sub(r"\\\\\s*$", "", match.group(2).strip())
    rows = [split_top(row, "&") for row in body.split("\\\\")]
    cells = tuple(Shape("atom", text=strip_units(cell.strip())) for row in rows for cell in row)
    return Shape("matrix", parts=cells, brackets=f"{kind} {[len(row) for row in rows]}")


def _plus_minus(text: str) -> list[str]:
    text = text.replace(r"\mp", r"\pm") if r"\pm" not in text else text
    if r"\pm" not in text:
        return [text]
    plus = text.replace(r"\pm", "+").replace(r"\mp", "-").removeprefix("+")
    return [plus, text.replace(r"\pm", "-").replace(r"\mp", "+")]


def _list(parts: list[str], variable: str = "") -> Shape:
    shapes: list[Shape] = []
    for part in parts:
        for single in _plus_minus(part):
            shape = parse_shape(single)
            shapes.extend(shape.parts if shape.kind == "list" and r"\pm" in part else [shape])
    return Shape("list", parts=tuple(shapes), variable=variable)


def parse_shape(text: str) -> Shape:
    r"""Return the shape of a cleaned answer (`normalize.clean`).

    >>> [part.text for part in parse_shape(r"1\pm\sqrt{19}").parts]
    ['1+\\sqrt{19}', '1-\\sqrt{19}']
    """
    text = text.strip()
    if is_word(text) and text not in _REALS:
        return Shape("atom", text=text)
    text = strip_units(text)
    if text in _REALS:
        return _interval(r"-\infty", r"\infty", "()")
    if parse_number(text) is not None:
        return Shape("atom", text=text)
    for pattern in (_MEMBER, _ASSIGNMENT):
        if match := pattern.fullmatch(text):
            inner = parse_shape(match.group(2))
            if inner.variable == "":
                return Shape(inner.kind, inner.text, inner.parts, inner.brackets, match.group(1))
    if match := _MATRIX.fullmatch(text):
        return _matrix(match)
    union = split_top(text, r"\cup")
    if len(union) > 1 and all(part.strip() for part in union):
        return Shape("union", parts=tuple(parse_shape(part) for part in union))
    for separator in (",", ";"):
        parts = split_top(text, separator)
        if len(parts) > 1 and all(part.strip() for part in parts):
            return _list(parts)
    if text.startswith("\\{") and text.endswith("\\}") and _closes_at_end(text, 1):
        inner = text[2:-2].strip()
        return _list(split_top(inner, ",")) if inner else Shape("atom", text=r"\emptyset")
    if text[:1] in ("(", "[") and text[-1:] in (")", "]") and _closes_at_end(text, 0):
        parts = split_top(text[1:-1], ",")
        if len(parts) > 1 and all(part.strip() for part in parts):
            shapes = tuple(parse_shape(part) for part in parts)
            return Shape("tuple", parts=shapes, brackets=text[0] + text[-1])
        if text[0] == "(" and text[-1] == ")" and len(parts) == 1 and text[1:-1].strip():
            return parse_shape(text[1:-1])
    if inequality := _inequality(text):
        return inequality
    if r"\pm" in text or r"\mp" in text:
        return _list([text])
    return Shape("atom", text=text)
