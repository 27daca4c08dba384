"""Monthly partitions of ``llm_cost_calls`` on PostgreSQL: which there are, those to come, those gone by.

They live in a schema of their own, out of sight of the host's migrations. One more, the default one, takes
whatever no month is there for: nothing is ever refused. Months are UTC's.
"""

from __future__ import annotations

import logging
import math
import re
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from flask_llm_cost.ledger.dialects import dialect_of
from flask_llm_cost.ledger.engine import Engines

CALLS = "llm_cost_calls"
PARTS = "llm_cost_parts"
DEFAULT = f"{CALLS}_default"
MONTHS_AHEAD = 2
LOCK_TIMEOUT = "2s"

_CHECK_SECONDS = 3600
_NAME = re.compile(rf"{CALLS}_(\d{{4}})_(\d{{2}})")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """A partition's month: its first moment is in it, ``end`` no longer."""

    start: datetime
    end: datetime

    @classmethod
    def of(cls, day: date) -> Month:
        """The UTC month of a day; of a ``datetime``, the month of that instant."""
        if isinstance(day, datetime):
            day = day.astimezone(UTC).date()
        return cls._numbered(day.year * 12 + day.month - 1)

    def later(self, months: int) -> Month:
        return self._numbered(self.start.year * 12 + self.start.month - 1 + months)

    @property
    def partition(self) -> str:
        """The table's name, without its schema."""
        return f"{CALLS}_{self.start:%Y_%m}"

    @property
    def first(self) -> str:
        """Its first moment as PostgreSQL reads it."""
        return f"{self.start:%Y-%m-%d} 00:00+00"

    @property
    def next_one(self) -> str:
        """The first moment that is no longer in it."""
        return f"{self.end:%Y-%m-%d} 00:00+00"

    @classmethod
    def _numbered(cls, number: int) -> Month:
        first, next_one = (datetime(each // 12, each % 12 + 1, 1, tzinfo=UTC) for each in (number, number + 1))
        return cls(first, next_one)


def is_partitioned(connection: Connection) -> bool:
    """Whether calls are kept by months here. Always ``False`` but on PostgreSQL."""
    if not dialect_of(connection.dialect.name).can_partition:
        return False
    kind = connection.scalar(text("SELECT relkind FROM pg_class WHERE oid = to_regclass(:table)"), {"table": CALLS})
    return bool(kind == "p")


def months(connection: Connection) -> tuple[Month, ...]:
    """The months that have a partition, oldest first."""
    attached = connection.scalars(
        text(
            "SELECT child.relname FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid "
            "WHERE inhparent = to_regclass(:table)"
        ),
        {"table": CALLS},
    )
    named = filter(None, map(_NAME.fullmatch, attached))
    return tuple(sorted(Month.of(date(int(name[1]), int(name[2]), 1)) for name in named))


def ensure(connection: Connection, day: date) -> bool:
    """Make the partition of the month of ``day``, with what the default one holds of it. Writers go on meanwhile.

    Returns whether it was missing. Waits for two seconds at most for those who read the default partition.

    Raises:
        DBAPIError: it could not be made; the default partition goes on taking its calls.
    """
    month = Month.of(day)
    if month in months(connection):
        return False
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
    connection.execute(text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": PARTS})
    if month in months(connection):
        return False
    first, next_one, name = month.first, month.next_one, month.partition
    default, partition = f"{PARTS}.{DEFAULT}", f"{PARTS}.{name}"
    its_calls = f"DELETE FROM {default} WHERE tracked_at >= '{first}' AND tracked_at < '{next_one}' RETURNING *"  # noqa: S608
    for statement in (
        f"LOCK TABLE {default} IN ACCESS EXCLUSIVE MODE",
        f"CREATE TABLE {partition} (LIKE {CALLS} INCLUDING DEFAULTS)",
        f"WITH its_calls AS ({its_calls}) INSERT INTO {partition} SELECT * FROM its_calls",  # noqa: S608
        f"ALTER TABLE {CALLS} ATTACH PARTITION {partition} FOR VALUES FROM ('{first}') TO ('{next_one}')",
    ):
        connection.exec_driver_sql(statement)
    return True


def ensure_ahead(connection: Connection, now: datetime) -> int:
    """Make the partitions of this month and those to come. Returns how many were missing. Raises as ``ensure``."""
    return sum(ensure(connection, Month.of(now).later(ahead).start) for ahead in range(MONTHS_AHEAD + 1))


def months_in(connection: Connection, table: str) -> tuple[Month, ...]:
    """The months of the calls in one table, oldest first."""
    starts = f"SELECT DISTINCT date_trunc('month', timezone('UTC', tracked_at)) FROM {table}"  # noqa: S608
    return tuple(sorted(Month.of(start.date()) for start in connection.scalars(text(starts))))


@dataclass(frozen=True, slots=True)
class Dropped:
    """The months whose partitions went, and how many calls were in them."""

    months: tuple[Month, ...] = ()
    calls: int = 0


def over_before(connection: Connection, moment: datetime) -> tuple[Month, ...]:
    """The months that have a partition and whose every call was made before ``moment``, oldest first."""
    if not is_partitioned(connection):
        return ()
    return tuple(month for month in months(connection) if month.end <= moment)


def drop_before(connection: Connection, moment: datetime) -> Dropped:
    """Drop the partitions whose every call was made before ``moment``. Rollups and budgets stay as they are.

    What else is older lies in the month of ``moment`` and in the default partition: delete that by rows. Waits for
    two seconds at most for those who read or write; they wait while the calls are counted.

    Raises:
        DBAPIError: somebody reads for longer (the dialect calls that a conflict), or the database refused.
    """
    gone = over_before(connection, moment)
    if not gone:
        return Dropped()
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
    connection.exec_driver_sql(f"LOCK TABLE ONLY {CALLS} IN ACCESS EXCLUSIVE MODE")
    calls = 0
    for month in gone:
        partition = f"{PARTS}.{month.partition}"
        calls += connection.exec_driver_sql(f"SELECT count(*) FROM {partition}").scalar_one()  # noqa: S608
        connection.exec_driver_sql(f"DROP TABLE {partition}")
    return Dropped(gone, calls)


class MonthsAhead:
    """Makes the partitions of the months to come before they are needed: once an hour, by whoever writes."""

    def __init__(self, engines: Engines) -> None:
        self._engines = engines
        self._due = 0.0 if dialect_of(engines.write.dialect.name).can_partition else math.inf

    def make(self) -> None:
        """Make them if it is time. Where that fails, the log says why, and calls go to the default partition.

        Raises:
            DBAPIError: the database does not answer.
        """
        if time.monotonic() < self._due:
            return
        with self._engines.writing() as connection:
            try:
                with connection.begin_nested():
                    made = ensure_ahead(connection, datetime.now(UTC)) if is_partitioned(connection) else 0
            except DBAPIError as error:
                if error.connection_invalidated:
                    raise
                log.warning("Partitions of %s for the months to come were not made: %s", CALLS, error.orig)
            else:
                if made:
                    log.info("%d partitions of %s were made ahead.", made, CALLS)
        self._due = time.monotonic() + _CHECK_SECONDS
