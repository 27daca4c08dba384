"""``prune``: calls older than a date go, in batches, with pauses for those who record; whole months at once where
the ledger is partitioned by them.

What was spent stays known: rollups keep their sums, budgets what was spent of them. ``meta`` says how far pruning
went, so that nobody takes the sums of what is left for the whole.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, delete, func, select
from sqlalchemy.exc import DBAPIError

from flask_llm_cost.errors import InvalidFilterError, StorageError
from flask_llm_cost.ledger.audit import amend, note
from flask_llm_cost.ledger.days import day_start
from flask_llm_cost.ledger.engine import Engines
from flask_llm_cost.ledger.models import Base, Call, CallTag, Tag
from flask_llm_cost.ledger.partitions import CALLS, Month, drop_before, over_before
from flask_llm_cost.ledger.rollup_check import COLUMNS, HOURLY, TAG_DAILY, TAG_MONTHLY, Difference, held_rows
from flask_llm_cost.ledger.rollup_repair import (
    PRUNED_BEFORE,
    add_missing,
    change_mark,
    mark_change,
    pruned_before,
)
from flask_llm_cost.ledger.rows import Row
from flask_llm_cost.ledger.writer import Writer

PRUNE = "prune"
DEFAULT_BATCH, MOST_BATCH = 5000, 50_000
DEFAULT_PAUSE = 0.1

# One IN list: well under the parameters that any database takes.
_AT_ONCE = 1000
# Each waits for two seconds, and those who record wait behind it.
_DROP_ATTEMPTS = 3
_DAY_ROLLUPS = tuple(name for name in COLUMNS if name not in (HOURLY, TAG_MONTHLY))

Progress = Callable[[int, int], None]
"""Is told after each batch how many calls are gone, and of how many."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a prune did, or would do.

    Attributes:
        before: the instant before which calls go.
        calls, tags: how many went; ``tags`` of the dictionary that no call carries any more.
        rollup_days: days whose rollups went.
        months: those whose partition went as a whole; their calls are among ``calls``.
    """

    before: datetime
    calls: int = 0
    tags: int = 0
    rollup_days: int = 0
    months: tuple[Month, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """JSON-ready."""
        counts = {"calls": self.calls, "tags": self.tags, "rollup_days": self.rollup_days}
        months = [f"{month.start:%Y-%m}" for month in self.months]
        return {"before": self.before.isoformat(), **counts, "months": months}


def cutoff(older_than: int | timedelta | datetime, zone: ZoneInfo, now: datetime) -> datetime:
    """The instant before which calls go.

    Args:
        older_than: whole days (those of ``zone``, so that no day loses a part of its calls), a duration, or an
            aware time.

    Raises:
        InvalidFilterError: none of these, or not in the past.
    """
    if isinstance(older_than, bool) or not isinstance(older_than, int | timedelta | datetime):
        raise InvalidFilterError(f"{older_than!r}: whole days, a timedelta or an aware datetime are allowed.")
    try:
        before = _instant(older_than, zone, now)
    except OverflowError:
        raise InvalidFilterError(f"{older_than!r} is before all time.") from None
    if before >= now:
        raise InvalidFilterError(f"{older_than!r} is not in the past: at least one day, and a time before now.")
    return before


def check_batch(batch_size: int, pause: float) -> None:
    """
    Raises:
        InvalidFilterError: out of bounds.
    """
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or not 1 <= batch_size <= MOST_BATCH:
        raise InvalidFilterError(f"A batch of {batch_size!r}: from 1 to {MOST_BATCH:,} calls are allowed.")
    if not 0 <= pause <= 3600:
        raise InvalidFilterError(f"A pause of {pause!r}: from 0 to 3600 seconds are allowed.")


def _instant(older_than: int | timedelta | datetime, zone: ZoneInfo, now: datetime) -> datetime:
    if isinstance(older_than, datetime):
        if older_than.tzinfo is None:
            raise InvalidFilterError(f"{older_than!r} has no time zone.")
        return older_than.astimezone(UTC)
    if isinstance(older_than, timedelta):
        return now - older_than
    if older_than < 1:
        raise InvalidFilterError(f"{older_than} days: at least 1 is allowed.")
    return day_start((now - timedelta(days=older_than)).astimezone(zone).date(), zone)


@dataclass(slots=True)
class Prune:
    """One run over the ledger. Ended anywhere, it leaves a ledger that adds up; the next one goes on."""

    engines: Engines
    writer: Writer
    zone: ZoneInfo
    before: datetime
    batch_size: int = DEFAULT_BATCH
    pause: float = DEFAULT_PAUSE
    with_rollups: bool = False
    _audit: int | None = None

    def look(self) -> Pruned:
        """What ``run`` would do. Writes nothing; ``tags`` stays 0.

        Raises:
            SQLAlchemyError: the database's own error.
        """
        with self.engines.reading() as connection:
            counted = select(func.count()).where(Call.tracked_at < self.before)
            calls = connection.execute(counted).scalar_one()
            months = over_before(connection, self.before)
            return Pruned(self.before, calls, rollup_days=len(self._old_days(connection)), months=months)

    def run(self, progress: Progress | None = None) -> Pruned:
        """Prune.

        Raises:
            SQLAlchemyError: the database's own error; earlier batches stay gone, another run does the rest.
            StorageError: somebody holds a partition that is to be dropped; nothing is gone.
        """
        total = 0 if progress is None else self.look().calls
        done = self._drop_months()
        if done.calls and progress is not None:
            progress(done.calls, max(total, done.calls))
        while True:
            so_far = done
            done = self.writer.transaction(lambda connection: self._batch(connection, so_far))  # noqa: B023
            if done.calls == so_far.calls:
                break
            if progress is not None:
                progress(done.calls, max(total, done.calls))
            time.sleep(self.pause)
        return self._drop_rollups(done) if self.with_rollups else done

    def _drop_months(self) -> Pruned:
        """Drop what is old by whole months, all of it or nothing."""
        with self.engines.reading() as connection:
            if not over_before(connection, self.before):
                return Pruned(self.before)
        try:
            return self.writer.transaction(self._drop, _DROP_ATTEMPTS)
        except DBAPIError as error:
            if not self.writer.dialect.is_conflict(error):
                raise
            raise StorageError(
                f"Somebody reads or writes {CALLS} for longer than prune waits: nothing was dropped, try again."
            ) from error

    def _drop(self, connection: Connection) -> Pruned:
        dropped = drop_before(connection, self.before)
        done = Pruned(self.before, dropped.calls, months=dropped.months)
        if dropped.months:
            # A snapshot of before does not see what was dropped either: whoever compares by one begins anew.
            self._say_how_far(connection)
            mark_change(self.writer, connection)
            self._note(connection, done)
        return done

    def _batch(self, connection: Connection, done: Pruned) -> Pruned:
        calls = Call.__table__
        old = select(calls.c.id).where(calls.c.tracked_at < self.before)
        ids = sorted(connection.scalars(old.order_by(calls.c.tracked_at, calls.c.id).limit(self.batch_size)))
        if not ids:
            return done
        self._say_how_far(connection)
        tags = self._untag(connection, ids) if self.writer.dialect.keeps_tag_tables else 0
        gone = sum(connection.execute(delete(Call).where(Call.id.in_(part))).rowcount for part in _parts(ids))
        done = replace(done, calls=done.calls + gone, tags=done.tags + tags)
        self._note(connection, done)
        return done

    def _say_how_far(self, connection: Connection) -> None:
        """In the transaction that deletes: whoever sees calls gone also sees this."""
        held = pruned_before(connection)
        if held is None or held < self.before:
            row: Row = {"name": PRUNED_BEFORE, "value": self.before.isoformat()}
            self.writer.dialect.put(connection, "llm_cost_meta", row, ["name"])

    def _untag(self, connection: Connection, ids: Sequence[int]) -> int:
        """Forget which tags the calls carry, and the tags that no other call does. Returns how many went."""
        carried: set[int] = set()
        for part in _parts(ids):
            carried.update(connection.scalars(select(CallTag.tag_id).where(CallTag.call_id.in_(part)).distinct()))
            connection.execute(delete(CallTag).where(CallTag.call_id.in_(part)))
        gone = 0
        for part in _parts(sorted(carried)):
            # Locked first, looked at then: a writer that is about to use one has it locked until it did.
            connection.execute(select(Tag.id).where(Tag.id.in_(part)).order_by(Tag.id).with_for_update()).all()
            used = set(connection.scalars(select(CallTag.tag_id).where(CallTag.tag_id.in_(part)).distinct()))
            unused = [tag_id for tag_id in part if tag_id not in used]
            gone += connection.execute(delete(Tag).where(Tag.id.in_(unused))).rowcount if unused else 0
        return gone

    def _drop_rollups(self, done: Pruned) -> Pruned:
        with self.engines.reading() as connection:
            days = self._old_days(connection)
        for day in days:
            so_far = replace(done, rollup_days=done.rollup_days + 1)
            self.writer.transaction(lambda connection: self._drop_day(connection, day, so_far))  # noqa: B023
            done = so_far
            time.sleep(self.pause)
        return done

    def _drop_day(self, connection: Connection, day: date, done: Pruned) -> None:
        change_mark(connection, None)
        self._say_how_far(connection)
        hourly = Base.metadata.tables[HOURLY]
        after = day_start(day + timedelta(days=1), self.zone)
        connection.execute(delete(hourly).where(hourly.c.hour <= after - timedelta(hours=1)))
        tags = Base.metadata.tables[TAG_DAILY]
        month = day.replace(day=1).isoformat()
        out = [
            Difference(TAG_MONTHLY, (key[0], month, *key[2:]), [0] * len(sums), sums)
            for key, sums in held_rows(connection, tags, tags.c.day == day).items()
        ]
        add_missing(self.writer, connection, out)
        for name in _DAY_ROLLUPS:
            table = Base.metadata.tables[name]
            connection.execute(delete(table).where(table.c.day == day))
        self._note(connection, done)

    def _old_days(self, connection: Connection) -> list[date]:
        """Days with rollups that end before the cut-off."""
        if not self.with_rollups:
            return []
        found: set[date] = set()
        for name in _DAY_ROLLUPS:
            table = Base.metadata.tables[name]
            found.update(connection.scalars(select(table.c.day).where(table.c.day <= self.before.date()).distinct()))
        return sorted(day for day in found if day_start(day + timedelta(days=1), self.zone) <= self.before)

    def _note(self, connection: Connection, done: Pruned) -> None:
        """One row of the audit, which grows with the run."""
        details: dict[str, Any] = {**done.as_dict(), "with_rollups": self.with_rollups}
        if self._audit is None:
            self._audit = note(connection, PRUNE, details)
        else:
            amend(connection, self._audit, details)


def _parts(values: Sequence[int]) -> list[Sequence[int]]:
    return [values[start : start + _AT_ONCE] for start in range(0, len(values), _AT_ONCE)]
