"""A process of its own that ships the spools of its host: for hosts whose app runs no threads, and beside others.

Any number of these, and of apps' own shippers, may be at work: the lock on a spool file says whose it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Event

from flask_llm_cost.ledger.shipper import Shipper, one_line
from flask_llm_cost.ledger.spool import Spool

LOOK_SECONDS = 0.5
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0

Tell = Callable[[int, str | None], None]
"""Is told how many records were shipped at once, and what went wrong where it newly did."""


@dataclass(slots=True)
class Ingest:
    """Adopts what nobody holds, and ships it."""

    spool: Spool
    shipper: Shipper

    def run(self, stop: Event, tell: Tell, *, once: bool = False, until_empty: bool = False) -> str | None:
        """Ship until ``stop`` is set; what was begun is finished.

        Args:
            tell: is called after each batch, and once for each outage.
            once: ship what can be had now, then return.
            until_empty: return as soon as nothing waits in any spool of this host.

        Returns:
            What keeps events from being shipped in the end, in one line; ``None`` when nothing does.
        """
        pause = 0.0
        while not stop.is_set():
            shipped = self._ship(stop, tell)
            pause = 0.0 if shipped else min(max(pause * 2, _FIRST_PAUSE), _LONGEST_PAUSE)
            if once or (until_empty and not pause and not self.spool.backlog().records):
                break
            stop.wait(pause or LOOK_SECONDS)
        error = self.shipper.last_error
        return None if error is None else one_line(error)

    def _ship(self, stop: Event, tell: Tell) -> bool:
        """Ship all that can be had. ``False`` when the ledger cannot take it now."""
        was_away = self.shipper.last_error is not None
        # While the ledger is away, what others spool is better off where its owner counts it.
        if not self.spool.waits:
            self.shipper.adopt()
        before = self.shipper.delivered
        while not stop.is_set() and self.shipper.ship_one():
            tell(self.shipper.delivered - before, None)
            before = self.shipper.delivered
        error = self.shipper.last_error
        if error is not None and not was_away:
            tell(0, one_line(error))
        return error is None
