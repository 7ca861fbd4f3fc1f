"""JSON and JSON lines as a table. Faults are told by file and line: what is no JSON, what is torn, a key given twice, a line too long.

orjson reads; Python's json, which knows where it is and hands over each object's pairs, finds keys given twice and the line of an element,
and reads again where orjson may have rounded a whole number beyond 64 bits.
"""

import itertools
import json
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import orjson

from workbench.data import tables
from workbench.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

DUPLICATES_LOOKED_FOR = 1000
"""Lines of a JSON-lines file, from the first, that are searched for a key given twice; a file that has them has them from the start."""

_MODEL_PARTS = {"added_tokens", "architectures", "model_type", "transformers_version", "tokenizer_class"}

ROUNDED_FROM = 2.0 ** 63
"""What orjson gives as a number with a fraction from here on may have been a whole number with other digits."""

_SPACE = re.compile(r"[ \t\r\n]*")


def read_lines(content: bytes, name: str) -> "pa.Table":
    """JSON lines: one object a line, empty lines left out."""
    rows, numbers = [], []
    whole = len(content.rstrip())
    end = 0
    for number, line in enumerate(content.split(b"\n"), start=1):
        end += len(line) + 1
        if not line.strip():
            continue
        tables.not_too_long(len(line), f"{name}, line {number}",
                            "Put each object on a line of its own and break up what is too long, or remove that line.")
        try:
            rows.append(orjson.loads(line))
        except orjson.JSONDecodeError as error:
            raise _bad_json(name, number, error, torn=end > whole and not is_json(line), opens=line.strip() in (b"{", b"[")) from error
        if len(rows) <= DUPLICATES_LOOKED_FOR and line.count(b'"') > 3:
            _no_key_twice(line, f"{name}, line {number}")
        numbers.append(number)
    return _exact(tables.from_dicts(rows, name, numbers.__getitem__),
                  lambda: [_unrounded(line) for line in content.split(b"\n") if line.strip()], name, numbers.__getitem__)


def _exact(table: "pa.Table", again: Callable[[], list[Any]], name: str, line_of: Callable[[int], int] | None = None) -> "pa.Table":
    """The table; `again` gives its rows with whole numbers as they are written, where one may have been rounded. Raises `DataError` where
    one was."""
    rounded = any(tables.reaches(values, ROUNDED_FROM) for column in table.columns for values in column.chunks)
    return tables.from_dicts(again(), name, line_of) if rounded else table


def _unrounded(text: bytes | str) -> Any:
    return json.loads(text, parse_int=lambda digits: int(digits) if len(digits) < 40 else 2 ** 99)  # Python makes none of 5000 digits


def _bad_json(name: str, line: int, error: orjson.JSONDecodeError, *, torn: bool, opens: bool = False) -> DataError:
    where = f"{name}, line {line}: not JSON ({error.msg})"
    if opens and line == 1:
        return DataError(f"{where}.",
                         "A .jsonl file has one whole object a line; if this is one JSON text over several lines, call it .json.")
    if torn and ("end of data" in error.msg or "EOF" in error.msg or "unterminated" in error.msg):
        return DataError(f"{where}; the file ends in the middle of it.", "The file was cut off: fetch it again, or remove what is torn.")
    return DataError(f"{where}.", "Mend or remove that line.")


def read_whole(content: bytes, name: str) -> "pa.Table":
    """A JSON array of objects, an object that holds one array (its rows), or one object (one row); JSON lines under this name too."""
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        if error.lineno > 1 and is_json(content.split(b"\n", 1)[0]):  # several objects, one a line: JSON lines under another name
            return read_lines(content, name)
        raise _bad_json(name, error.lineno, error, torn=error.pos >= len(content.decode().rstrip())) from error
    if isinstance(body, dict):
        if len(_MODEL_PARTS & set(body)) > 0:
            raise DataError(f"{name} belongs to a model (its settings or its tokenizer); it holds no rows.",
                            "Give its folder as the model, and a file of rows as the data.")
        _no_key_twice(content, name)
        return _exact(tables.from_dicts(_rows_in(body), name), lambda: _rows_in(_unrounded(content)), name)
    if not isinstance(body, list):
        raise DataError(f"{name} holds {type(body).__name__}, not a list of rows.", "Give a list of objects.")
    text = content.decode()
    if len(content) <= tables.LONGEST_VALUE_BYTES:
        at = 0
        try:
            for at in _elements(text, _each_key_once):  # noqa: B007 - where it stopped
                pass
        except _KeyTwice as error:
            raise _key_twice(f"{name}, line {_line(text, at)}", error) from error
        except RecursionError as error:
            raise tables.too_deep(f"{name}, line {_line(text, at)}") from error

    def line_of(index: int) -> int:
        return _line(text, next(itertools.islice(_elements(text), index, None)))

    return _exact(tables.from_dicts(body, name, line_of), lambda: _unrounded(content), name, line_of)


def _rows_in(body: dict[str, Any]) -> list[Any]:
    """The one list in an object, else the object as one row."""
    lists = [value for value in body.values() if isinstance(value, list)]
    return lists[0] if len(lists) == 1 else [body]


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def _elements(text: str, hook: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Iterator[int]:
    """Where each element of a JSON array begins; each is given out before it is parsed, with `hook` for its objects."""
    scan, at = json.JSONDecoder(object_pairs_hook=hook).raw_decode, text.index("[")
    while text[at := _SPACE.match(text, at + 1).end()] != "]":
        yield at
        at = _SPACE.match(text, scan(text, at)[1]).end()
        if text[at] == "]":
            return


class _KeyTwice(ValueError):
    """An object that has the key `args[0]` twice."""


def _each_key_once(found: list[tuple[str, Any]]) -> dict[str, Any]:
    """orjson keeps the last of two equal keys and says nothing; here that is a fault."""
    made = dict(found)
    if len(made) < len(found):
        names = [name for name, _ in found]
        raise _KeyTwice(next(name for name in names if names.count(name) > 1))
    return made


def _key_twice(where: str, error: _KeyTwice) -> DataError:
    return DataError(f"{where}: an object has the key {error.args[0]!r} twice.", "Rename or remove one of the two.")


def _no_key_twice(text: bytes, where: str) -> None:
    try:
        json.loads(text, object_pairs_hook=_each_key_once)
    except _KeyTwice as error:
        raise _key_twice(where, error) from error
    except RecursionError as error:
        raise tables.too_deep(where) from error


def is_json(text: bytes) -> bool:
    """Whether it is one whole JSON value."""
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True
