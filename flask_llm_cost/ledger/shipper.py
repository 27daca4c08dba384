"""The shipper: one daemon thread per process that moves records from the spool into the ledger.

It is started by the first record *in this process*: a thread from before a fork is dead in the child.
Nothing disables it for life: whatever fails is tried again, ever more slowly, until it works.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from flask_llm_cost.ledger.leaks import Leaks
from flask_llm_cost.ledger.spool import Spool
from flask_llm_cost.ledger.writer import BATCH

GATHER_SECONDS = 0.05
ADOPT_SECONDS = 5.0
STALE_SECONDS = 10.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0

Deliver = Callable[[Sequence[bytes]], None]
"""Takes records into the ledger; raises when none of them could be, for now."""

log = logging.getLogger(__name__)


class Shipper:
    """Ships a spool, in a thread of its own and on demand."""

    def __init__(self, spool: Spool, deliver: Deliver, leaks: Leaks) -> None:
        self._spool = spool
        self._deliver = deliver
        self.leaks = leaks
        self.last_error: BaseException | None = None
        """What keeps events waiting at present."""
        self.delivered = 0
        """Records taken into the ledger, or buried, by this process; adopted ones too."""
        self.after_fork()

    def after_fork(self) -> None:
        """Begin anew: locks and threads of the parent mean nothing in a child."""
        self._shipping = threading.Lock()
        self._starting = threading.Lock()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._beat = time.monotonic()
        self._adopted_at = float("-inf")

    def wake(self) -> None:
        """There is something to ship. Starts the thread, and does its work where it does not get to run."""
        if self._thread is None:
            self._start()
        if not self._wake.is_set():
            self._beat = time.monotonic()
            self._wake.set()
        elif time.monotonic() - self._beat > STALE_SECONDS:
            self._stand_in()

    def ship(self, deadline: float, until: Callable[[], bool]) -> bool:
        """Ship from the calling thread until ``until()`` holds; ``False`` if ``deadline`` (monotonic) comes first."""
        pause = GATHER_SECONDS
        while not until():
            left = deadline - time.monotonic()
            if left <= 0 or not self._shipping.acquire(timeout=left):
                return until()
            try:
                moved = self._try_batch()
            finally:
                self._shipping.release()
            if moved:
                pause = GATHER_SECONDS
            elif not until():
                time.sleep(max(0.0, min(pause, deadline - time.monotonic())))
                pause = min(pause * 2, 1.0)
        return True

    def ship_one(self) -> bool:
        """Ship one batch from the calling thread. ``False`` when there was none, or it failed (``last_error``)."""
        with self._shipping:
            return self._try_batch()

    def drain(self, deadline: float) -> bool:
        """Ship from the calling thread until nothing waits; give up at the first error or at ``deadline``."""
        while self._spool.waits:
            left = deadline - time.monotonic()
            if left <= 0 or not self._shipping.acquire(timeout=left):
                return False
            try:
                if not self._try_batch():
                    return self.last_error is None
            finally:
                self._shipping.release()
        return True

    def adopt(self) -> None:
        """Take over what dead processes left."""
        self._adopted_at = time.monotonic()
        self._spool.adopt()

    def stop(self, timeout: float) -> None:
        """End the thread, after the batch it is at."""
        self._stop.set()
        self._wake.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(max(timeout, 0))

    def hold(self, timeout: float) -> bool:
        """Let no batch begin until ``release``: for a fork."""
        return self._shipping.acquire(timeout=timeout)

    def release(self) -> None:
        self._shipping.release()

    def _start(self) -> None:
        with self._starting:
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(target=self._run, name="llm-cost-shipper", daemon=True)
                self._thread.start()

    def _stand_in(self) -> None:
        # Under uWSGI without threads ours exists and never runs. A lock that is taken means it is at work.
        if self._shipping.acquire(blocking=False):
            try:
                self._beat = time.monotonic()
                self._try_batch()
            finally:
                self._shipping.release()

    def _run(self) -> None:
        pause = 0.0
        while not self._stop.is_set():
            self._wake.wait(ADOPT_SECONDS)
            self._beat = time.monotonic()
            self._stop.wait(pause or GATHER_SECONDS)
            self._wake.clear()
            if self._stop.is_set():
                return
            if self._ship_all():
                pause = 0.0
                continue
            pause = min(max(pause * 2, _FIRST_PAUSE), _LONGEST_PAUSE)
            self._wake.set()

    def _ship_all(self) -> bool:
        """Ship until nothing waits. ``False`` when the ledger cannot take it now."""
        if time.monotonic() - self._adopted_at > ADOPT_SECONDS:
            self.adopt()
        with self._shipping:
            while not self._stop.is_set():
                self._beat = time.monotonic()
                if not self._try_batch():
                    break
            self.leaks.write()
        return self.last_error is None

    def _try_batch(self) -> bool:
        """Ship one batch. ``False`` when there was none, or it failed (``last_error``)."""
        try:
            self._spool.sync()
            batch = self._spool.next_batch(BATCH)
            if batch is None:
                self.last_error = None
                return False
            self._deliver(batch.payloads)
            self._spool.done(batch)
            self.delivered += len(batch.payloads)
        except Exception as error:
            if self.last_error is None:
                log.warning("Events wait in the spool, the ledger cannot take them now: %s", one_line(error))
            self.last_error = error
            return False
        if self.last_error is not None:
            log.warning("The ledger takes events again.")
            self.last_error = None
        return True


def one_line(error: BaseException) -> str:
    """The error in one line, the database's own words without SQLAlchemy's around them."""
    cause = getattr(error, "orig", None) or error
    return f"{type(cause).__name__}: {' '.join(str(cause).split())}"
