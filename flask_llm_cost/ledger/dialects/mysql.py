"""MySQL and MariaDB."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, Insert, Table, bindparam, func, select, tuple_
from sqlalchemy.dialects import mysql

from flask_llm_cost.ledger.dialects.dialect import SCHEMA_LOCK, hexadecimal, new_tags
from flask_llm_cost.ledger.dialects.row_by_row import RowByRow
from flask_llm_cost.ledger.rows import Row, Values

# Tags looked up by one IN list.
_AT_ONCE = 500


class MySQL(RowByRow):
    """MySQL 8 and MariaDB 10.6 or later, InnoDB.

    ``INSERT IGNORE`` would turn data errors into silent changes, so what is there is looked up first. A
    neighbour that inserts the same in between makes a duplicate-key error: the transaction runs again
    and finds it.
    """

    # What PyMySQL leaves among the operational errors: 1153 packet too large, 1264 and 1265 out of range,
    # 1292 and 1366 wrong value, 1406 too long, 3140 invalid JSON
    _DATA_ERRORS = frozenset({1153, 1264, 1265, 1292, 1366, 1406, 3140})
    # 1062 duplicate key, 1205 lock wait time-out, 1213 deadlock, 1020 record changed since last read
    _CONFLICTS = frozenset({1020, 1062, 1205, 1213})

    def insert_calls(self, connection: Connection, rows: Sequence[Row]) -> dict[str, int]:
        calls = self.table("llm_cost_calls")
        chosen = select(calls.c.id, calls.c.event_id).where(calls.c.event_id.in_(bindparam("ids", expanding=True)))
        held = connection.execute(chosen, {"ids": [row["event_id"] for row in rows]})
        known = {hexadecimal(event_id) for _, event_id in held}
        fresh = [row for row in rows if row["event_id"] not in known]
        if not fresh:
            return {}
        self.insert(connection, calls.name, tuple(rows[0]), [tuple(row.values()) for row in fresh])
        found = connection.execute(chosen, {"ids": [row["event_id"] for row in fresh]})
        return {hexadecimal(event_id): call_id for call_id, event_id in found}

    def add_tags(self, connection: Connection, columns: Sequence[str], rows: Sequence[Values]) -> list[Values]:
        table = self.table("llm_cost_tag_daily")
        self.add(connection, table.name, columns, rows)
        key = (table.c.key, table.c.day, table.c.digest)
        new: list[Values] = []
        for start in range(0, len(rows), _AT_ONCE):
            part = rows[start : start + _AT_ONCE]
            held = select(*key, table.c.calls).where(tuple_(*key).in_([row[:3] for row in part]))
            new += new_tags(connection.execute(held), part)
        return new

    def put(self, connection: Connection, name: str, row: Row, unique: Sequence[str]) -> None:
        statement = mysql.insert(self.table(name))
        overwrite = {each: statement.inserted[each] for each in row if each not in unique}
        connection.execute(statement.on_duplicate_key_update(overwrite), row)

    def is_data_error(self, error: BaseException) -> bool:
        if _error_number(error) in self._CONFLICTS:
            return False
        return super().is_data_error(error) or _error_number(error) in self._DATA_ERRORS

    def is_conflict(self, error: BaseException) -> bool:
        return _error_number(error) in self._CONFLICTS

    @contextmanager
    def schema_lock(self, engine: Engine) -> Iterator[None]:
        with engine.connect() as holder:
            holder.execute(select(func.get_lock(SCHEMA_LOCK, 300)))
            try:
                yield
            finally:
                holder.execute(select(func.release_lock(SCHEMA_LOCK)))

    def _insert(self, table: Table) -> Insert:
        return mysql.insert(table)

    def _upsert(self, table: Table) -> Insert:
        statement = mysql.insert(table)
        sums = {each: table.c[each] + statement.inserted[each] for each in self._added(table)}
        return statement.on_duplicate_key_update(sums)


def _error_number(error: BaseException) -> int | None:
    arguments = getattr(getattr(error, "orig", None), "args", ())
    return arguments[0] if arguments and isinstance(arguments[0], int) else None
