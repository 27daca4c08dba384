"""Two records of one call: which of them says more, and what the ledger then has to change.

A background response is recorded when it is queued, without usage, and again when somebody fetches it, with
its usage. The row keeps whose call it was and takes over how it ended; the rollups get the difference. The
order in which the records arrive does not matter, and of two that say as much the first counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, select

from flask_llm_cost.ledger.dialects import Dialect
from flask_llm_cost.ledger.models import Call
from flask_llm_cost.ledger.rows import Entry, Row, utc_text
from flask_llm_cost.ledger.types import Money, UTCDateTime
from flask_llm_cost.usage import knowledge

# Whose call it is, and what names its row: stays as it was recorded first.
_KEPT = frozenset({"id", "event_id", "tracked_at", "recorded_at", "provider", "request_model", "operation"})
_KEPT |= {"captured_by", "stream", "host", "tags"}
_OUTCOME = tuple(column.name for column in Call.__table__.columns if column.name not in _KEPT)


class Succession(NamedTuple):
    """A call as the ledger held it, and as it holds it now."""

    before: Entry
    after: Entry


def succeeded(held: Entry, other: Entry) -> Entry:
    """``held`` with the outcome of ``other`` where that knows more."""
    if _knowledge(other.row) <= _knowledge(held.row):
        return held
    return Entry({**held.row, **_outcome(other)}, held.tags)


def settle(dialect: Dialect, connection: Connection, entries: Mapping[str, Entry]) -> list[Succession]:
    """Bring what the ledger holds of ``entries`` (event id → entry) up to what they know. Mostly nothing."""
    found = _held(connection, [event_id for event_id, entry in entries.items() if _knowledge(entry.row)])
    settled: list[Succession] = []
    for values in found:
        event_id = values["event_id"].hex
        if _knowledge(entries[event_id].row) <= _knowledge(values):
            continue
        before = _entry_held(values)
        dialect.rewrite_call(connection, values["id"], _outcome(entries[event_id]))
        settled.append(Succession(before, succeeded(before, entries[event_id])))
    return settled


def _held(connection: Connection, event_ids: list[str]) -> list[Mapping[str, Any]]:
    """The calls that may have to change, locked in the order of their ids."""
    if not event_ids:
        return []
    calls = Call.__table__
    # Replayed batches are full of calls that know all there is: those are looked at without a lock.
    ids = [UUID(event_id) for event_id in event_ids]
    open_ones = select(calls.c.id).where(calls.c.event_id.in_(ids), calls.c.usage_source == "unknown")
    rows = list(connection.scalars(open_ones))
    if not rows:
        return []
    locked = select(calls).where(calls.c.id.in_(rows)).order_by(calls.c.id).with_for_update()
    return [dict(row) for row in connection.execute(locked).mappings()]


def _knowledge(row: Mapping[str, Any]) -> int:
    return knowledge(row["usage_source"], row["status"])


def _outcome(entry: Entry) -> Row:
    return {name: entry.row[name] for name in _OUTCOME}


def _entry_held(values: Mapping[str, Any]) -> Entry:
    """A call as it came from the database, in the plain values that ``rollups.summarise`` adds up."""
    row: Row = {}
    for column in Call.__table__.columns:
        value = values[column.name]
        if isinstance(column.type, Money):
            value = None if value is None else int(value.scaleb(9))
        elif isinstance(column.type, UTCDateTime):
            value = utc_text(value)
        row[column.name] = value
    return Entry(row, {str(key): str(value) for key, value in values["tags"].items()})
