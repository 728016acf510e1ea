"""Shared word n-grams of texts: an inverted index over hashed n-grams.

A text becomes words (`words_of`), the words become all runs of `n` of them. A text with fewer than `n` words is
one run, its whole, and is found only by a text that is the same as a whole.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

_WORD = re.compile(r"[^\W_]+")
_PICTURE = re.compile(r"<image[ _]?\d*>")
_LAYOUT = re.compile(
    r"\\(?:left|right|big|Big|bigg|Bigg|displaystyle|textstyle|limits|text|textbf|textit|mathrm|mathbf|mbox|quad"
    r"|qquad|hspace|cdot|times)(?![A-Za-z])"
)
_FRACTION = re.compile(r"\\[dt]frac(?![A-Za-z])")


def words_of(text: str) -> list[str]:
    """The words of a text, for comparison: letters and digits only, in one case, LaTeX layout left out.

    >>> words_of(r"Let $x=\\dfrac{1}{2}$. <image 1> What\\quad is  X?")
    ['let', 'x', 'frac', '1', '2', 'what', 'is', 'x']
    """
    text = _PICTURE.sub(" ", text)
    if "\\" in text:
        text = _FRACTION.sub(r"\\frac", _LAYOUT.sub(" ", text))
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return _WORD.findall(text.casefold())


def ngrams(words: list[str], n: int) -> set[int]:
    """Hashes (64 bits, of this process) of the runs of `n` words; of all words where there are fewer."""
    if len(words) < n:
        return {hash(tuple(words))} if words else set()
    return {hash(tuple(words[start : start + n])) for start in range(len(words) - n + 1)}


@dataclass(frozen=True)
class Match:
    """A text of the index that shares n-grams with another text.

    key: its key. shared: how many distinct n-grams. overlap: their share of all n-grams of the text in the index.
    """

    key: int
    shared: int
    overlap: float


class NgramIndex:
    """Texts by their n-grams.

    >>> index = NgramIndex(n=3)
    >>> index.add("How many apples has Ann?"), index.add("Two?")
    (0, 1)
    >>> [(match.key, match.overlap) for match in index.find("Bo asks how many apples he has.")]
    [(0, 0.3333333333333333)]
    """

    def __init__(self, n: int):
        self.n = n
        self._sizes: list[int] = []
        self._where: dict[int, list[int]] = {}

    def add(self, text: str) -> int:
        """Add a text; returns its key, the number of texts before it."""
        key, grams = len(self._sizes), ngrams(words_of(text), self.n)
        self._sizes.append(len(grams))
        for gram in grams:
            self._where.setdefault(gram, []).append(key)
        return key

    def find(self, text: str) -> list[Match]:
        """The texts that share an n-gram with `text`, the largest overlap first."""
        shared: dict[int, int] = {}
        for gram in self._where.keys() & ngrams(words_of(text), self.n):
            for key in self._where[gram]:
                shared[key] = shared.get(key, 0) + 1
        found = [Match(key, count, count / self._sizes[key]) for key, count in shared.items()]
        return sorted(found, key=lambda match: (-match.overlap, match.key))


def shared_run(text: str, other: str, n: int) -> str:
    """The longest run of words (at least one n-gram) that both texts have, as words; "" where there is none."""
    words, grams = words_of(text), ngrams(words_of(other), n)
    if len(words) < n:
        return " ".join(words) if hash(tuple(words)) in grams else ""
    hits = [hash(tuple(words[start : start + n])) in grams for start in range(len(words) - n + 1)]
    first, last = max(_runs(hits), key=lambda run: run[1] - run[0], default=(0, -n))
    return " ".join(words[first : last + n])


def _runs(hits: list[bool]) -> Iterable[tuple[int, int]]:
    """First and last position of each run of True."""
    start = None
    for position, hit in enumerate([*hits, False]):
        if hit and start is None:
            start = position
        elif not hit and start is not None:
            yield start, position - 1
            start = None
