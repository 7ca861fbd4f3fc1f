"""CSV and TSV, with a header as their first line; and tables parted by tabs that have neither ending nor header.

pyarrow reads; Python's csv module, in its strict form, finds the line where quotes or the number of values go wrong (pyarrow names none,
and takes a quote that is never closed, or is closed in the middle of a value, as it comes). Not here: the file's bytes (`raw.py`).
"""

import csv
import io
import re
from typing import TYPE_CHECKING

from workbench.data import layouts, tables
from workbench.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.csv as pc

BLOCK_BYTES = 64 * 2**20
"""pyarrow's default of 1 MiB refuses longer values and guesses a column's type from the first MiB alone."""

HEADER_BYTES = 2**20
"""The header ends before this."""

EXACT_TO = 2.0 ** 53
"""Beyond it a number with a fraction does not keep every whole one."""

TRUE, FALSE = ["true", "True", "TRUE"], ["false", "False", "FALSE"]
"""Not 1 and 0, which are numbers: beside these words a column that has them is text."""

FEW_LABELS = 50
"""A first column of a bare table with at most so many different values is one of labels."""


def read(content: bytes, name: str, delimiter: str, longest: int) -> "pa.Table":
    """The table under the header of its first line; columns that a layout reads as text stay text. Values of at most `longest` bytes.

    A semicolon parts the columns where the header has semicolons and no comma. In TSV, quotes that do not pair are plain characters.
    """
    import pyarrow as pa
    import pyarrow.csv as pc

    beginning = content[:HEADER_BYTES].lstrip(b"\r\n")
    header = re.split(rb"[\r\n]", beginning, maxsplit=1)[0]
    if delimiter == "," and b"," not in header and b";" in header:
        delimiter = ";"
    quote = '"' if b'"' in content else ""
    if quote:
        fault = _fault(content, name, delimiter, quote, longest)
        if fault and delimiter == "\t" and not _fault(content, name, delimiter, "", longest):
            fault, quote = None, ""
        if fault:
            raise fault
    _header_fits(beginning.decode(errors="ignore"), name, delimiter, quote)
    parse_options = pc.ParseOptions(delimiter=delimiter, quote_char=quote or False, newlines_in_values=bool(quote))
    # what a layout reads as text stays as it is written: "007", "1.0" and "True" are answers, not numbers
    convert = pc.ConvertOptions(column_types={column: pa.string() for column in layouts.TEXT_COLUMNS}, true_values=TRUE, false_values=FALSE)
    try:
        table = pc.read_csv(pa.BufferReader(content), parse_options=parse_options, convert_options=convert,
                            read_options=pc.ReadOptions(block_size=BLOCK_BYTES))
    except pa.ArrowException as error:
        fault = _fault(content, name, delimiter, quote, longest)
        raise fault or DataError(f"{name} cannot be read: {str(error).splitlines()[0]}.",
                                 "Check that the file is whole and its ending right.") from error
    for column in table.column_names:
        if pa.types.is_floating(table.schema.field(column).type):
            table = _unrounded(table, column, content, parse_options)
    try:
        return tables.checked(table, name)
    except DataError as error:  # pyarrow has forgotten the lines
        raise _fault(content, name, delimiter, quote, longest) or error from error


def _unrounded(table: "pa.Table", column: str, content: bytes, parse_options: "pc.ParseOptions") -> "pa.Table":
    """The table; a column of numbers with a fraction in which a whole number lost digits is text as it is written (ids, more often than
    not)."""
    import pyarrow as pa
    import pyarrow.compute as compute
    import pyarrow.csv as pc

    if not any(tables.reaches(values, EXACT_TO) for values in table.column(column).chunks):
        return table
    convert = pc.ConvertOptions(include_columns=[column], column_types={column: pa.string()}, null_values=[""], strings_can_be_null=True)
    written = pc.read_csv(pa.BufferReader(content), parse_options=parse_options, convert_options=convert,
                          read_options=pc.ReadOptions(block_size=BLOCK_BYTES)).column(0)
    whole = written.filter(compute.match_substring_regex(written, r"^\s*[+-]?\d{16,300}\s*$")).to_pylist()
    if all(int(number) == int(float(number)) for number in whole):
        return table
    return table.set_column(table.column_names.index(column), column, written)


def _header_fits(beginning: str, name: str, delimiter: str, quote: str) -> None:
    names = next(_reader(beginning, delimiter, quote), [])
    tables.not_too_wide(len(names), name)
    tables.no_name_twice(names, f"{name}, line 1")


def _reader(text: str, delimiter: str, quote: str) -> "csv._reader":  # type: ignore[name-defined]
    """`strict` refuses a quote closed in the middle of a value; lines keep their ends, so that `line_num` counts them."""
    quoting = csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE
    return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting, quotechar='"', strict=True)  # type: ignore[arg-type]


def _fault(content: bytes, name: str, delimiter: str, quote: str, longest: int) -> DataError | None:
    """The first line whose quotes or number of values are wrong, said in a sentence; None where all are right."""
    before = csv.field_size_limit(longest)
    reader = _reader(content.decode(), delimiter, quote)
    begun, width = 1, 0
    try:
        for values in reader:
            width = width or len(values)
            if values and len(values) != width:
                return DataError(f"{name}, line {begun}: {len(values)} values where the header has {width} columns.",
                                 "Mend that line; a value that holds the separator goes in double quotes.")
            begun = reader.line_num + 1
    except csv.Error as error:
        if "field limit" in str(error):
            return DataError(f"{name}, line {begun}: one value of more than {longest / 1e6:.1f} MB.",
                             "Close its quote, or break it up into rows.")
        if "unexpected end" in str(error):
            return DataError(f"{name}, line {begun}: a double quote is opened and never closed.",
                             'Close it; a quote inside a value is written "".')
        return DataError(f"{name}, line {reader.line_num}: a double quote is closed in the middle of a value that begins on line {begun}.",
                         'Close the quote before the separator; a quote inside a value is written "".')
    finally:
        csv.field_size_limit(before)
    return None


def is_table(content: bytes) -> bool:
    """Whether every line has the same number of tabs, at least one, and there are two lines."""
    counts = {line.count(b"\t") for line in content.split(b"\n") if line.strip()}
    return counts != {0} and len(counts) == 1 and content.strip().count(b"\n") > 0


def read_bare(content: bytes, name: str) -> "pa.Table":
    """A table parted by tabs, without quotes. Its first line is the header, unless its first value is found again below: then columns are
    named here.

    Two columns of which the first has few values become `label` and `text`; others become `column_1`, `column_2`, ...
    """
    import pyarrow as pa

    lines = [line.rstrip("\r").split("\t") for line in content.decode().split("\n") if line.strip()]
    first = [line[0] for line in lines]
    if first[0] in first[1:]:
        labelled = len(lines[0]) == 2 and len(set(first)) <= min(FEW_LABELS, len(lines) // 2)
        names = ["label", "text"] if labelled else [f"column_{number}" for number in range(1, len(lines[0]) + 1)]
    else:
        names, lines = lines[0], lines[1:]
        tables.no_name_twice(names, f"{name}, line 1")
    return pa.table([pa.array([line[index] for line in lines], pa.string()) for index in range(len(names))], names=names)
