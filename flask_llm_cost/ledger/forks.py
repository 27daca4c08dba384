"""Forks: a child must leave its parent's connections, locks and files alone, and have its own.

Hooks of ``os.register_at_fork`` cannot be taken back, so they hold their ledger weakly.
"""

from __future__ import annotations

import os
import weakref

from flask_llm_cost.ledger.engine import Engines
from flask_llm_cost.ledger.store import SpoolStore

HOLD_SECONDS = 2.0
"""How long a fork waits for the batch that is being shipped."""


def guard_forks(engines: Engines, spooled: SpoolStore) -> None:
    """See to these engines and this spool at every fork from now on."""
    guard = _Guard(engines, spooled)
    os.register_at_fork(before=guard.before, after_in_parent=guard.in_parent, after_in_child=guard.in_child)


class _Guard:
    def __init__(self, engines: Engines, spooled: SpoolStore) -> None:
        self._engines = weakref.ref(engines)
        self._spooled = weakref.ref(spooled)
        self._held = False

    def before(self) -> None:
        spooled, engines = self._spooled(), self._engines()
        if spooled is not None:
            self._held = spooled.shipper.hold(HOLD_SECONDS)
        if engines is not None:
            engines.before_fork()

    def in_parent(self) -> None:
        spooled = self._spooled()
        if spooled is not None and self._held:
            self._held = False
            spooled.shipper.release()

    def in_child(self) -> None:
        self._held = False
        spooled, engines = self._spooled(), self._engines()
        if engines is not None:
            engines.after_fork()
        if spooled is not None:
            spooled.after_fork()
