"""Append-only lines on disk: written whole and flushed, read by byte offset, a torn last line accepted.

`Log` is for one writer; `append` is for several (commands come from any notebook). `Tail` reads what is new since it last looked. Does not know
what a line means.
"""

import os
from collections.abc import Iterator
from pathlib import Path


def _ends_with_newline(fd: int) -> bool:
    size = os.fstat(fd).st_size
    return size == 0 or os.pread(fd, 1, size - 1) == b"\n"


class Log:
    """The one writer of a file of lines.

    Opening it closes a line that an earlier writer left torn, so what follows stays readable. A line is one `write`; if the disk is
    full the part that was written is cut off again and the `OSError` goes up: readers never see half an event followed by another.
    """

    def __init__(self, path: Path):
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        if not _ends_with_newline(self.fd):
            os.write(self.fd, b"\n")

    def write(self, line: bytes) -> None:
        before = os.fstat(self.fd).st_size
        try:
            written = os.write(self.fd, line)
            while written < len(line):
                written += os.write(self.fd, line[written:])
        except OSError:
            os.ftruncate(self.fd, before)
            raise

    def sync(self) -> None:
        os.fsync(self.fd)

    def close(self) -> None:
        os.close(self.fd)


def append(path: Path, line: bytes) -> None:
    """Append one line to a file that others append to as well (a single `O_APPEND` write)."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        os.write(fd, line if _ends_with_newline(fd) else b"\n" + line)
    finally:
        os.close(fd)


class Tail:
    """Complete lines that were appended since the last `read`, from byte `offset` on."""

    def __init__(self, path: Path, offset: int = 0):
        self.path, self.offset = Path(path), offset

    def read(self, at_most: int = 1 << 26) -> Iterator[bytes]:
        """Yields lines without their newline; reads at most `at_most` bytes. A missing file has no lines yet."""
        try:
            size = os.stat(self.path).st_size
        except FileNotFoundError:
            return
        if size <= self.offset:
            return
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            block = file.read(min(at_most, size - self.offset))
        end = block.rfind(b"\n") + 1
        if end == 0 and len(block) >= at_most:  # one endless line: damage, step over it
            end = len(block)
        self.offset += end
        yield from block[:end].splitlines()
