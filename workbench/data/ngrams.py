"""Texts as sets of hashed n-grams: what near duplicates, overlap and diversity are counted on.

A word is a run of letters with their marks and digits, compatibility-normalised (NFKC) and without case; in Chinese, Japanese, Thai, Lao
and Khmer each character is one.
Hashes are the same in every process. Two different n-grams share a 64-bit hash with probability 5e-20, which is left out of all counts. Not
here: positions in the text (`overlap.py`), tokenizers (`lengths.py`).

Shapes: N rows, S n-grams in all; row i holds `hashes[starts[i]:starts[i + 1]]`, sorted, each once.
"""

import hashlib
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.errors import DataError

if TYPE_CHECKING:
    import numpy as np

ALONE = (r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
         r"\u0e01-\u0e30\u0e32\u0e33\u0e40-\u0e46\u0e81-\u0eb0\u0eb2\u0eb3\u0ebd\u0ec0-\u0ec6\u0edc-\u0edf\u1780-\u17b3\u17d7\u17dc")
"""Kana, Han, and the letters of Thai, Lao and Khmer: written without spaces between words, so each character counts as a word."""


def _marks() -> str:
    """The marks that belong to the letter before them (categories Mn and Mc: accents, vowel signs), as ranges of a pattern."""
    found: list[list[int]] = []
    for code in (*range(0x300, 0x20000), *range(0xE0100, 0xE01F0)):
        if unicodedata.category(chr(code)) in ("Mn", "Mc"):
            if found and found[-1][1] == code - 1:
                found[-1][1] = code
            else:
                found.append([code, code])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in found)


MARKS = _marks()

WORD = re.compile(rf"[^\W{ALONE}]+(?:[{MARKS}]+[^\W{ALONE}]*)*|[{ALONE}][{MARKS}]*")

CHUNK_ROWS = 20_000
"""Rows hashed at a time, which bounds the memory above the result."""

Progress = Callable[[int, int], None]
"""Called with rows done and rows in all; what it raises stops the work, which is how a panel cancels."""


def words(text: str) -> list[str]:
    """The words of a text, in order, as they are compared."""
    if text.isascii():
        return WORD.findall(text.lower())
    return [plain(word) for word in WORD.findall(text)]


def plain(word: str) -> str:
    return unicodedata.normalize("NFKC", word).casefold()


def hash_of(text: str) -> int:
    """64 bits of BLAKE2b, the same in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


@dataclass(frozen=True, slots=True)
class Grams:
    """`hashes` uint64 [S], `starts` int64 [N + 1]."""

    hashes: "np.ndarray"
    starts: "np.ndarray"

    @property
    def counts(self) -> "np.ndarray":
        """Distinct n-grams of each row, int64 [N]."""
        return self.starts[1:] - self.starts[:-1]


def grams(texts: Sequence[str], n: int = 3, unit: str = "words", progress: Progress | None = None) -> Grams:
    """The distinct n-grams of each text; a text of fewer than `n` units is one n-gram, an empty one none.

    `unit` is "words" or "characters" (white space runs as one space, without case). Raises `DataError` for an `n` or a unit that is not
    one.
    """
    import numpy as np

    if unit not in ("words", "characters"):
        raise DataError(f"An n-gram cannot be made of {unit!r}.", 'Use unit="words" or "characters".')
    if n < 1:
        raise DataError(f"An n-gram of {n} {unit} is none.", "Use n=1 or more.")
    known: dict[str, int] = {}
    hashes, counts = [np.empty(0, np.uint64)], [np.zeros(1, np.int64)]
    for first in range(0, len(texts), CHUNK_ROWS):
        chunk = texts[first:first + CHUNK_ROWS]
        hashed, lengths = units(chunk, unit, known)
        found, row = _folded(hashed, lengths, n)
        order = np.lexsort((found, row))
        found, row = found[order], row[order]
        new = np.ones(len(found), bool)
        new[1:] = (found[1:] != found[:-1]) | (row[1:] != row[:-1])
        hashes.append(found[new])
        counts.append(np.bincount(row[new], minlength=len(chunk)))
        if progress is not None:
            progress(first + len(chunk), len(texts))
    return Grams(np.concatenate(hashes), np.cumsum(np.concatenate(counts)))


def mix(values: "np.ndarray") -> "np.ndarray":
    """SplitMix64's finaliser (Steele, Lea, Flood 2014): uint64 → uint64, one to one, every bit spread over all."""
    import numpy as np

    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def fold(units: "np.ndarray", first: "np.ndarray", n: int) -> "np.ndarray":
    """One hash for the `n` units that begin at each of `first`; order counts."""
    import numpy as np

    out = units[first]
    for k in range(1, n):
        out = mix(out * np.uint64(0x9E3779B97F4A7C15) + units[first + k])
    return out


def units(texts: Sequence[str], unit: str, known: dict[str, int]) -> tuple["np.ndarray", "np.ndarray"]:
    """Hashes of all units one after the other, uint64, and units a text, int64 [N]. `known` remembers hashes of words."""
    import numpy as np

    if unit == "characters":
        shown = [" ".join(plain(text).split()) for text in texts]
        codes = np.frombuffer("".join(shown).encode("utf-32-le", "surrogatepass"), np.uint32)
        return mix(codes.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)), np.array([len(text) for text in shown], np.int64)
    hashes: list[int] = []
    lengths = np.empty(len(texts), np.int64)
    for row, text in enumerate(texts):
        found = words(text)
        lengths[row] = len(found)
        for word in found:
            value = known.get(word)
            if value is None:
                value = known[word] = hash_of(word)
            hashes.append(value)
    return np.array(hashes, np.uint64), lengths


def runs(hashed: "np.ndarray", lengths: "np.ndarray", n: int) -> tuple["np.ndarray", "np.ndarray"]:
    """The hash of every run of `n` units inside one text, repeats and all, uint64, and the row it stands in."""
    import numpy as np

    begin = np.cumsum(lengths) - lengths
    here = np.maximum(lengths - n + 1, 0)
    row = np.repeat(np.arange(len(lengths)), here)
    first = np.arange(len(row)) - np.repeat(np.cumsum(here) - here, here) + np.repeat(begin, here)
    return fold(hashed, first, n), row


def _folded(hashed: "np.ndarray", lengths: "np.ndarray", n: int) -> tuple["np.ndarray", "np.ndarray"]:
    """`runs`, and each shorter text as one run of what it has."""
    import numpy as np

    parts = [runs(hashed, lengths, n)]
    for short in range(1, n):
        those = np.flatnonzero(lengths == short)
        if len(those):
            parts.append((fold(hashed, (np.cumsum(lengths) - lengths)[those], short), those))
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
