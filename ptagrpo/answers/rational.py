r"""Exact rational values of plainly written numbers: `27.0`, `1,000`, `\frac{3}{4}`, `2\frac{1}{2}`,
`1.5\times10^{3}`.

Input is text that `normalize.clean` has been over. Nothing here can hang or overflow: lengths and exponents
are bounded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

MAX_DIGITS = 400
MIN_SIGNIFICANT_DIGITS = 6

_DECIMAL = r"(?:\d+\.?\d*|\.\d+)"
_INTEGER = re.compile(r"\d+")
_PLAIN = re.compile(rf"({_DECIMAL})")
_THOUSANDS = re.compile(r"(\d{1,3}(?:,\d{3})+(?:\.\d+)?)")
_RATIO = re.compile(rf"(?:\\frac\{{([-+]?{_DECIMAL})\}}\{{([-+]?{_DECIMAL})\}}|({_DECIMAL})/({_DECIMAL}))")
_MIXED = re.compile(r"(\d+)(?:\\frac\{(\d+)\}\{(\d+)\}|(?:\s+|\+)(\d+)/(\d+))")
_REPEATING = re.compile(r"(\d*)\.(\d*)(?:\\overline|\\bar)\{(\d+)\}(?:\\ldots|\\dots|\.\.\.)?")
_SCIENTIFIC = re.compile(rf"({_DECIMAL})(?:\\times|\\cdot|\*)10\^(?:\{{([-+]?\d+)\}}|(\d))")


@dataclass(frozen=True)
class Number:
    """An exact value, and how it was written: `decimals` digits after the point (None: not a decimal)."""

    value: Fraction
    decimals: int | None = None
    significant: int = 0
    percent: bool = False


def _fraction(numerator: str, denominator: str) -> Fraction | None:
    bottom = Fraction(denominator)
    return None if bottom == 0 else Fraction(numerator) / bottom


def _unsigned(text: str) -> Number | None:
    if match := _THOUSANDS.fullmatch(text):
        text = match.group(1).replace(",", "")
    if _PLAIN.fullmatch(text):
        _, point, tail = text.partition(".")
        digits = text.replace(".", "").lstrip("0")
        return Number(Fraction(text), len(tail) if point else None, len(digits))
    if match := _RATIO.fullmatch(text):
        top, bottom = match.group(1) or match.group(3), match.group(2) or match.group(4)
        value = _fraction(top, bottom)
        return None if value is None else Number(value)
    if match := _MIXED.fullmatch(text):
        part = _fraction(match.group(2) or match.group(4), match.group(3) or match.group(5))
        return None if part is None else Number(int(match.group(1)) + part)
    if match := _REPEATING.fullmatch(text):
        whole, fixed, cycle = match.groups()
        scale = 10 ** len(fixed)
        repeated = Fraction(int(cycle), (10 ** len(cycle) - 1) * scale)
        return Number(Fraction(int(whole or "0")) + Fraction(int(fixed or "0"), scale) + repeated)
    if match := _SCIENTIFIC.fullmatch(text):
        exponent = int(match.group(2) or match.group(3))
        if abs(exponent) <= MAX_DIGITS:
            return Number(Fraction(match.group(1)) * Fraction(10) ** exponent)
    return None


def parse_number(text: str) -> Number | None:
    r"""Exact value of a plainly written number, or None when `text` is anything else.

    >>> parse_number("27.0").value == parse_number("027").value == 27
    True
    >>> parse_number(r"-1\frac{1}{2}").value
    Fraction(-3, 2)
    >>> parse_number("2x") is None
    True
    """
    if not text or len(text) > MAX_DIGITS:
        return None
    percent = False
    if text.endswith("%"):
        text, percent = text[:-1].rstrip("\\ "), True
    negative = False
    while text[:1] in ("-", "+"):
        negative ^= text[0] == "-"
        text = text[1:].lstrip()
    number = _unsigned(text)
    if number is None:
        return None
    value = -number.value if negative else number.value
    return Number(value, number.decimals, number.significant, percent)


def _terminates(value: Fraction) -> bool:
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    return rest == 1


def close_decimal(prediction: Number, low: Fraction, high: Fraction) -> bool:
    """Whether a decimal prediction is a correct rounding (or cut) of an exact value in [low, high].

    At least six significant digits are asked for, and less than one unit of the last digit between the two.
    """
    if prediction.decimals is None or prediction.significant < MIN_SIGNIFICANT_DIGITS:
        return False
    unit = Fraction(1, 10**prediction.decimals)
    return low - unit < prediction.value < high + unit


def equal_numbers(prediction: Number, gold: Number) -> bool:
    r"""Exact equality, with two allowances, both documented in `docs/grading.md`.

    - A percent sign is a value (`50%` is `0.5`), and also a mere unit when the bare number above 1 is asked
    for
      (`50%` for `50`, `50` for `50%`). `0.5` never equals `50`, and `0.5%` never equals `0.5`.
    - A gold that no finite decimal can state (`1/3`) accepts a decimal of six significant digits or more.
    """
    if prediction.percent != gold.percent:
        if prediction.value == gold.value and abs(gold.value) > 1:
            return True
        left = prediction.value / 100 if prediction.percent else prediction.value
        right = gold.value / 100 if gold.percent else gold.value
        return left == right
    if prediction.value == gold.value:
        return True
    return not _terminates(gold.value) and close_decimal(prediction, gold.value, gold.value)
