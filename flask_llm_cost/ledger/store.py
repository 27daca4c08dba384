"""Stores: where a recorded event goes first, and what its acknowledgement is worth.

========= =========================== ==============================================
Mode      Acknowledged when           Lost with
========= =========================== ==============================================
spool     appended to the spool       the host: what was not yet shipped (50-100 ms)
fsync     on disk                     the disk
sync      committed in the ledger     the database
log       logged                      it is never in the ledger
========= =========================== ==============================================
"""

from __future__ import annotations

import logging
import os
import time
from typing import Protocol, runtime_checkable

from flask_llm_cost.ledger.event import Event
from flask_llm_cost.ledger.rows import encode_json, pack
from flask_llm_cost.ledger.shipper import Shipper, one_line
from flask_llm_cost.ledger.spool import Spool, SpoolFullError
from flask_llm_cost.ledger.writer import Writer

log = logging.getLogger(__name__)


@runtime_checkable
class Store(Protocol):
    """Takes events. ``LLM_COST_DURABILITY`` may be one of the app's own."""

    def record(self, event: Event) -> None:
        """Keep ``event``; when this returns, it is acknowledged. Raises whatever tells that it is not."""


class SyncStore:
    """Each event is a transaction of its own."""

    durability = "sync"

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def record(self, event: Event) -> None:
        self._writer.write_batch([pack(event)])


class LogStore:
    """Events become log lines and nothing else."""

    durability = "log"

    def record(self, event: Event) -> None:
        cost = "unknown" if event.total_cost is None else f"${event.total_cost:.6f}"
        parts = [f"{event.provider}/{event.model} tokens={event.total_tokens} cost={cost}"]
        if event.latency_ms is not None:
            parts.append(f"latency={event.latency_ms}ms")
        if event.stream:
            parts.append("stream=true")
        if event.usage_source != "unknown":
            parts.append(f"source={event.usage_source}")
        if event.tags:
            parts.append(f"tags={encode_json(dict(event.tags))}")
        log.info("%s", " ".join(parts))


class SpoolStore:
    """Events are appended to the spool of this process; the shipper brings them into the ledger.

    Where the spool takes no more (full, or the disk is), events go into the ledger directly.
    """

    def __init__(self, spool: Spool, shipper: Shipper, direct: SyncStore, *, fsync: bool) -> None:
        self.spool = spool
        self.shipper = shipper
        self._direct = direct
        self.durability = "fsync" if fsync else "spool"
        self._closed = False
        self._full = False

    def record(self, event: Event) -> None:
        if self.spool.pid != os.getpid():
            self.after_fork()
        if self._closed:
            self._direct.record(event)
            return
        try:
            self.spool.append(encode_json(pack(event)).encode())
            if self.durability == "fsync":
                self.spool.sync(always=True)
        except (SpoolFullError, OSError) as error:
            self._record_directly(event, error)
        else:
            self._full = False
        if not self.spool.hands_over:
            self.shipper.wake()

    def count_leak(self, host: str, *, known_host: bool, wake: bool) -> None:
        """Count an unrecorded call; the shipper, woken or not, takes it into the ledger."""
        if self.spool.pid != os.getpid():
            self.after_fork()
        is_first = self.shipper.leaks.count(host, known_host=known_host)
        if is_first and wake and not (self._closed or self.spool.hands_over):
            self.shipper.wake()

    def flush(self, deadline: float, *, everyone: bool = False) -> bool:
        """Ship what was acknowledged so far; ``everyone``: by any process of this host. ``deadline`` is monotonic."""
        if self.spool.pid != os.getpid():
            self.after_fork()
        self.shipper.adopt()
        mark = self.spool.appended

        def arrived() -> bool:
            if everyone:
                return self.spool.backlog().records == 0
            return self.spool.has_arrived(mark)

        self.shipper.leaks.write(now=True)
        return self.shipper.ship(deadline, arrived)

    def close(self, timeout: float, *, drain: bool) -> bool:
        """Stop shipping and give the spool up. Returns whether nothing of this process waits.

        Draining ends at the first error: what waits is safe, and its next owner will ship it.
        """
        deadline = time.monotonic() + timeout
        self._closed = True
        self.shipper.stop(timeout)
        if self.spool.hands_over and drain:
            self.spool.adopt()
        drained = drain and self.shipper.drain(deadline)
        if drain:
            self.shipper.leaks.write(now=True)
        self.spool.close()
        return drained

    def after_fork(self) -> None:
        """In the child: leave what belongs to the parent alone and begin anew."""
        self.spool.after_fork()
        self.shipper.after_fork()
        self.shipper.leaks.after_fork()

    def _record_directly(self, event: Event, error: Exception) -> None:
        if not self._full:
            log.warning("The spool takes no more events, they go into the ledger directly: %s", one_line(error))
            self._full = True
        self._direct.record(event)
