"""The spool: acknowledged events on disk, until they are in the ledger.

A process writes segments of its own: ``<identity>-<pid>-<token>-<number>.spool``, a magic word, then
records (magic, length, CRC-32, payload), each appended by one ``write``. ``flock`` marks the owner: the
lock goes with the process, however it ends, and whoever gets it then adopts the segment. What is
shipped is truncated or unlinked; what is shipped twice (killed in between) is the same event twice,
which the ledger skips. A record cut off by a crash is left out, never fatal.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from flask_llm_cost.ledger.segment import MAGIC, SUFFIX, Batch, Segment, adopt, framed, waiting_in, write

SEGMENTS = 16
"""How many segments share the bytes that may wait."""

_UNNAMED = ".new"
_UNNAMED_SECONDS = 60.0

log = logging.getLogger(__name__)


class SpoolFullError(Exception):
    """As much waits as may wait."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits in the spools of this host, other processes' included."""

    records: int
    bytes: int
    files: int


@dataclass(slots=True)
class _Held:
    """What belongs to one process and must not outlive a fork."""

    pid: int = field(default_factory=os.getpid)
    lock: threading.Lock = field(default_factory=threading.Lock)
    token: str = field(default_factory=lambda: secrets.token_hex(4))
    own: list[Segment] = field(default_factory=list)
    adopted: list[Segment] = field(default_factory=list)
    started: int = 0
    dirty: bool = False


class Spool:
    """All segments of one process, and those it adopted."""

    def __init__(self, directory: Path, identity: str, max_bytes: int, *, hands_over: bool = False) -> None:
        """
        Args:
            directory: where the files live.
            identity: which ledger they are for: apps may share a directory.
            max_bytes: how much of this process may wait.
            hands_over: whether others ship what this process appends: its segments are locked while it writes only.
        """
        self.hands_over = hands_over
        self._directory = directory
        self._identity = identity
        self._max_bytes = max_bytes
        self._segment_bytes = max(max_bytes // SEGMENTS, 1 << 16)
        self._held = _Held()
        self._foreign: set[Path] = set()
        self.appended = 0
        """Records appended by this process so far."""
        self.shipped = 0
        """Of those, the ones in the ledger, or buried."""

    def append(self, payload: bytes) -> None:
        """Append one record. When this returns, it survives the death of the process.

        Raises:
            SpoolFullError: as much waits as may wait.
            OSError: the disk is full or read-only, or the directory is gone.
        """
        held = self._held
        record = framed(payload)
        with held.lock:
            if sum(segment.waiting for segment in held.own) + len(record) > self._max_bytes and not self._made_room(
                held
            ):
                raise SpoolFullError(f"{self._max_bytes >> 20} MB of events wait in {self._directory}")
            segment = self._current(held)
            try:
                write(segment, record)
            finally:
                if self.hands_over:
                    segment.hand_over()
            held.dirty = True
            self.appended += 1

    def sync(self, *, always: bool = False) -> None:
        """Make what was appended survive the loss of power too; ``always``: even if another thread is at it."""
        held = self._held
        if (held.dirty or always) and held.own:
            held.dirty = False
            os.fdatasync(held.own[-1].fd)

    def next_batch(self, limit: int) -> Batch | None:
        """The oldest records that wait, those of dead processes first; ``None`` when nothing does."""
        held = self._held
        with held.lock:
            waiting = [segment for segment in self._shippable(held) if segment.waiting]
        return waiting[0].read(limit) if waiting else None

    def done(self, batch: Batch) -> None:
        """``batch`` is in the ledger: forget it."""
        segment, held = batch.segment, self._held
        if batch.damaged:
            log.warning("%s: %d bytes are no whole record and were left out.", segment.path, batch.damaged)
        with held.lock:
            if segment not in (*held.own, *held.adopted):
                # The spool was closed meanwhile; the file's next owner ships this again, to no effect.
                return
            segment.shipped = batch.end
            if segment.adopted:
                if not segment.waiting:
                    held.adopted.remove(segment)
                    segment.remove()
                return
            self.shipped += len(batch.payloads)
            if segment.waiting:
                return
            if segment is held.own[-1]:
                os.ftruncate(segment.fd, len(MAGIC))
                segment.size = segment.shipped = len(MAGIC)
            else:
                held.own.remove(segment)
                segment.remove()

    def adopt(self) -> int:
        """Take over the segments of dead processes. Returns how many."""
        held = self._held
        self._clear_unnamed()
        ours = {segment.path for segment in self._shippable(held)}
        found = [
            segment
            for path in self._files()
            if path not in ours and (segment := adopt(path, self._foreign)) is not None
        ]
        with held.lock:
            held.adopted += found
        return len(found)

    def backlog(self) -> Backlog:
        """What waits on this host for this ledger."""
        held = self._held
        with held.lock:
            offsets = {segment.path: segment.shipped for segment in (*held.own, *held.adopted)}
        sizes = [waiting_in(path, offsets.get(path, len(MAGIC))) for path in self._files()]
        return Backlog(
            records=sum(records for records, _ in sizes),
            bytes=sum(size for _, size in sizes),
            files=sum(1 for records, _ in sizes if records),
        )

    def close(self) -> None:
        """Give the segments up: empty ones go, others wait for whoever adopts them."""
        held = self._held
        with held.lock:
            for segment in (*held.own, *held.adopted):
                if segment.waiting:
                    os.close(segment.fd)
                else:
                    segment.remove()
            held.own.clear()
            held.adopted.clear()

    def after_fork(self) -> None:
        """In the child: close what belongs to the parent (its lock stays with it) and begin anew."""
        for segment in (*self._held.own, *self._held.adopted):
            os.close(segment.fd)
        self._held = _Held()
        self.appended = self.shipped = 0

    @property
    def waits(self) -> bool:
        """Whether anything of this process, or adopted by it, is still to be shipped."""
        held = self._held
        with held.lock:
            return any(segment.waiting for segment in self._shippable(held))

    def has_arrived(self, mark: int) -> bool:
        """Whether the first ``mark`` records of this process, and all that was adopted, are in the ledger."""
        held = self._held
        if not self.hands_over:
            return self.shipped >= mark and not held.adopted
        # Whoever took them may have died.
        self.adopt()
        with held.lock:
            return not held.adopted and all(segment.is_gone for segment in held.own)

    @property
    def adopted(self) -> int:
        """How many segments of dead processes are still to be shipped."""
        return len(self._held.adopted)

    @property
    def pid(self) -> int:
        """The process whose segments these are."""
        return self._held.pid

    def _current(self, held: _Held) -> Segment:
        """The segment to append to, locked."""
        if held.own:
            segment = held.own[-1]
            if segment.size >= self._segment_bytes:
                os.fdatasync(segment.fd)
            elif not self.hands_over or segment.grab():
                return segment
        self._made_room(held)
        return self._start(held)

    def _made_room(self, held: _Held) -> bool:
        """Whether segments were handed over and shipped meanwhile; forgets them."""
        gone = [segment for segment in held.own if segment.is_gone] if self.hands_over else []
        for segment in gone:
            held.own.remove(segment)
            os.close(segment.fd)
        return bool(gone)

    def _start(self, held: _Held) -> Segment:
        held.started += 1
        name = f"{self._identity}-{held.pid}-{held.token}-{held.started:06d}"
        path = self._directory / (name + SUFFIX)
        hidden = self._directory / (name + _UNNAMED)
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(hidden, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            # Locked before it has its name: nobody can adopt it in between.
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(fd, MAGIC)
            hidden.rename(path)
        except OSError:
            os.close(fd)
            hidden.unlink(missing_ok=True)
            raise
        segment = Segment(path, fd, len(MAGIC))
        held.own.append(segment)
        return segment

    def _shippable(self, held: _Held) -> tuple[Segment, ...]:
        """What this process has the lock of for as long as it takes."""
        return tuple(held.adopted) if self.hands_over else (*held.adopted, *held.own)

    def _clear_unnamed(self) -> None:
        """Remove what was killed before it had its name: nothing can have been appended to it."""
        for path in self._directory.glob(f"{self._identity}-*{_UNNAMED}"):
            # It may be gone already. One that is being made gets its name well within a minute.
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > _UNNAMED_SECONDS:
                    path.unlink()

    def _files(self) -> list[Path]:
        return sorted(self._directory.glob(f"{self._identity}-*{SUFFIX}"))


def is_writable(directory: Path) -> bool:
    """Whether files can be made in ``directory``, which is created (mode 0700) if it is absent."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(directory, os.W_OK | os.X_OK)
