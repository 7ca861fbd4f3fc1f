"""Append-only lines on disk: written whole and flushed, read by byte offset, a torn last line accepted.

`Log` is for one writer; `append` is for several (commands come from any notebook). `Tail` reads what is new since it last looked. Does not know
what a line means.
"""

import fcntl
import math
import os
from collections.abc import Iterator
from pathlib import Path


def _ends_with_newline(fd: int) -> bool:
    size = os.fstat(fd).st_size
    return size == 0 or os.pread(fd, 1, size - 1) == b"\n"


def _write_whole(fd: int, line: bytes) -> None:
    """Raises `OSError` where the disk is full or a limit is reached, with the part that was written cut off again."""
    before = os.fstat(fd).st_size
    written = 0
    try:
        while written < len(line):
            written += os.write(fd, line[written:])
    except OSError:
        if written:
            os.ftruncate(fd, before)
        raise


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
        _write_whole(self.fd, line)

    def sync(self) -> None:
        os.fsync(self.fd)

    def close(self) -> None:
        os.close(self.fd)


def append(path: Path, line: bytes) -> None:
    """Append one line to a file that others append to as well, one at a time.

    Raises `OSError` where it did not fit; nothing of it is left then.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)  # what is cut off after a short write must be our own
        _write_whole(fd, line if _ends_with_newline(fd) else b"\n" + line)
    finally:
        os.close(fd)


BLOCK = 1 << 26
"""Bytes of a file held in memory at once."""


class Tail:
    """Complete lines that were appended since the last `read`, from byte `offset` on."""

    def __init__(self, path: Path, offset: int = 0):
        self.path, self.offset = Path(path), offset

    def read(self, block_size: int = BLOCK, until: float = math.inf) -> Iterator[bytes]:
        """Yields lines without their newline, all that are there now, of the first `until` bytes alone where that is given; a missing file has no lines yet.

        `block_size` bytes are in memory at once. A line longer than that is damage: it is stepped over, in pieces that are no events.
        """
        for block in self.blocks(block_size, until):
            yield from block.splitlines()

    def blocks(self, block_size: int = BLOCK, until: float = math.inf) -> Iterator[bytes]:
        """As `read`, many lines at once, with their newlines."""
        try:
            file = open(self.path, "rb")
        except FileNotFoundError:
            return
        with file:
            size = min(os.fstat(file.fileno()).st_size, until)
            while self.offset < size:
                file.seek(self.offset)
                block = file.read(min(block_size, size - self.offset))  # type: ignore[arg-type]
                end = block.rfind(b"\n") + 1
                if end == 0 and len(block) < block_size:  # a line that is still being written
                    return
                end = end or len(block)
                self.offset += end
                yield block[:end]
