"""Databases whose drivers run ``executemany`` fast."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Insert, Table
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
        self._execute(connection, ("add", name, *columns), self._upsert, columns, rows)

    def insert(self, connection: Connection, name: str, columns: Sequence[str], rows: Sequence[Values]) -> None:
        self._execute(connection, ("insert", name, *columns), self._insert, columns, rows)

    @abstractmethod
    def _insert(self, table: Table) -> Insert: ...

    @abstractmethod
    def _upsert(self, table: Table) -> Insert: ...

    def _execute(
        self,
        connection: Connection,
        what: tuple[str, ...],
        build: Callable[[Table], Insert],
        columns: Sequence[str],
        rows: Sequence[Values],
    ) -> None:
        if not rows:
            return
        if what not in self._compiled:
            self._compiled[what] = _compiled(connection, build(self.table(what[1])), columns)
        sql, parameters = self._compiled[what]
        connection.exec_driver_sql(sql, list(map(parameters, rows)))


def _compiled(connection: Connection, statement: Insert, columns: Sequence[str]) -> tuple[str, Parameters]:
    compiled = statement.compile(dialect=connection.dialect, column_keys=list(columns))
    assert isinstance(compiled, SQLCompiler)  # noqa: S101
    # Drivers take parameters by position or by name.
    if compiled.positiontup is not None:
        return str(compiled), itemgetter(*map(columns.index, compiled.positiontup))
    names = tuple(columns)
    return str(compiled), lambda row: dict(zip(names, row, strict=True))
