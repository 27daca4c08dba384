"""SQLite."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import BigInteger, ColumnElement, Connection, Insert, Table, func, literal_column, select, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import InterfaceError

from flask_llm_cost.ledger.dialects.row_by_row import RowByRow
from flask_llm_cost.ledger.rows import Row, Values


class SQLite(RowByRow):
    """SQLite 3.24 or later, for upserts. Its transactions are alone in writing: new rows have the highest ids."""

    def insert_calls(self, connection: Connection, rows: Sequence[Row]) -> dict[str, int]:
        calls = self.table("llm_cost_calls")
        before = connection.execute(select(func.coalesce(func.max(calls.c.id), 0))).scalar_one()
        self.insert(connection, calls.name, tuple(rows[0]), [tuple(row.values()) for row in rows])
        found = connection.execute(select(calls.c.event_id, calls.c.id).where(calls.c.id > before))
        return {call[0]: call[1] for call in found}

    def drop_indexes(self, connection: Connection, name: str) -> list[str]:
        # Those of constraints have no text of their own, and stay.
        held = text(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = :table AND sql IS NOT NULL"
        )
        indexes = connection.execute(held, {"table": name}).all()
        for index, _ in indexes:
            connection.exec_driver_sql(f"DROP INDEX {index}")
        return [definition for _, definition in indexes]

    def add_tags(self, connection: Connection, columns: Sequence[str], rows: Sequence[Values]) -> list[Values]:
        table = self.table("llm_cost_tag_daily")
        rowid: ColumnElement[int] = literal_column("rowid", BigInteger)
        before = connection.execute(select(func.coalesce(func.max(rowid), 0)).select_from(table)).scalar_one()
        self.add(connection, table.name, columns, rows)
        found = connection.execute(select(table.c.key, table.c.day, table.c.digest).where(rowid > before))
        new = {(key, day, digest) for key, day, digest in found}
        return [row for row in rows if row[:3] in new]

    def put(self, connection: Connection, name: str, row: Row, unique: Sequence[str]) -> None:
        statement = sqlite.insert(self.table(name))
        overwrite = {each: statement.excluded[each] for each in row if each not in unique}
        connection.execute(statement.on_conflict_do_update(index_elements=unique, set_=overwrite), row)

    def is_data_error(self, error: BaseException) -> bool:
        # sqlite3 raises OverflowError (an ArithmeticError) itself, and InterfaceError for a value it cannot bind.
        return super().is_data_error(error) or isinstance(error, InterfaceError)

    def _insert(self, table: Table) -> Insert:
        return sqlite.insert(table).on_conflict_do_nothing()

    def _upsert(self, table: Table) -> Insert:
        statement = sqlite.insert(table)
        sums = {each: table.c[each] + statement.excluded[each] for each in self._added(table)}
        return statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=sums)
