"""A tar file (also gzipped) of documents of one kind, as rows: `file`, the member's name, and `text`, what is in it.

Nothing is unpacked onto the disk: a name is a value and never a path, links and devices are refused, and what inflates without end is given
up as in `raw.py`. Web pages become their text. Not here: archives of files of rows, which are given one by one (`readers.py`), zip.
"""

import tarfile
import zlib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING

from workbench.data import raw, tables
from workbench.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

KINDS = (".tar", ".tgz")
DOCUMENTS = (".txt", ".text", ".md", ".html", ".htm")
"""Endings of members that are one text each."""


def read(path: Path) -> "pa.Table":
    """One row a document, in the order of the archive. Raises `DataError` naming the archive and the member."""
    import gzip

    names, texts = [], []
    try:
        with (gzip.open if raw.is_gzip(path) else open)(path, "rb") as packed:
            for name, content in _members(path, _Counted(path, packed)):  # type: ignore[arg-type]
                names.append(name)
                texts.append(content)
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path.name} cannot be unpacked beyond its {len(names) + 1}. document ({str(error).strip().rstrip('.')}).",
                        "Fetch it again, or check that it is a tar file.") from error
    if not names:
        raise DataError(f"{path.name} is an archive that holds no documents.", "Give one with texts in it.")
    kinds = sorted({_kind(name) for name in names})
    if set(kinds) <= {".html", ".htm"}:
        texts = [_words_of_page(text) for text in texts]
    elif len(kinds) > 1:
        raise DataError(f"{path.name} is an archive of several kinds of documents ({', '.join(kinds)}).",
                        "Unpack it and give those of one kind.")
    return tables.from_dicts([{"file": name, "text": text.strip()} for name, text in zip(names, texts, strict=True)], path.name)


def _kind(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _members(path: Path, packed: "_Counted") -> Iterator[tuple[str, str]]:
    """Name and text of each document, one after the other as they stand in the file."""
    with tarfile.open(fileobj=packed, mode="r|", encoding="utf-8", errors="replace") as archive:  # type: ignore[call-overload]
        for member in archive:
            place = f"{path.name}, {member.name[:200]!r}"
            if member.isdir() or PurePosixPath(member.name).name.startswith("."):
                continue
            if not member.isreg():
                raise DataError(f"{place}: a link or a device, which is no document.", "Pack the files themselves.")
            if _kind(member.name) not in DOCUMENTS:
                raise DataError(f"{path.name} is an archive with {member.name[:200]!r} in it, which is no document that is read here.",
                                f"Unpack it and give one file of it; documents are {', '.join(DOCUMENTS)}.")
            tables.not_too_long(member.size, place, "Break it up into documents.")
            content = archive.extractfile(member).read()
            try:
                yield member.name, content.decode("utf-8-sig")
            except UnicodeDecodeError as error:
                line = content[:error.start].count(b"\n") + 1
                raise DataError(f"{place}, line {line}: not UTF-8 text (byte 0x{content[error.start]:02x}).",
                                "Save the documents as UTF-8, for example with iconv.") from error


class _Counted:
    """A file read from its beginning to its end; gives up where that is out of all proportion to what lies on the disk."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path, self._file = path, file
        self._packed, self._size = max(1, path.stat().st_size), 0

    def read(self, size: int) -> bytes:
        piece = self._file.read(size)
        self._size += len(piece)
        raw.not_too_much(self._path.name, self._packed, self._size, "unpack it and give a part of it")
        return piece


class _Page(HTMLParser):
    UNSEEN, BREAKS = ("script", "style", "head", "template"), ("p", "br", "div", "li", "tr", "h1", "h2", "h3", "h4", "h5", "h6")

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._unseen = 0

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self._unseen += tag in self.UNSEEN
        if tag in self.BREAKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._unseen -= tag in self.UNSEEN and self._unseen > 0

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self.parts.append(data)


def _words_of_page(text: str) -> str:
    """What a web page shows."""
    page = _Page()
    page.feed(text)
    page.close()
    return "".join(page.parts)
