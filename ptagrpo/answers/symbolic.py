r"""Equality of two scalar expressions with math-verify's parser and our own check of its verdict.

Runs in the worker only: any line here may take for ever or eat all memory. math-verify 0.9 alone is too kind
in ways that its issues record (a tiny number equals any other, `9%` equals `9`, two equations
without solutions are equal, letters of a word multiply), so a verdict counts only together with the numbers:
constants are compared at 50 digits, functions at fixed rational points.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

import sympy
from latex2sympy2_extended import NormalizationConfig
from math_verify import LatexExtractionConfig, parse, verify
from sympy.core.relational import Relational

from .rational import Number, close_decimal, parse_number

DIGITS = 50
_AGREE = sympy.Float(10, DIGITS) ** -(DIGITS - 15)
_POINTS = ("7/5", "23/11", "31/13", "5/17", "-9/7", "-29/12", "-3/19")
_CONFIG = LatexExtractionConfig(
    boxed_match_priority=-1,
    normalization_config=NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=False, boxed="none", equations=False
    ),
)


class NotUnderstood(ValueError):
    """An expression could not be parsed. `which` is "prediction" or "gold"."""

    def __init__(self, which: str, text: str):
        super().__init__(f"{which} is not an expression that can be parsed: {text[:200]!r}")
        self.which = which


def parse_expression(text: str, which: str) -> Any:
    """Parse one cleaned scalar expression; raises `NotUnderstood` for anything partial or not scalar."""
    if (
        "$" in text
        or "\\text" in text
        or " " in text
        and any(a.isdigit() and b.isdigit() for a, b in _spaced(text))
    ):
        raise NotUnderstood(which, text)
    try:
        found = parse(
            f"${text}$",
            [_CONFIG],
            fallback_mode="no_fallback",
            extraction_mode="first_match",
            parsing_timeout=None,
            raise_on_error=True,
        )
    except (MemoryError, RecursionError):
        raise
    except Exception as error:
        raise NotUnderstood(which, text) from error
    if len(found) != 1 or isinstance(found[0], (str, bool)) or found[0] in (sympy.true, sympy.false):
        raise NotUnderstood(which, text)
    return _exact(found[0])


def _spaced(text: str) -> list[tuple[str, str]]:
    return [(text[i - 1], text[i + 1]) for i in range(1, len(text) - 1) if text[i] == " "]


def _exact(expression: Any) -> Any:
    """Decimals as exact rationals, `i` as the imaginary unit, symbols without assumptions."""
    if not isinstance(expression, sympy.Basic):
        return expression
    swap: dict[Any, Any] = {value: sympy.Rational(str(value)) for value in expression.atoms(sympy.Float)}
    for symbol in expression.free_symbols:
        swap[symbol] = sympy.I if symbol.name == "i" else sympy.Symbol(symbol.name)
    return expression.xreplace(swap)


def _value(expression: Any) -> Any | None:
    """Numeric value at DIGITS digits, or None when sympy cannot give a finite number."""
    try:
        value = sympy.sympify(expression).doit().evalf(DIGITS)
    except (MemoryError, RecursionError):
        raise
    except Exception:
        return None
    if not value.is_number or value.has(sympy.nan, sympy.zoo, sympy.oo, -sympy.oo):
        return None
    real, imaginary = value.as_real_imag()
    return (real, imaginary) if real.is_Float or real.is_Rational else None


def _agree(left: Any, right: Any) -> bool:
    scale = max(abs(left[0]), abs(left[1]), abs(right[0]), abs(right[1]))
    if scale == 0:
        return True
    return abs(left[0] - right[0]) <= _AGREE * scale and abs(left[1] - right[1]) <= _AGREE * scale


def _interval_of(value: Any) -> tuple[Fraction, Fraction] | None:
    """A real value as a tiny exact interval, for the rule on decimal predictions."""
    if value is None or abs(value[1]) > _AGREE * abs(value[0]):
        return None
    exact = sympy.Rational(str(value[0]))
    middle = Fraction(int(exact.p), int(exact.q))
    slack = abs(middle) * Fraction(1, 10 ** (DIGITS - 15))
    return middle - slack, middle + slack


def _compare_constants(left: Any, right: Any, decimal: Number | None) -> bool | None:
    for side in (left, right):
        if side in (sympy.oo, -sympy.oo, sympy.zoo, sympy.nan):
            return bool(left == right and left != sympy.nan)
    first, second = _value(left), _value(right)
    if first is None or second is None:
        return None
    if _agree(first, second):
        return True
    bounds = _interval_of(second) if decimal is not None else None
    return (
        bounds is not None
        and decimal is not None
        and not right.is_Rational
        and close_decimal(decimal, *bounds)
    )


def _letters(text: str, names: set[str]) -> set[str]:
    """The single letters of a text that stand for `names`, in their own case: the parser folds `R` into
    `r`."""
    letters = re.sub(r"\\[a-zA-Z]+", " ", text)
    return {
        letter
        for letter in letters
        if letter.isalpha() and letter.casefold() in {n.casefold() for n in names}
    }


def _points(names: list[str]) -> list[dict[sympy.Symbol, sympy.Rational]]:
    rows = []
    for shift in range(len(_POINTS)):
        values = (
            sympy.Rational(_POINTS[(shift + 3 * index) % len(_POINTS)]) + index for index in range(len(names))
        )
        rows.append({sympy.Symbol(name): value for name, value in zip(names, values, strict=True)})
    return rows


def _compare_functions(left: Any, right: Any) -> bool | None:
    names = sorted(symbol.name for symbol in left.free_symbols)
    agreed = disagreed = 0
    for point in _points(names):
        first, second = _value(left.subs(point)), _value(right.subs(point))
        if first is None and second is None:
            continue
        if first is None or second is None or not _agree(first, second):
            disagreed += 1
        else:
            agreed += 1
    if disagreed == 0 and agreed >= 3:
        return True
    if disagreed and agreed < 3:
        return False
    return None  # agrees on a part of the domain only, or defined nowhere that was tried


def _same_equation(left: Any, right: Any) -> bool:
    """Whether two equations say the same: their differences of sides are proportional with a constant
    factor."""
    first, second = left.lhs - left.rhs, right.lhs - right.rhs
    names = sorted(symbol.name for symbol in first.free_symbols)
    factors = []
    for point in _points(names):
        top, bottom = first.subs(point), second.subs(point)
        a, b = _value(top), _value(bottom)
        if a is None or b is None:
            continue
        if _agree(a, (0, 0)) != _agree(b, (0, 0)):
            return False
        if not _agree(b, (0, 0)):
            factors.append(_value(top / bottom))
    known = [factor for factor in factors if factor is not None]
    return len(known) >= 3 and all(_agree(known[0], factor) for factor in known[1:])


def equal_expressions(prediction: str, gold: str) -> bool:
    """Whether two cleaned scalar expressions are equal.

    Raises:
        NotUnderstood: one of them cannot be parsed.
        MemoryError, RecursionError: the expression is too much for this process.
    """
    right = parse_expression(gold, "gold")
    left = parse_expression(prediction, "prediction")
    if isinstance(left, Relational) or isinstance(right, Relational):
        if type(left) is not type(right) or left.free_symbols != right.free_symbols:
            return False
        if isinstance(left, sympy.Eq):
            return _same_equation(left, right)
        return bool(verify(right, left, timeout_seconds=None))
    if not isinstance(left, sympy.Expr) or not isinstance(right, sympy.Expr):
        return bool(type(left) is type(right) and verify(right, left, timeout_seconds=None))
    names = {symbol.name for symbol in right.free_symbols}
    if {symbol.name for symbol in left.free_symbols} != names:
        return False
    if _letters(prediction, names) != _letters(gold, names):
        return False
    if not left.free_symbols:
        verdict = _compare_constants(left, right, parse_number(prediction))
    else:
        verdict = _compare_functions(left, right)
    if verdict is not None:
        return verdict
    return bool(verify(right, left, timeout_seconds=None))
