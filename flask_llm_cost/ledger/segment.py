"""A file of the spool: a magic word, then records (magic, length, CRC-32, payload), under the lock of its owner."""

from __future__ import annotations

import fcntl
import logging
import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MAGIC = b"LLMCOST\x01"
"""How a segment begins. The last byte is the format's version."""

SUFFIX = ".spool"
RECORD = struct.Struct(">4sII")
_RECORD_MAGIC = b"\xfeREC"
_CHUNK = 1 << 20

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Batch:
    """Records to ship.

    Attributes:
        payloads: what was appended, in order.
        segment: where they are.
        end: the offset behind the last of them.
        damaged: bytes in between that are no record.
    """

    payloads: Sequence[bytes]
    segment: Segment
    end: int
    damaged: int = 0


@dataclass(slots=True, eq=False)
class Segment:
    """One open spool file that this process holds the lock of."""

    path: Path
    fd: int
    size: int
    shipped: int = len(MAGIC)
    adopted: bool = False

    @property
    def waiting(self) -> int:
        """Bytes not yet shipped."""
        return self.size - self.shipped

    def read(self, limit: int) -> Batch:
        """Up to ``limit`` records from the first that is not shipped."""
        length = _CHUNK
        while True:
            data = os.pread(self.fd, min(length, self.waiting), self.shipped)
            payloads, end, damaged = parse(data, limit)
            whole = len(data) >= self.waiting
            if payloads or whole or not data:
                break
            length *= 2
        if whole and len(payloads) < limit and end < len(data):
            damaged += len(data) - end
            end = len(data)
        return Batch(payloads, self, self.shipped + end, damaged)

    @property
    def is_gone(self) -> bool:
        """Whether somebody else shipped it, and removed it."""
        return os.fstat(self.fd).st_nlink == 0

    def grab(self) -> bool:
        """Take the lock, to append; ``False`` where somebody else has it, or shipped it."""
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return not self.is_gone

    def hand_over(self) -> None:
        """Give the lock to whoever wants to ship what is there."""
        fcntl.flock(self.fd, fcntl.LOCK_UN)

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        os.close(self.fd)


def parse(data: bytes, limit: int) -> tuple[list[bytes], int, int]:
    """The whole records at the start of ``data``, the offset behind the last, and the bytes skipped on the way."""
    payloads: list[bytes] = []
    at = end = damaged = 0
    while len(payloads) < limit and at + RECORD.size <= len(data):
        magic, length, checksum = RECORD.unpack_from(data, at)
        payload = data[at + RECORD.size : at + RECORD.size + length]
        if magic == _RECORD_MAGIC and len(payload) == length and zlib.crc32(payload) == checksum:
            payloads.append(payload)
            damaged += at - end
            at = end = at + RECORD.size + length
            continue
        following = data.find(_RECORD_MAGIC, at + 1)
        if following < 0:
            break
        at = following
    return payloads, end, damaged


def framed(payload: bytes) -> bytes:
    """``payload`` as a record."""
    return RECORD.pack(_RECORD_MAGIC, len(payload), zlib.crc32(payload)) + payload


def write(segment: Segment, record: bytes) -> None:
    """Append ``record`` by one write, or leave no trace of it.

    Raises:
        OSError: the disk is full or read-only.
    """
    written = 0
    try:
        written = os.write(segment.fd, record)
        if written < len(record):
            raise OSError(f"{segment.path}: only {written} of {len(record)} bytes could be written")
    except OSError:
        if written:
            os.ftruncate(segment.fd, segment.size)
        raise
    segment.size += written


def adopt(path: Path, foreign: set[Path]) -> Segment | None:
    """Take a file over, with its lock; ``None`` where its owner lives, or it is of another version.

    ``foreign`` remembers the latter: each is told of once.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        facts = os.fstat(fd)
        if facts.st_nlink and os.pread(fd, len(MAGIC), 0) == MAGIC:
            return _adopted(path, fd, facts.st_size)
        if facts.st_nlink and path not in foreign:
            foreign.add(path)
            log.warning("%s was written by another version of flask-llm-cost, which can ship it: left alone.", path)
    except OSError:
        pass
    os.close(fd)
    return None


def _adopted(path: Path, fd: int, size: int) -> Segment | None:
    segment = Segment(path, fd, size, adopted=True)
    if segment.waiting:
        return segment
    segment.remove()
    return None


def waiting_in(path: Path, offset: int) -> tuple[int, int]:
    """How many records and bytes wait in a file, from ``offset`` on."""
    try:
        with path.open("rb") as file:
            is_ours = file.read(len(MAGIC)) == MAGIC
            file.seek(offset)
            data = file.read() if is_ours else b""
    except OSError:
        return 0, 0
    payloads, end, _ = parse(data, len(data))
    return len(payloads), end
