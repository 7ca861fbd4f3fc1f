"""Bytes as they come from elsewhere: a valid file with one to four wounds.

Cuts, flipped bits, pieces taken out or doubled, other encodings, and words put in that have broken readers before: numbers without end,
NaN, NUL, half characters, byte order marks, a hundred thousand brackets. Knows nothing of the files' meaning.
"""

from __future__ import annotations

from hypothesis import strategies as st

NESTED = 100_000
"""Brackets within brackets: a reader that calls itself for each dies of it."""
WORDS = (
    b"",
    b"\0",
    b"\xff",
    b"\xc3",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\r",
    b"\n",
    b"\r\n",
    b"\x1f\x8b",
    b"\xe2\x80\xae",
    b"\xe2\x80\xa8",
    b"\x85",
    b"\x1c",
    b"\x0c",
    b'"',
    b"'",
    b",",
    b";",
    b"\t",
    b":",
    b"{",
    b"}",
    b"[",
    b"]",
    b"- ",
    b"null",
    b"true",
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"1e999",
    b"-0",
    b"1_000",
    b"9" * 400,
    b"1" * 5000,
    b"18446744073709551616",
    b"-9223372036854775809",
    b"2024-13-45",
    b'"\\ud800"',
    b'"\\u0000"',
    b"[" * NESTED,
    b'{"a":' * NESTED,
    b"a" * 70_000,
    b'{"a":1,"a":2}',
    b"../../../../etc/passwd",
    b"/etc/passwd",
    b"__class__",
    b"<script>alert(1)</script>",
)


def wounded(valid: st.SearchStrategy[bytes], words: tuple[bytes, ...] = ()) -> st.SearchStrategy[bytes]:
    """`valid`, wounded; `words` are those that the kind of file has of its own."""

    @st.composite
    def draw(draw: st.DrawFn) -> bytes:
        content = draw(valid)
        for _ in range(draw(st.integers(1, 4))):
            content = _wound(draw, content, (*words, *WORDS))
        return content

    return draw()


def _wound(draw: st.DrawFn, content: bytes, words: tuple[bytes, ...]) -> bytes:
    at = draw(st.integers(0, len(content)))
    upto = draw(st.integers(at, min(len(content), at + 64)))
    match draw(st.sampled_from(("put", "replace", "cut", "flip", "take out", "double", "recode", "put before", "move"))):
        case "put":
            return content[:at] + draw(st.sampled_from(words)) + content[at:]
        case "replace":
            return content[:at] + draw(st.sampled_from(words)) + content[upto:]
        case "cut":
            return content[:at]
        case "flip" if at < len(content):
            return content[:at] + bytes([content[at] ^ 1 << draw(st.integers(0, 7))]) + content[at + 1 :]
        case "take out":
            return content[:at] + content[upto:]
        case "double":
            return content[:upto] + content[at:]
        case "recode":
            return content.decode("utf-8", "replace").encode(
                draw(st.sampled_from(("utf-16", "utf-16-be", "utf-32", "latin-1", "utf-8-sig"))), "replace"
            )
        case "move":
            return content[:at] + content[upto:] + content[at:upto]
    return draw(st.sampled_from(words)) + content
