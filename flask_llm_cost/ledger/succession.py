"""Two records of one call: which of them says more, and what the ledger then has to change.

A background response is recorded when it is queued, without usage, and again when somebody fetches it, with
its usage. The row keeps whose call it was and takes over how it ended; the rollups get the difference. The
order in which the records arrive does not matter, and of two that say as much the first counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


def successions(connection: Connection, entries: Mapping[str, Entry]) -> list[Succession]:
    """What to change for the ledger to know of ``entries`` (event id → entry) what they know. Mostly nothing."""
    found = _open_calls(connection, [event_id for event_id, entry in entries.items() if _knowledge(entry.row)])
    pairs = ((values, entries[values["event_id"].hex]) for values in found)
    return [
        Succession(before := held_entry(values), succeeded(before, entry))
        for values, entry in pairs
        if _knowledge(entry.row) > _knowledge(values)
    ]


def rewrite(dialect: Dialect, connection: Connection, changes: Sequence[Succession]) -> None:
    """Write what became of calls over what they were."""
    columns = ("id", *_OUTCOME)
    rows = [tuple(change.after.row[column] for column in columns) for change in changes]
    dialect.rewrite_calls(connection, columns, rows)


def locked_calls(connection: Connection, ids: Sequence[int]) -> list[Mapping[str, Any]]:
    """Those of the calls that are there still, whole, locked in the order of their ids until the commit."""
    calls = Call.__table__
    locked = select(calls).where(calls.c.id.in_(ids)).order_by(calls.c.id).with_for_update()
    return [dict(row) for row in connection.execute(locked).mappings()]


def _open_calls(connection: Connection, event_ids: list[str]) -> list[Mapping[str, Any]]:
    """The calls that may have to change."""
    if not event_ids:
        return []
    calls = Call.__table__
    # Replayed batches are full of calls that know all there is: those are looked at without a lock.
    ids = [UUID(event_id) for event_id in event_ids]
    open_ones = select(calls.c.id).where(calls.c.event_id.in_(ids), calls.c.usage_source == "unknown")
    found = list(connection.scalars(open_ones))
    return locked_calls(connection, found) if found else []


def _knowledge(row: Mapping[str, Any]) -> int:
    return knowledge(row["usage_source"], row["status"])


def _outcome(entry: Entry) -> Row:
    return {name: entry.row[name] for name in _OUTCOME}


def held_entry(values: Mapping[str, Any]) -> Entry:
    """A call as it came from the database, in the plain values that the database takes and rollups add up."""
    row: Row = {}
    for column in Call.__table__.columns:
        value = values[column.name]
        if isinstance(column.type, Money):
            value = None if value is None else int(value.scaleb(9))
        elif isinstance(column.type, UTCDateTime):
            value = utc_text(value)
        row[column.name] = value
    return Entry(row, {str(key): str(value) for key, value in values["tags"].items()})
