"""What others wrote (data, models, file names, people), as letters a person can see: for labels, sentences, errors and tables.

`letters` shows what would act instead of being read: control characters (an escape of a terminal, NUL), marks that turn the order of words,
half characters. `words` also cuts what is too long and keeps text from right to left from turning what stands around it. Neither escapes
markup: that is the business of whoever writes markup. Data on its way to a model or a file does not pass here.
"""

import re

ORDER = {0x202A: "LRE", 0x202B: "RLE", 0x202C: "PDF", 0x202D: "LRO", 0x202E: "RLO", 0x2066: "LRI", 0x2067: "RLI", 0x2068: "FSI", 0x2069: "PDI"}
"""The marks that turn the order of all that follows them (UAX #9, section 2), by their names there."""
SEEN = {code: chr(0x2400 + code) for code in range(32)} | {0x7F: "\u2421"} | {code: f"⟨{name}⟩" for code, name in ORDER.items()}
"""Control characters as their pictures (Unicode block 2400); what acts and is not here stands as U+FFFD."""
FIRST_STRONG, POP = "\u2068", "\u2069"

_ACTING = "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
_LEFTWARD = "[\u0590-\u08ff\u200f\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]"
_RUN = re.compile(rf"{_LEFTWARD}(?:[\W\d_]*{_LEFTWARD})*")
_ISOLATED = re.compile(f"{FIRST_STRONG}((?:(?!{_ACTING})(?:{_LEFTWARD}|[\\W\\d_]))+){POP}")
"""What `words` has been at already; it may be a part of another sentence by now."""
_ACTS = re.compile(f"{_ISOLATED.pattern}|{_ACTING}")
_HALF = re.compile("[\ud800-\udfff]")
_WORD = re.compile(r"\S+")
LONGEST = 240
"""Letters of a word in a sentence or a label."""


def letters(text: object, most: int | None = None) -> str:
    """`text` with every letter to be seen, cut with an ellipsis after `most` letters; line breaks and tabs stay."""
    text = str(text)
    if most is not None and len(text) > most:
        text = text[:most - 1] + "…"
    return _ACTS.sub(_seen, text.replace("\r\n", "\n")) if _ACTS.search(text) else text


def words(text: object, most: int = 2000, longest: int = LONGEST) -> str:
    """`letters` for the middle of a sentence or a label: a word of more than `longest` letters is cut in its middle, all of it after `most`,
    and each run of text from right to left is isolated (between U+2068 and U+2069; UAX #9, section 2.4.1), so that the words around it stay
    in order. What it gave stays as it is when it passes again.
    """
    text = _ISOLATED.sub(r"\1", str(text)[:100 * most])
    if longest < min(most, len(text)):
        text = _WORD.sub(lambda found: _cut(found[0], longest), text)
    return _RUN.sub(_isolated, letters(text, most))


def whole_characters(text: str) -> str:
    """`text` without half characters (lone surrogates), which no message and no file can carry: a sign stands where one was."""
    return _HALF.sub("\ufffd", text)


def _seen(found: re.Match) -> str:
    letter = found[0]
    return letter if len(letter) > 1 else SEEN.get(ord(letter), "\ufffd")


def _cut(word: str, longest: int) -> str:
    return word if len(word) <= longest else f"{word[:2 * longest // 3]}…{word[-longest // 4:]}"


def _isolated(found: re.Match) -> str:
    return FIRST_STRONG + found[0] + POP
