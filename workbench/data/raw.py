"""The bytes of a file before they are rows: inflated if gzipped (to a limit), of an encoding that is read, and no archive, web page or
weights.

Each fault is a `DataError` that names the file, the line where there is one, and what to do. Not here: what the text means (`readers.py`).
"""

import gzip
import zlib
from pathlib import Path

from workbench.errors import DataError

INFLATED_BYTES = 4 * 2**30
"""A gzipped file that inflates to more is not read: rows are held in memory."""

SUSPECT_BYTES, SUSPECT_RATIO = 64 * 2**20, 200
"""A gzipped file that inflates beyond both is taken for one that was made to fill the memory. Text shrinks 3 to 20 times; deflate's limit
is 1032 times."""

PIECE_BYTES = 2**20

GZIP = b"\x1f\x8b"

_ARCHIVES = (".zip", ".7z", ".rar", ".bz2", ".xz", ".zst")
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".pkl", ".pickle", ".npy", ".npz")
_SHEETS = (".xlsx", ".xls", ".ods")

_FIRST_BYTES = (
    (b"PAR1", "is a Parquet file under another ending", "Call it .parquet."),
    (b"ARROW1", "is an Arrow file under another ending", "Call it .arrow."),
    (b"PK\x03\x04", "is a zip archive or a workbook, not text", "Unpack it, or save the sheet as CSV, and give that file."),
    (b"BZh", "is packed with bzip2", "Unpack it with bunzip2, or pack it with gzip."),
    (b"\xfd7zXZ", "is packed with xz", "Unpack it with unxz, or pack it with gzip."),
    (b"\x28\xb5\x2f\xfd", "is packed with zstd", "Unpack it with unzstd, or pack it with gzip."),
    (b"%PDF", "is a PDF, not rows", "Save its text as a .txt file."),
    (b"version https://git-lfs", "is a pointer of Git LFS, not the file itself", "Fetch the file with `git lfs pull`."))
_POINTER = _FIRST_BYTES[-1]


def kind_of(path: Path) -> str:
    """The ending that says what the file is, without .gz; raises `DataError` for endings that are never rows."""
    ending = path.suffix.lower()
    kind = path.with_suffix("").suffix.lower() if ending == ".gz" else ending
    if kind in _ARCHIVES:
        raise DataError(f"{path.name} is an archive ({kind}), not a file of rows.",
                        "Unpack it and give one file of it, or a table made of its files.")
    if kind in _WEIGHTS:
        raise DataError(f"{path.name} holds arrays or a model's weights ({kind}), not rows.",
                        "Give its folder as the model, and a file of rows as the data.")
    if kind in _SHEETS:
        raise DataError(f"{path.name} is a workbook ({kind}), which is not read.",
                        "Save the sheet as CSV in UTF-8, or give pandas.read_excel(...).")
    if kind in (".yaml", ".yml"):
        raise DataError(f"{path.name} holds settings or prompt templates ({kind}), not rows.", "Give the rows that the templates are for.")
    return kind


def is_gzip(path: Path) -> bool:
    """By its first bytes, whatever it is called."""
    with open(path, "rb") as file:
        return file.read(2) == GZIP


def no_pointer(path: Path) -> None:
    """Raises `DataError` where the file only stands for one that Git LFS has not fetched."""
    start, what, remedy = _POINTER
    with open(path, "rb") as file:
        if file.read(len(start)) == start:
            raise DataError(f"{path.name}, line 1: this {what}.", remedy)


def inflated(path: Path) -> bytes:
    """The content of a gzipped file. Raises `DataError` where it is torn or inflates without end."""
    packed = max(1, path.stat().st_size)
    pieces, size = [], 0
    try:
        with gzip.open(path, "rb") as file:
            while piece := file.read1(PIECE_BYTES):
                size += len(piece)
                not_too_much(path.name, packed, size, "unpack it (gunzip -k) and give the file that comes out, or a part of it")
                pieces.append(piece)
    except EOFError as error:
        raise DataError(f"{path.name}, line {_next_line(pieces)}: the packed file ends in the middle.",
                        "It was cut off: fetch it again.") from error
    except (OSError, zlib.error) as error:
        raise DataError(f"{path.name}, line {_next_line(pieces)}: it cannot be unpacked further ({str(error).rstrip('.')}).",
                        "Fetch it again, or take .gz off its name if it is not gzipped.") from error
    return b"".join(pieces)


def not_too_much(name: str, packed: int, size: int, instead: str) -> None:
    """Raises `DataError` where `packed` bytes of a file have become `size` in memory, and that is beyond the limits above."""
    if size > INFLATED_BYTES or (size > SUSPECT_BYTES and size > SUSPECT_RATIO * packed):
        raise DataError(f"{name} is {packed / 1e6:.3g} MB packed and inflates to more than {size // 2**20} MiB, "
                        "beyond the limit for packed files.", f"If it is meant, {instead}.")


def _next_line(pieces: list[bytes]) -> int:
    """The line that comes after what was unpacked."""
    return sum(piece.count(b"\n") for piece in pieces) + 1


def text_of(path: Path) -> bytes:
    """The file as UTF-8 without a byte order mark. Raises `DataError` where it is something else."""
    try:
        content = inflated(path) if path.suffix.lower() == ".gz" or is_gzip(path) else path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.", "Check the file and who may read it.") from error
    for start, what, remedy in _FIRST_BYTES:
        if content.startswith(start):
            raise DataError(f"{path.name}, line 1: this {what}.", remedy)
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{path.name}, line 1: this is UTF-16 text, not UTF-8.", _save_as_utf8(path.name, "UTF-16"))
    if b"\0" in content:
        line = content[:content.index(b"\0")].count(b"\n") + 1
        often = content.count(b"\0") * 4 > len(content)
        raise DataError(f"{path.name}, line {line}: a NUL byte{', as in UTF-16 text' if often else ''}.",
                        _save_as_utf8(path.name, "UTF-16") if often else "Remove it (tr -d '\\000'), or check that the file is text.")
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[:error.start].count(b"\n") + 1
        raise DataError(f"{path.name}, line {line}: not UTF-8 text (byte 0x{content[error.start]:02x}).",
                        _save_as_utf8(path.name, "WINDOWS-1252")) from error
    content = content.removeprefix(b"\xef\xbb\xbf")
    if content.lstrip()[:200].lower().startswith((b"<!doctype html", b"<html")):
        raise DataError(f"{path.name}, line 1: this is a web page, not rows.",
                        "Fetch the file itself (on a hub, its 'raw' or 'resolve' address).")
    return content


def _save_as_utf8(name: str, likely: str) -> str:
    return f"Save it as UTF-8, for example: iconv -f {likely} -t UTF-8 {name}."
