"""``llm_cost_calls`` from one table to monthly partitions and back, on PostgreSQL: all or nothing, nothing lost.

One transaction moves the table aside, copies it into one of the other shape and drops it. All the while others
wait: recorded calls stay in their spools, and whoever reads calls, or writes them synchronously, waits for the end.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from sqlalchemy import Connection, text

from flask_llm_cost.ledger.partitions import (
    CALLS,
    DEFAULT,
    MONTHS_AHEAD,
    PARTS,
    Month,
    ensure,
    ensure_ahead,
    is_partitioned,
    months,
    months_in,
)

_OLD = f"{PARTS}.{CALLS}_old"
_VIEW = f"{CALLS}_usd"
_ON = re.compile(r" ON (?:ONLY )?\S+ USING ")


def partition(connection: Connection) -> tuple[Month, ...]:
    """Keep calls by months. Where they are already, those in the default partition move into months of their own.

    Returns the months that a partition was made for.

    Raises:
        DBAPIError: somebody held the table for ten seconds, or the database refused; nothing has changed.
    """
    before = months(connection)
    if is_partitioned(connection):
        for month in months_in(connection, f"{PARTS}.{DEFAULT}"):
            ensure(connection, month.start)
        ensure_ahead(connection, datetime.now(UTC))
    else:
        _rebuild(connection, by_months=True)
    return tuple(month for month in months(connection) if month not in before)


def unpartition(connection: Connection) -> bool:
    """Keep calls in one table again. Returns whether they were not. Raises as ``partition``."""
    if not is_partitioned(connection):
        return False
    _rebuild(connection, by_months=False)
    return True


def _rebuild(connection: Connection, *, by_months: bool) -> None:
    _run(connection, "SET LOCAL lock_timeout = '10s'", "SET LOCAL statement_timeout = 0")
    _run(connection, f"LOCK TABLE {CALLS} IN ACCESS EXCLUSIVE MODE")
    if connection.scalar(text("SELECT to_regnamespace(:name)"), {"name": PARTS}) is None:
        _run(connection, f"CREATE SCHEMA {PARTS}")
    sequence = connection.scalar(text("SELECT pg_get_serial_sequence(:table, 'id')"), {"table": CALLS})
    afterwards = [*_constraints(connection), *_indexes(connection), *_view(connection), *_grants(connection)]
    key, shape = ("id, tracked_at", " PARTITION BY RANGE (tracked_at)") if by_months else ("id", "")
    _run(
        connection,
        f"DROP VIEW IF EXISTS {_VIEW}",
        f"ALTER SEQUENCE {sequence} OWNED BY NONE",
        f"ALTER TABLE {CALLS} RENAME TO {CALLS}_old",
        f"ALTER TABLE {CALLS}_old SET SCHEMA {PARTS}",
        f"CREATE TABLE {CALLS} (LIKE {_OLD} INCLUDING DEFAULTS){shape}",
    )
    if by_months:
        _make_partitions(connection)
    _run(
        connection,
        f"INSERT INTO {CALLS} SELECT * FROM {_OLD}",  # noqa: S608
        f"ALTER SEQUENCE {sequence} OWNED BY {CALLS}.id",
        f"DROP TABLE {_OLD}",
        f"ALTER TABLE {CALLS} ADD CONSTRAINT pk_{CALLS} PRIMARY KEY ({key})",
        *afterwards,
        f"ANALYZE {CALLS}",
    )


def _make_partitions(connection: Connection) -> None:
    now = Month.of(datetime.now(UTC))
    coming = (now.later(ahead) for ahead in range(MONTHS_AHEAD + 1))
    _run(connection, f"CREATE TABLE {PARTS}.{DEFAULT} PARTITION OF {CALLS} DEFAULT")
    for month in sorted({*months_in(connection, _OLD), *coming}):
        bounds = f"FROM ('{month.first}') TO ('{month.next_one}')"
        _run(connection, f"CREATE TABLE {PARTS}.{month.partition} PARTITION OF {CALLS} FOR VALUES {bounds}")


def _constraints(connection: Connection) -> list[str]:
    """What makes the unique constraints again. The primary key is another one with each shape."""
    found = connection.execute(
        text(
            "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint "
            "WHERE conrelid = to_regclass(:table) AND contype = 'u'"
        ),
        {"table": CALLS},
    )
    return [f"ALTER TABLE {CALLS} ADD CONSTRAINT {name} {definition}" for name, definition in found]


def _indexes(connection: Connection) -> list[str]:
    """What makes the other indexes again, those of the DBA's own among them."""
    found = connection.scalars(
        text(
            "SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = to_regclass(:table) "
            "AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conindid = indexrelid AND conrelid = indrelid)"
        ),
        {"table": CALLS},
    )
    return [_ON.sub(f" ON {CALLS} USING ", definition, count=1) for definition in found]


def _view(connection: Connection) -> list[str]:
    """What makes the view in dollars again."""
    definition = connection.scalar(text("SELECT pg_get_viewdef(to_regclass(:view))"), {"view": _VIEW})
    return [] if definition is None else [f"CREATE VIEW {_VIEW} AS {definition}"]


def _grants(connection: Connection) -> list[str]:
    """What others were allowed to do with the table and the view."""
    found = connection.scalars(
        text(
            "SELECT format('GRANT %s ON %I TO %s', privilege_type, relname, "
            "CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END) "
            "FROM pg_class CROSS JOIN LATERAL aclexplode(relacl) "
            "WHERE oid IN (to_regclass(:table), to_regclass(:view)) AND grantee <> relowner"
        ),
        {"table": CALLS, "view": _VIEW},
    )
    return list(found)


def _run(connection: Connection, *statements: str) -> None:
    for statement in statements:
        # Definitions of the database's own hold colons and percent signs.
        connection.exec_driver_sql(statement.replace("%", "%%"))
