"""Blinker signals. A subscriber that raises is logged; it never loses an event, for the write comes first."""

from __future__ import annotations

from blinker import Namespace

_namespace = Namespace()

call_recorded = _namespace.signal(
    "llm_cost.call_recorded", doc="A call is in the ledger's keeping. Sender: the app. Argument: ``event``."
)
storage_failed = _namespace.signal(
    "llm_cost.storage_failed", doc="A call could not be stored. Sender: the app. Arguments: ``event``, ``error``."
)
