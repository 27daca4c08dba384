"""``write_batch``: the only way into the ledger. One transaction, idempotent by event id."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Connection, select
from sqlalchemy.exc import DBAPIError

from flask_llm_cost.ledger import tag_rows
from flask_llm_cost.ledger.dialects import Dialect, dialect_of
from flask_llm_cost.ledger.engine import Engines
from flask_llm_cost.ledger.event import Event
from flask_llm_cost.ledger.identity import is_timeless
from flask_llm_cost.ledger.leaks import Leak, add_leaks
from flask_llm_cost.ledger.models import Call
from flask_llm_cost.ledger.partitions import MonthsAhead
from flask_llm_cost.ledger.rollups import SUMS, Summary, summarise
from flask_llm_cost.ledger.rows import Entry, Row, Values, clean_text, entry_of, pack, utc_text
from flask_llm_cost.ledger.succession import Succession, rewrite, succeeded, successions
from flask_llm_cost.settings import Settings

BATCH = 500
TIME_ZONE = "rollups_timezone"
TIMELESS_TURN = "timeless_calls_written_at"

_CONFLICT_RETRIES = 8
_ERROR_LENGTH = 1000
_TEXT_LENGTH = 4_000_000

Packed = Mapping[str, Any]
Result = TypeVar("Result")

log = logging.getLogger(__name__)


class _Undone(Exception):
    """Rolls a rehearsal back."""


class Writer:
    """Writes packed events (``rows.pack``) into the ledger of one app."""

    def __init__(self, engines: Engines, settings: Settings) -> None:
        self._engines = engines
        self._settings = settings
        self._zone_checked = False
        self._months_ahead = MonthsAhead(engines)
        self.dialect: Dialect = dialect_of(engines.write.dialect.name)

    def write_batch(self, batch: Sequence[Packed]) -> int:
        """Write calls, tags and rollups of ``batch`` in one transaction. Returns how many calls were new.

        What is in the ledger already is skipped, and adds nothing to the rollups again; where it says more than
        the ledger knows (see ``succession``), the call and the rollups are brought up to that.

        Raises:
            SQLAlchemyError: the database's own error; nothing was written.
            KeyError, ValueError, TypeError, ArithmeticError, AttributeError: an event cannot be stored.
        """
        return len(self.write_new(batch))

    def write_new(self, batch: Sequence[Packed], first: Callable[[Connection], object] | None = None) -> frozenset[str]:
        """``write_batch``, telling the event ids (hexadecimal) of the calls that were new.

        ``first`` is done before, in the same transaction.
        """
        recorded_at = utc_text(datetime.now(UTC))
        entries: dict[str, Entry] = {}
        for packed in batch:
            entry = entry_of(packed, recorded_at)
            event_id = str(entry.row["event_id"])
            # Of two with one id becomes what they would if they came in two batches.
            held = entries.get(event_id)
            entries[event_id] = entry if held is None else succeeded(held, entry)
        if not entries:
            return frozenset()

        def write(connection: Connection) -> frozenset[str]:
            if first is not None:
                first(connection)
            return self._write(connection, entries)

        self._months_ahead.make()
        return self.transaction(write)

    def rehearse(self, packed: Packed) -> None:
        """Write one event and take it back.

        Raises:
            SQLAlchemyError: it could not be written now.
        """
        entry = entry_of(packed, utc_text(datetime.now(UTC)))

        def write_and_undo(connection: Connection) -> None:
            self._write(connection, {str(entry.row["event_id"]): entry})
            raise _Undone

        with suppress(_Undone):
            self.transaction(write_and_undo)

    def bury(self, text: str, event_id: str | None, error: BaseException) -> None:
        """Keep in ``dead_letters`` what the ledger would not take.

        Raises:
            SQLAlchemyError: the database's own error; nothing was written.
        """
        row: Row = {
            "event_id": event_id,
            "failed_at": utc_text(datetime.now(UTC)),
            "error": error_text(error),
            "event": clean_text(text, _TEXT_LENGTH),
        }
        self.transaction(lambda connection: self.dialect.put(connection, "llm_cost_dead_letters", row, ["event_id"]))

    def add_leaks(self, leaks: Iterable[Leak]) -> None:
        """Add counts of unrecorded calls.

        Raises:
            SQLAlchemyError: the database's own error; nothing was added.
        """
        counted = tuple(leaks)
        self.transaction(lambda connection: add_leaks(self.dialect, connection, counted))

    def transaction(self, work: Callable[[Connection], Result], attempts: int = _CONFLICT_RETRIES) -> Result:
        """Do ``work`` in one transaction, again where others got in its way, ``attempts`` times at most.

        Raises:
            SQLAlchemyError: the database's own error; nothing was written.
        """
        for attempt in range(attempts):
            try:
                with self._engines.writing() as connection:
                    return work(connection)
            except DBAPIError as error:
                if attempt == attempts - 1 or not self.dialect.is_conflict(error):
                    raise
                # Jitter keeps two losers from meeting again.
                time.sleep(random.uniform(0.002, 0.02) * (attempt + 1))  # noqa: S311
        raise AssertionError("unreachable")

    def _write(self, connection: Connection, entries: Mapping[str, Entry]) -> frozenset[str]:
        there = self._there_at_any_time(connection, entries)
        rows = [entry.row for event_id, entry in entries.items() if event_id not in there]
        ids = self.dialect.insert_calls(connection, rows) if rows else {}
        new = [(entry, ids[event_id]) for event_id, entry in entries.items() if event_id in ids]
        settled = successions(connection, {name: entry for name, entry in entries.items() if name not in ids})
        if not new and not settled:
            return frozenset()
        if self.dialect.keeps_tag_tables:
            tag_rows.write_tags(self.dialect, connection, ((call_id, entry.tags) for entry, call_id in new))
        self.rewrite(connection, settled, new=[entry for entry, _ in new])
        return frozenset(ids)

    def rewrite(self, connection: Connection, changes: Sequence[Succession], *, new: Sequence[Entry] = ()) -> None:
        """Write what became of calls that are there, and give every total what that, and ``new`` calls, add to it.

        The calls must be locked. To be the last statement of its transaction. Everything that keeps a total of
        calls gets its difference here, and here only: rollups, and budgets' current totals.
        """
        if changes:
            rewrite(self.dialect, connection, changes)
        self._check_zone(connection)
        settings = self._settings
        now = (*new, *(each.after for each in changes))
        summary = summarise(now, settings.timezone, settings.rollup_exclude_tags)
        gone = summarise((each.before for each in changes), settings.timezone, settings.rollup_exclude_tags)
        moved = summary.subtract(gone)
        tag_rollups = tag_rows.tag_rollups(self.dialect, connection, summary, settings.tag_values_per_day)
        # Shared rows come last, each table's in the order of its key: they stay locked until the commit.
        self._add_rollups(connection, summary)
        tag_rows.add_tag_rollups(self.dialect, connection, tag_rollups)
        for name, keys in moved.items():
            self.dialect.drop_empty(connection, name, keys)

    def _there_at_any_time(self, connection: Connection, entries: Mapping[str, Entry]) -> frozenset[str]:
        """Which calls without a time of their own the ledger holds, at whatever time they were recorded.

        No unique key covers them: whoever records such calls waits at a row of ``meta`` until the one before
        has committed.
        """
        timeless = [UUID(event_id) for event_id in entries if is_timeless(UUID(event_id))]
        if not timeless:
            return frozenset()
        turn: Row = {"name": TIMELESS_TURN, "value": utc_text(datetime.now(UTC))}
        self.dialect.put(connection, "llm_cost_meta", turn, ["name"])
        found = connection.scalars(select(Call.event_id).where(Call.event_id.in_(timeless)))
        return frozenset(event_id.hex for event_id in found)

    def _add_rollups(self, connection: Connection, summary: Summary) -> None:
        columns = ("provider", "model", "pricing_mode", *SUMS)
        self.dialect.add(connection, "llm_cost_daily", ("day", *columns), keyed(summary.daily))
        self.dialect.add(connection, "llm_cost_hourly", ("hour", *columns), keyed(summary.hourly))
        bins = ("day", "provider", "model", "bin", "calls")
        self.dialect.add(connection, "llm_cost_latency_daily", bins, keyed(summary.latency))

    def _check_zone(self, connection: Connection) -> None:
        if self._zone_checked:
            return
        ours = self._settings.timezone.key
        meta = self.dialect.table("llm_cost_meta")
        held = connection.execute(select(meta.c.value).where(meta.c.name == TIME_ZONE)).scalar()
        if held is None:
            self.dialect.put(connection, meta.name, {"name": TIME_ZONE, "value": ours}, ["name"])
        elif held != ours:
            log.warning(
                "LLM_COST_TIMEZONE = %r, but the ledger's days were counted in %r so far: days on either side of "
                "the change do not line up.",
                ours,
                held,
            )
        self._zone_checked = True


def error_text(error: BaseException) -> str:
    """What a dead letter says of its error."""
    return clean_text(f"{type(error).__name__}: {getattr(error, 'orig', None) or error}", _ERROR_LENGTH)


def write_batch(engines: Engines, events: Iterable[Event], settings: Settings) -> int:
    """Write ``events`` in transactions of ``BATCH``. Returns how many were new. Raises as ``Writer.write_batch``."""
    writer = Writer(engines, settings)
    packed = [pack(event) for event in events]
    return sum(writer.write_batch(packed[start : start + BATCH]) for start in range(0, len(packed), BATCH))


def keyed(held: Mapping[Any, Sequence[int]]) -> list[Values]:
    """``held`` as rows of key and sums, in the order of their keys."""
    return [(*key, *held[key]) for key in sorted(held)]
