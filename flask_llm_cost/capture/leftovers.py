"""Streams that were dropped, neither read to their end nor closed: the provider was paid all the same.

They are found when they are destroyed, and the garbage collector destroys them wherever it happens to run: in the
middle of our own writing, too, with a lock or a transaction held. There nothing can be recorded; what is found
there waits until the next call, or the next ``flush``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from queue import Empty, SimpleQueue
from types import FrameType

_OURS = ("flask_llm_cost.ledger", "flask_llm_cost.recorder", "flask_llm_cost.pricing")

Finish = Callable[[], None]

# The one queue of the standard library that may be put to from a destructor. It belongs to the process, as the
# garbage collector does: an exchange knows its app itself.
_left: SimpleQueue[Finish] = SimpleQueue()


def left(finish: Finish) -> None:
    """Finish a dropped stream: now where that can be done, else as soon as it can."""
    if _recording():
        _left.put(finish)
    else:
        finish()


def collect() -> None:
    """Finish what was found at a bad moment."""
    while not _left.empty():
        try:
            finish = _left.get_nowait()
        except Empty:
            return
        finish()


def _recording() -> bool:
    """Whether this thread is in the middle of our own recording or shipping."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - documented, and in every Python that runs Flask
    while frame is not None:
        if str(frame.f_globals.get("__name__")).startswith(_OURS):
            return True
        frame = frame.f_back
    return False
