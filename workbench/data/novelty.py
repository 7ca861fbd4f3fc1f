"""How new a text is beside those already there, one at a time: exact ROUGE-L against a shelf that grows.

ROUGE-L and not the Jaccard similarity of n-grams that `duplicates.py` counts: an instruction has five to twenty words, and one other word
in the middle of ten leaves 5 of 11 trigrams in common (0.45) and nine tenths of the longest common subsequence (0.9). 0.7 is the bound of
Self-Instruct (Wang et al. 2023, section 2.2), and means the same here. A new text is compared with every kept one, and yet few of these
comparisons are carried out: words in common bound the similarity, and the shelf knows them by word. Not here: whole tables at once
(`duplicates.near` is made for those), rewordings that share no words.
"""

from array import array
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from workbench.data import ngrams


def rouge_l(first: str, second: str) -> float:
    """ROUGE-L's F1 on words (Lin 2004, equations 1 to 3 with beta 1), 0 to 1: 2 LCS / (words of one + words of the other). Words are those
    of `ngrams.words`, so other alphabets count too, which the usual package drops. No words on either side is 0."""
    a, b = ngrams.words(first), ngrams.words(second)
    return 2 * common_subsequence(_places(a), len(a), b) / (len(a) + len(b)) if a and b else 0.0


def common_subsequence(places: dict[str, int], length: int, words: list[str]) -> int:
    """Length of the longest common subsequence, bit-parallel (Hyyrö 2004): a row of the table of |a| × |b| is one whole number."""
    every = (1 << length) - 1
    row = every
    for word in words:
        matched = row & places.get(word, 0)
        row = ((row + matched) | (row - matched)) & every
    return length - row.bit_count()


def _places(words: list[str]) -> dict[str, int]:
    """Each word's places, as the bits of a whole number."""
    places: dict[str, int] = {}
    for place, word in enumerate(words):
        places[word] = places.get(word, 0) | 1 << place
    return places


@dataclass(slots=True)
class Shelf:
    """Texts that are there, and how near a new one is to the nearest of them. Memory: 8 bytes a word, and the words themselves."""

    texts: list[str] = field(default_factory=list)
    _words: list[list[str]] = field(default_factory=list, init=False, repr=False)
    _lengths: array = field(default_factory=lambda: array("q"), init=False, repr=False)
    _rows: dict[tuple[str, int], array] = field(default_factory=dict, init=False, repr=False)
    """(word, 1st or 2nd or ... time it occurs) → the texts in which it does: a word that stands there twice counts twice."""

    def __post_init__(self) -> None:
        given, self.texts = self.texts, []
        self.extend(given)

    def __len__(self) -> int:
        return len(self.texts)

    def extend(self, texts: Iterable[str]) -> None:
        for text in texts:
            self.add(text)

    def add(self, text: str) -> None:
        words = ngrams.words(text)
        for word in _numbered(words):
            self._rows.setdefault(word, array("q")).append(len(self.texts))
        self.texts.append(text)
        self._words.append(words)
        self._lengths.append(len(words))

    def nearest(self, text: str, apart: Collection[str] = ()) -> tuple[float, int | None]:
        """`(similarity, index)` of the most similar text that is none of `apart`, the first of them where several are; `(0.0, None)` where
        none shares a word."""
        import numpy as np

        words = ngrams.words(text)
        rows = [np.array(self._rows[word]) for word in _numbered(words) if word in self._rows]
        if not rows:
            return 0.0, None
        shared = np.bincount(np.concatenate(rows), minlength=len(self.texts))
        bound = 2 * shared / (np.array(self._lengths) + len(words))
        places, best, index = _places(words), 0.0, None
        for row in np.argsort(-bound, kind="stable").tolist():
            if bound[row] < best or bound[row] == 0:
                break
            if self.texts[row] in apart:
                continue
            found = 2 * common_subsequence(places, len(words), self._words[row]) / (len(words) + self._lengths[row])
            if found > best or (found == best and index is not None and row < index):
                best, index = found, row
        return best, index


def _numbered(words: list[str]) -> list[tuple[str, int]]:
    seen: Counter[str] = Counter()
    out = []
    for word in words:
        seen[word] += 1
        out.append((word, seen[word]))
    return out
