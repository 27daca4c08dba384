"""Databases whose drivers run ``executemany`` fast."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import ColumnElement, Connection, Insert, Table, Update, bindparam, update
from sqlalchemy.sql.compiler import SQLCompiler

from flask_llm_cost.ledger.dialects.dialect import Dialect
from flask_llm_cost.ledger.rows import Values

Parameters = Callable[[Values], Any]


class RowByRow(Dialect):
    """A statement is compiled once, its parameters are plain values.

    SQLAlchemy's own handling of parameters would cost more than SQLite takes to write them.
    """

    def __init__(self) -> None:
        super().__init__()
        self._compiled: dict[tuple[str, ...], tuple[str, Parameters]] = {}

    def add(self, connection: Connection, name: str, columns: Sequence[str], rows: Sequence[Values]) -> None:
        self._execute(connection, ("add", name, *columns), lambda: self._upsert(self.table(name)), columns, rows)

    def insert(self, connection: Connection, name: str, columns: Sequence[str], rows: Sequence[Values]) -> None:
        self._execute(connection, ("insert", name, *columns), lambda: self._insert(self.table(name)), columns, rows)

    def rewrite_calls(self, connection: Connection, columns: Sequence[str], rows: Sequence[Values]) -> None:
        # SQLAlchemy keeps the names of columns for itself.
        names = [f"new_{column}" for column in columns]
        self._execute(
            connection, ("rewrite", *columns), lambda: _rewrite(self.table("llm_cost_calls"), columns), names, rows
        )

    @abstractmethod
    def _insert(self, table: Table) -> Insert: ...

    @abstractmethod
    def _upsert(self, table: Table) -> Insert: ...

    def _execute(
        self,
        connection: Connection,
        what: tuple[str, ...],
        build: Callable[[], Insert | Update],
        columns: Sequence[str],
        rows: Sequence[Values],
    ) -> None:
        if not rows:
            return
        if what not in self._compiled:
            self._compiled[what] = _compiled(connection, build(), columns)
        sql, parameters = self._compiled[what]
        connection.exec_driver_sql(sql, list(map(parameters, rows)))


def _rewrite(calls: Table, columns: Sequence[str]) -> Update:
    values: dict[str, ColumnElement[Any]] = {each: bindparam(f"new_{each}") for each in columns if each != "id"}
    return update(calls).where(calls.c.id == bindparam("new_id")).values(values)


def _compiled(connection: Connection, statement: Insert | Update, columns: Sequence[str]) -> tuple[str, Parameters]:
    keys = list(columns) if isinstance(statement, Insert) else None
    compiled = statement.compile(dialect=connection.dialect, column_keys=keys)
    assert isinstance(compiled, SQLCompiler)  # noqa: S101
    # Drivers take parameters by position or by name.
    if compiled.positiontup is not None:
        return str(compiled), itemgetter(*map(columns.index, compiled.positiontup))
    names = tuple(columns)
    return str(compiled), lambda row: dict(zip(names, row, strict=True))
