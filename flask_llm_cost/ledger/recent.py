"""What this process has recorded lately of answers that are fetched again and again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from uuid import UUID

from flask_llm_cost.ledger.event import Event

_AT_MOST = 4096


class Recent:
    """Spares the ledger, and the subscribers, the same answer at every poll.

    The ledger itself takes each call once, whoever records it; this is only a short memory before it.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[UUID, int] = OrderedDict()
        self._lock = threading.Lock()

    def adds(self, event: Event) -> bool:
        """Whether ``event`` knows more than what was recorded of its call before; remembers it."""
        knowledge = event.knowledge
        with self._lock:
            if self._known.get(event.event_id, -1) >= knowledge:
                return False
            self._known[event.event_id] = knowledge
            self._known.move_to_end(event.event_id)
            if len(self._known) > _AT_MOST:
                self._known.popitem(last=False)
            return True

    def forget(self, event: Event) -> None:
        """It was not kept after all."""
        with self._lock:
            self._known.pop(event.event_id, None)
