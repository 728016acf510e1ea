r"""One spelling for each answer: strips what carries no meaning from LaTeX or plain text.

`clean` keeps the mathematics and drops its typography (`\left`, thin spaces, `\dfrac`, dollars, a final full
stop); `normalize_answer` goes on to one canonical string per plain number, which is what majority voting
counts.
"""

from __future__ import annotations

import re

from .rational import parse_number

MAX_ANSWER = 2000  # characters; what is longer is prose, and is only compared as text

_UNICODE = str.maketrans(
    {
        "\u2212": "-",
        "\u2013": "-",
        "\u2010": "-",
        "\u00d7": r"\times ",
        "\u00f7": "/",
        "\u03c0": r"\pi ",
        "\u00b0": r"^\circ",
        "\u221e": r"\infty ",
        "\u2264": r"\le ",
        "\u2265": r"\ge ",
        "\u222a": r"\cup ",
        "\u00b1": r"\pm ",
        "\u2032": "'",
        "\u00a0": " ",
        "\u2009": " ",
        "\u00b7": r"\cdot ",
        "\u2208": r"\in ",
    }
)
_OUTER = [("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**"), ("`", "`")]
_SIZES = re.compile(
    r"\\(?:left|right)(?![a-zA-Z])\s*\.?|\\(?:[bB]igg?[lr]?|displaystyle|textstyle|limits|nolimits)(?![a-zA-Z])"
    r"|\\phantom\s*(?:\{[^{}]*\}|[^\\{])|^\s*\\approx(?![a-zA-Z])"
)
_THIN_THOUSANDS = re.compile(r"(?<=\d)(?:,\\!\s*|\{,\}|\\,|\\ |~)(?=\d{3}(?!\d))")
_SPACES = re.compile(r"(?<!\\)\\[,;:!> ]|\\q?quad(?![a-zA-Z])|~|\\hspace\{[^{}]*\}|\s+")
_TEXT = re.compile(
    r"\\(?:text|mbox|textrm|textnormal|textbf|textit|mathrm|mathbf|mathit|mathsf|operatorname|hbox|bf|rm)"
    r"\s*\{([^{}]*)\}"
)
_AND = re.compile(
    r",?\s*\\text\{\s*,?\s*(?:and|or)\s*\}|,\s*(?:and|or)\s+|(?<=[\d}\s)])\s+(?:and|or)\s+(?=[\s\d\\(+-])"
)
_DEGREES = re.compile(r"\^\s*\{?\s*\\(?:circ|degree)\s*\}?|\\degree(?![a-zA-Z])|°")
_LOG_BASE = re.compile(r"\\log\s*_\s*([0-9a-zA-Z])")
_FRAC = re.compile(r"\\[dtc]frac(?![a-zA-Z])")
_SYNONYMS = [
    (re.compile(r"\\[dt]binom(?![a-zA-Z])"), r"\\binom"),
    (re.compile(r"\\(?:geq|geqslant|ge)(?![a-zA-Z])"), ">="),
    (re.compile(r"\\(?:leq|leqslant|le)(?![a-zA-Z])"), "<="),
    (re.compile(r"\\gt(?![a-zA-Z])"), ">"),
    (re.compile(r"\\lt(?![a-zA-Z])"), "<"),
    (re.compile(r"\\(?:dots|cdots|ldots)(?![a-zA-Z])"), r"\\ldots"),
    (re.compile(r"\\(?:varnothing)(?![a-zA-Z])"), r"\\emptyset"),
    (re.compile(r"\\langle(?![a-zA-Z])"), "("),
    (re.compile(r"\\rangle(?![a-zA-Z])"), ")"),
    (re.compile(r"\\(?:lbrack)(?![a-zA-Z])"), "["),
    (re.compile(r"\\(?:rbrack)(?![a-zA-Z])"), "]"),
    (re.compile(r"\\(?:lbrace)(?![a-zA-Z])"), r"\\{"),
    (re.compile(r"\\(?:rbrace)(?![a-zA-Z])"), r"\\}"),
]
_UNITS = (
    r"square|cubic|sq|cu|centimet(?:er|re)s?|millimet(?:er|re)s?|kilomet(?:er|re)s?|met(?:er|re)s?|cm|mm|km|m|inch(?:es)?"
    r"|in|foot|feet|ft|yards?|yd|miles?|mi|mph|dollars?|cents?|degrees?|radians?|units?|hours?|hrs?|minutes?|mins?|seconds?"
    r"|secs?|days?|weeks?|months?|years?|kg|kilograms?|grams?|g|pounds?|lbs?|ounces?|oz|liters?|litres?|gallons?|quarts?"
    r"|people|students?|ways|points?|percent|USD|per"
)
_UNIT_TAIL = re.compile(rf"(?<=[\d}})])\s*(?:\s(?:{_UNITS})\.?(?:\s*\^\s*\{{?[23]\}}?)?(?![A-Za-z])/?)+\s*$")
_TEXT_TAIL = re.compile(r"(?<=\S)\s*\\text\{[^{}]*\}\s*(?:\^\s*\{?\s*-?\d\s*\}?)?\s*$")
_TIME = re.compile(r"(\d{1,2}(?::\d\d)?)\s*(?:\\text\{\s*)?([aApP])\.?\s?[mM]\.?\s*\}?")
_WORD = re.compile(r"[A-Za-z][A-Za-z .,'-]*")
_BARE_WORDS = re.compile(r"(?=.*[A-Za-z]{4})[A-Za-z]+(?:[ '-][A-Za-z]+)*")
_GROUPED = re.compile(r"(?<=\{)\d{1,3}(?:,\d{3})+(?=\})")


def _braced_arguments(text: str, command: str, count: int) -> str:
    r"""Give every `\command` its braces: `\frac43` becomes `\frac{4}{3}`, `\sqrt2` becomes `\sqrt{2}`."""
    pieces = re.split(rf"\\{command}(?![a-zA-Z])", text)
    out = pieces[0]
    for piece in pieces[1:]:
        arguments, rest = "", piece
        for _ in range(count):
            rest = rest.lstrip()
            if not rest or rest[0] in "{[":
                break
            match = re.match(r"\\[a-zA-Z]+|[^\\{}\[\]]", rest)
            if match is None:
                break
            arguments += "{" + match.group(0) + "}"
            rest = rest[match.end() :]
        if count == 2 and not arguments and rest.startswith("{"):
            end = rest.find("}") + 1
            tail = rest[end:].lstrip()
            if end and "{" not in rest[1:end] and tail and re.match(r"[0-9a-zA-Z]", tail):
                rest = rest[:end] + "{" + tail[0] + "}" + tail[1:]
        out += "\\" + command + arguments + rest
    return out


def _peel(text: str) -> str:
    while True:
        text = text.strip()
        for left, right in _OUTER:
            inner = text[len(left) : -len(right)]
            if (
                len(text) > len(left) + len(right)
                and text.startswith(left)
                and text.endswith(right)
                and left not in inner
                and right not in inner
            ):
                text = inner
                break
        else:
            stripped = text.rstrip(" \n\t.,;:") if not text.endswith("\\,") else text[:-2]
            if text.endswith(("\\;", "\\:")):
                stripped = text[:-2]
            if stripped == text or not stripped:
                return text
            text = stripped


def is_word(text: str) -> bool:
    r"""Whether a cleaned text is prose (`\text{east}`, `no solution`) and not mathematics."""
    return text.startswith("\\text{") and text.endswith("}") and text.count("{") == 1


def strip_units(text: str) -> str:
    r"""Drop a unit that follows a quantity: `5\text{ cm}^2`, `10 dollars`. Text alone stays."""
    previous = None
    while previous != text:
        previous = text
        if not is_word(text):
            text = _TEXT_TAIL.sub("", text)
        text = _UNIT_TAIL.sub("", text)
    return text


def clean(text: str) -> str:
    r"""Return `text` without typography: same mathematics, fewer spellings. Units and words stay.

    >>> clean(r"$\left( 3, \dfrac\pi2 \right)$.")
    '(3,\\frac{\\pi}{2})'
    """
    text = _peel(text.translate(_UNICODE))
    text = _THIN_THOUSANDS.sub("", text)
    text = _SIZES.sub("", text)
    text = _TEXT.sub(lambda match: "\\text{" + match.group(1) + "}", text)
    text = _FRAC.sub(r"\\frac", text)
    text = _GROUPED.sub(lambda match: match.group(0).replace(",", ""), text)
    for pattern, replacement in _SYNONYMS:
        text = pattern.sub(replacement, text)
    text = _AND.sub(",", text)
    text = _LOG_BASE.sub(r"\\log_{\1}", text)
    text = _DEGREES.sub("", text)
    text = text.replace(r"\%", "%").replace(r"\$", "").replace("$", "").replace("£", "").replace("€", "")
    text = _SPACES.sub(" ", text).strip()
    text = _braced_arguments(_braced_arguments(text, "frac", 2), "sqrt", 1)
    if match := _TIME.fullmatch(text):
        return f"{match.group(1)}@{match.group(2).lower()}m"
    if _BARE_WORDS.fullmatch(text):
        return "\\text{" + " ".join(text.split()) + "}"
    match = re.fullmatch(r"\\text\{([^{}]*)\}", text)
    if match:
        inner = match.group(1).strip().rstrip(".")
        if _WORD.fullmatch(inner) or not inner:
            return "\\text{" + " ".join(inner.split()) + "}"
        return clean(inner) if inner != text else inner
    return squeeze(text)


def squeeze(text: str) -> str:
    r"""Remove the spaces that mean nothing; keep those in `\text{}`, between digits, and after a command
    before a letter."""
    parts = re.split(r"(\\text\{[^{}]*\})", text)
    for index in range(0, len(parts), 2):
        part = re.sub(r"(\\[a-zA-Z]+) +(?=[a-zA-Z])", "\\1\0", parts[index])
        part = re.sub(r"(?<=\d) +(?=\d)", "\0", part)
        part = re.sub(r"(?<=[\d})]) +(?=[a-zA-Z])", "\0", part)
        part = re.sub(r"(?<=[a-zA-Z]) +(?=[a-zA-Z])", "\0", part)
        parts[index] = part.replace(" ", "").replace("\0", " ")
    return "".join(parts).strip()


def normalize_answer(text: str, kind: str = "math") -> str:
    r"""Return the canonical spelling of an answer: equal strings mean the same answer (not the other way
    round).

    Golds of the benchmarks lose their file's spelling: AMC's `27.0` gives `27`, AIME's `033` gives `33`.
    For kind "exact": outer dollars, a final full stop, letter case and repeated spaces do not count; all
    else does.

    >>> normalize_answer("027"), normalize_answer("27.0"), normalize_answer(r"\dfrac12")
    ('27', '27', '1/2')
    """
    if kind == "exact":
        return " ".join(_peel(text).casefold().split())
    if len(text) > MAX_ANSWER:
        return " ".join(text.split())
    text = clean(text)
    number = parse_number(strip_units(text))
    if number is not None:
        return f"{number.value}%" if number.percent else str(number.value)
    if is_word(text):
        return text.casefold()
    return strip_units(text)
