"""Heuristic filters: measures of each row that need no model, and bounds that say which rows fall outside and why.

The measures are those of MassiveText (Rae et al. 2021, "Scaling Language Models: Gopher", table A1) as far as they make sense for rows
as short as instructions, and the bounds are looser than for web pages. Nothing is dropped here: a person sees the reasons first.
Not here: likelihood under a model, scores of a judge (`quality.py`), personal data (`private.py`), which language a text is in.
"""

import functools
import math
import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from workbench.data import ngrams, texts
from workbench.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

BOUNDS: dict[str, tuple[float, float]] = {
    "words": (1, 10_000),
    "mean_word_length": (1, 15),
    "letter_share": (0.3, 1),
    "symbol_share": (0, 0.3),
    "digit_share": (0, 0.7),
    "repeated_line_share": (0, 0.3),
    "repeated_gram_share": (0, 0.5),
    "top_word_share": (0, 0.5),
    "compression": (1, 6),
    "broken_characters": (0, 0),
}
"""Lowest and highest value that passes, both included. Rae et al. ask of web pages 50 to 100,000 words and a mean word length of 3 to
10."""

REASONS = {
    "words": ("too short", "too long"),
    "mean_word_length": ("no words", "run together"),
    "letter_share": ("hardly a letter", ""),
    "symbol_share": ("", "symbols"),
    "digit_share": ("", "digits"),
    "repeated_line_share": ("", "repeated lines"),
    "repeated_gram_share": ("", "repeated phrases"),
    "top_word_share": ("", "one word over and over"),
    "compression": ("", "repetition"),
    "broken_characters": ("", "broken characters"),
}

LONG_ENOUGH = 20
"""Words from which the measures of repetition say anything; below, they are not held against a row."""

REPETITION = ("repeated_line_share", "repeated_gram_share", "top_word_share", "compression")

BROKEN = re.compile("[\ufffd\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\u00c3[\u0080-\u00bf]|\u00e2\u20ac[\u0080-\u2122]")
"""Replacement and control characters, and UTF-8 that was once read as Latin-1 ("Ã©", "â€™")."""


def measures(rows: Any, columns: str | Sequence[str] | None = None) -> "pd.DataFrame":
    """One line a row, in order; shares are 0 to 1.

    `characters`; `words`; `mean_word_length` in characters; `letter_share` and `digit_share` and `symbol_share` of all that is not white
    space (symbols are what is neither letter, mark, digit nor common punctuation); `repeated_line_share` (lines that were there before);
    `repeated_gram_share` (words that lie in a run of 4 words that was there before); `top_word_share` (the most frequent word);
    `compression` (bytes by zlib-compressed bytes, 1 for short rows); `broken_characters`.
    """
    import pandas as pd

    return pd.DataFrame([_measured(text) for text in texts.texts_of(rows, columns)], columns=["characters", *BOUNDS])


def failing(rows: Any, columns: str | Sequence[str] | None = None, *, measured: "pd.DataFrame | None" = None,
            **bounds: tuple[float | None, float | None]) -> "pd.DataFrame":
    """The rows outside the bounds: `row`, `reasons` (a list of words to show), and `measure` with `value` of the first of them.

    Bounds are given by measure, `words=(3, 500)`; None leaves a side open. The others are `BOUNDS`. `measured` spares measuring again while
    a slider moves. Raises `DataError` for a measure that is none, or bounds in the wrong order.
    """
    import numpy as np
    import pandas as pd

    limits = {**BOUNDS, "characters": (0, math.inf)}
    for name, (low, high) in bounds.items():
        if name not in limits:
            raise DataError(f"There is no measure {name!r}.", f"The measures are {', '.join(limits)}.")
        limits[name] = (-math.inf if low is None else low, math.inf if high is None else high)
        if not limits[name][0] <= limits[name][1]:
            raise DataError(f"No row can have {name} from {low:g} to {high:g}.", "Give the lower bound first.")
    table = measures(rows, columns) if measured is None else measured
    enough = table["words"].to_numpy() >= LONG_ENOUGH
    found: dict[int, list[tuple[str, str]]] = {}
    for name, (low, high) in limits.items():
        values = table[name].to_numpy(float)
        judged = enough if name in REPETITION and name not in bounds else np.ones(len(values), bool)
        if name == "mean_word_length":
            judged = judged & (table["words"].to_numpy() > 0)
        for outside, side in ((values < low, 0), (values > high, 1)):
            for row in np.flatnonzero(outside & judged):
                reason = REASONS.get(name, ("", ""))[side] or f"{name} {'above' if side else 'below'} bound"
                found.setdefault(int(row), []).append((name, reason))
    lines = [{"row": row, "reasons": [reason for _, reason in why], "measure": why[0][0], "value": float(table[why[0][0]].iloc[row])}
             for row, why in sorted(found.items())]
    return pd.DataFrame(lines, columns=["row", "reasons", "measure", "value"])


def passing(rows: Any, columns: str | Sequence[str] | None = None, **bounds: tuple[float | None, float | None]) -> "np.ndarray":
    """Indices of the rows within all bounds, int64."""
    import numpy as np

    shown = texts.texts_of(rows, columns)
    return np.setdiff1d(np.arange(len(shown)), failing(shown, **bounds)["row"].to_numpy(np.int64))  # type: ignore[arg-type]


PUNCTUATION = frozenset(".,;:!?'\"()-–—…‘’“”«»„¿¡。、，！？：；（）「」『』・%&/")


def _measured(text: str) -> dict[str, float]:
    kinds: Counter[str] = Counter()
    for character, count in Counter(text).items():
        kinds[_kind(character)] += count
    shown = len(text) - kinds["space"]
    words = ngrams.words(text)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    raw = text.encode("utf-8", "surrogatepass")
    return {
        "characters": len(text), "words": len(words), "mean_word_length": sum(map(len, words)) / len(words) if words else 0.0,
        "letter_share": kinds["letter"] / shown if shown else 0.0, "symbol_share": kinds["symbol"] / shown if shown else 0.0,
        "digit_share": kinds["digit"] / shown if shown else 0.0,
        "repeated_line_share": 1 - len(set(lines)) / len(lines) if lines else 0.0,
        "repeated_gram_share": _repeated(words), "top_word_share": max(Counter(words).values()) / len(words) if words else 0.0,
        "compression": max(1.0, len(raw) / len(zlib.compress(raw, 6))) if raw else 1.0, "broken_characters": len(BROKEN.findall(text)),
    }


@functools.lru_cache(maxsize=20_000)
def _kind(character: str) -> str:
    if character.isalpha():
        return "letter"
    if character.isspace():
        return "space"
    if character.isdigit():
        return "digit"
    if character in PUNCTUATION:
        return "punctuation"
    return "letter" if unicodedata.category(character)[0] == "M" else "symbol"


def _repeated(words: list[str], n: int = 4) -> float:
    """The share of words in runs of `n` that stood earlier in the text; a run that overlaps its first occurrence counts too."""
    seen: set[tuple[str, ...]] = set()
    inside = [False] * len(words)
    for start in range(len(words) - n + 1):
        run = tuple(words[start:start + n])
        if run in seen:
            inside[start:start + n] = [True] * n
        seen.add(run)
    return sum(inside) / len(words) if words else 0.0
