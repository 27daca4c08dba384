"""Where databases differ. The only such place: everything above asks the ``Dialect`` of its engine.

Statements take rows of plain values (``rows.py``), so that one conversion serves the calls and every
rollup. PostgreSQL gets a batch as one JSON parameter, expanded by the server: one statement, one plan,
however many rows. SQLite and MySQL get multi-row inserts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    JSON,
    TIMESTAMP,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Date,
    Engine,
    Insert,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    Uuid,
    bindparam,
    cast,
    exists,
    func,
    literal_column,
    select,
    tuple_,
    type_coerce,
)
from sqlalchemy import column as sql_column
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, InterfaceError
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.dml import ReturningInsert
from sqlalchemy.types import TypeEngine

from flask_llm_cost.errors import ConfigurationError
from flask_llm_cost.ledger.models import Base, Call, CallTag, Tag
from flask_llm_cost.ledger.rows import Plain, Row, encode_json, tag_digest
from flask_llm_cost.ledger.types import Money, UTCDateTime

_SCHEMA_LOCK = "llm_cost_schema_version"
# Rows of one multi-row statement: SQLite takes 32,766 parameters, a call has 42.
_ROWS = 500


class Dialect(ABC):
    """What the ledger asks of a database."""

    keeps_tag_tables = True
    """Whether ``tags`` and ``call_tags`` are written, for want of an index on ``calls.tags``."""

    def __init__(self) -> None:
        plain = MetaData()
        for table in Base.metadata.sorted_tables:
            Table(
                table.name,
                plain,
                *(Column(each.name, self._plain(each.type), primary_key=each.primary_key) for each in table.columns),
            )
        self._tables = plain.tables

    def table(self, name: str) -> Table:
        """The ledger's table of that name with columns of plain types, which convert nothing."""
        return self._tables[name]

    @abstractmethod
    def insert_calls(self, connection: Connection, rows: Sequence[Row]) -> dict[str, int]:
        """Insert the calls that are not there yet. Returns their event id (hexadecimal) → id."""

    @abstractmethod
    def add(self, connection: Connection, name: str, rows: Sequence[Row]) -> None:
        """Add ``rows`` to the rollup of that name: what is not part of its key is a number and adds up.

        Rows must come in the order of their keys: writers that lock in one order do not dead-lock.
        """

    @abstractmethod
    def add_tags(self, connection: Connection, rows: Sequence[Row]) -> list[Row]:
        """``add`` for ``llm_cost_tag_daily``. Returns those that were not there before."""

    @abstractmethod
    def insert(self, connection: Connection, name: str, rows: Sequence[Row]) -> None:
        """Insert ``rows``, none of which is there yet."""

    @abstractmethod
    def put(self, connection: Connection, name: str, row: Row, unique: Sequence[str]) -> None:
        """Insert one row, or overwrite the one with the same ``unique`` columns."""

    def is_data_error(self, error: BaseException) -> bool:
        """Whether the *event* is at fault, so that no retry can help."""
        if isinstance(error, DBAPIError):
            return isinstance(error, DataError | IntegrityError)
        return isinstance(error, ValueError | TypeError | KeyError | ArithmeticError | AttributeError)

    def is_conflict(self, error: BaseException) -> bool:
        """Whether other writers are at fault, so that an immediate retry may help."""
        return False

    @contextmanager
    def schema_lock(self, engine: Engine) -> Iterator[None]:
        """Let one migration run at a time, by any process."""
        yield

    def filter_tag(self, key: str, value: str) -> ColumnElement[bool]:
        """Calls that carry ``key`` = ``value``, by an index."""
        return exists(
            select(CallTag.call_id)
            .join(Tag, Tag.id == CallTag.tag_id)
            .where(Tag.digest == tag_digest(key, value), CallTag.call_id == Call.id)
        )

    def _plain(self, kind: TypeEngine[Any]) -> TypeEngine[Any]:
        return BigInteger() if isinstance(kind, Integer | Boolean | Money) else String()

    def _added(self, table: Table) -> list[str]:
        return [each.name for each in table.columns if not each.primary_key and each.name != "value"]


class _RowByRow(Dialect):
    """For drivers whose ``executemany`` is fast: a statement is compiled once, its parameters are plain tuples.

    SQLAlchemy's own handling of parameters would cost more than SQLite takes to write them.
    """

    def __init__(self) -> None:
        super().__init__()
        self._compiled: dict[tuple[str, str], tuple[str, Callable[[Row], tuple[Plain, ...] | Row]]] = {}

    def add(self, connection: Connection, name: str, rows: Sequence[Row]) -> None:
        self._execute(connection, "add", name, self._upsert, rows)

    def insert(self, connection: Connection, name: str, rows: Sequence[Row]) -> None:
        self._execute(connection, "insert", name, self._insert, rows)

    @abstractmethod
    def _insert(self, table: Table) -> Insert: ...

    @abstractmethod
    def _upsert(self, table: Table) -> Insert: ...

    def _execute(
        self, connection: Connection, verb: str, name: str, build: Callable[[Table], Insert], rows: Sequence[Row]
    ) -> None:
        if not rows:
            return
        if (verb, name) not in self._compiled:
            statement = build(self.table(name)).compile(dialect=connection.dialect, column_keys=list(rows[0]))
            assert isinstance(statement, SQLCompiler)  # noqa: S101
            # Drivers take parameters by position or by name.
            order = statement.positiontup
            self._compiled[verb, name] = str(statement), itemgetter(*order) if order else dict
        sql, values = self._compiled[verb, name]
        connection.exec_driver_sql(sql, [values(row) for row in rows])


class SQLite(_RowByRow):
    """SQLite 3.24 or later, for upserts. Its transactions are alone in writing: new rows have the highest ids."""

    def insert_calls(self, connection: Connection, rows: Sequence[Row]) -> dict[str, int]:
        calls = self.table("llm_cost_calls")
        before = connection.execute(select(func.coalesce(func.max(calls.c.id), 0))).scalar_one()
        self.insert(connection, calls.name, rows)
        found = connection.execute(select(calls.c.event_id, calls.c.id).where(calls.c.id > before))
        return {call.event_id: call.id for call in found}

    def add_tags(self, connection: Connection, rows: Sequence[Row]) -> list[Row]:
        table = self.table("llm_cost_tag_daily")
        rowid: ColumnElement[int] = literal_column("rowid", BigInteger)
        before = connection.execute(select(func.coalesce(func.max(rowid), 0)).select_from(table)).scalar_one()
        self.add(connection, table.name, rows)
        found = connection.execute(select(table.c.key, table.c.day, table.c.digest).where(rowid > before))
        new = {tuple(row) for row in found}
        return [row for row in rows if (row["key"], row["day"], row["digest"]) in new]

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


class PostgreSQL(Dialect):
    """PostgreSQL: a GIN index on ``calls.tags`` takes the place of the tag tables."""

    keeps_tag_tables = False

    def insert_calls(self, connection: Connection, rows: Sequence[Row]) -> dict[str, int]:
        found = connection.execute(self._insert_calls(tuple(rows[0])), {"rows": _wire(rows)})
        return {_hex(event_id): call_id for call_id, event_id in found}

    def add(self, connection: Connection, name: str, rows: Sequence[Row]) -> None:
        if rows:
            connection.execute(self._upsert(name, tuple(rows[0])), {"rows": _wire(rows)})

    def add_tags(self, connection: Connection, rows: Sequence[Row]) -> list[Row]:
        if not rows:
            return []
        table = self.table("llm_cost_tag_daily")
        upsert = self._upsert(table.name, tuple(rows[0]))
        statement = upsert.returning(table.c.key, table.c.day, table.c.digest, table.c.calls)
        return _new_tags(connection.execute(statement, {"rows": _wire(rows)}), rows)

    def insert(self, connection: Connection, name: str, rows: Sequence[Row]) -> None:
        connection.execute(self._from_json(name, tuple(rows[0])), {"rows": _wire(rows)})

    def put(self, connection: Connection, name: str, row: Row, unique: Sequence[str]) -> None:
        statement = self._from_json(name, tuple(row))
        overwrite = {each: statement.excluded[each] for each in row if each not in unique}
        statement = statement.on_conflict_do_update(index_elements=unique, set_=overwrite)
        connection.execute(statement, {"rows": _wire([row])})

    def is_data_error(self, error: BaseException) -> bool:
        # Class 54, program limit exceeded: an event too large or too deep for the server.
        return super().is_data_error(error) or (_sql_state(error) or "").startswith("54")

    def is_conflict(self, error: BaseException) -> bool:
        # 40001 serialization_failure, 40P01 deadlock_detected, 55P03 lock_not_available
        return _sql_state(error) in ("40001", "40P01", "55P03")

    @contextmanager
    def schema_lock(self, engine: Engine) -> Iterator[None]:
        name = func.hashtext(_SCHEMA_LOCK)
        with engine.connect() as holder:
            holder.execute(select(func.pg_advisory_lock(name)))
            try:
                yield
            finally:
                holder.execute(select(func.pg_advisory_unlock(name)))

    def filter_tag(self, key: str, value: str) -> ColumnElement[bool]:
        return type_coerce(Call.tags, JSONB).contains({key: value})

    def _plain(self, kind: TypeEngine[Any]) -> TypeEngine[Any]:
        # PostgreSQL compares a date with a date only.
        return kind if isinstance(kind, Date) else super()._plain(kind)

    def _insert_calls(self, columns: tuple[str, ...]) -> ReturningInsert[Any]:
        calls = self.table("llm_cost_calls")
        return self._from_json(calls.name, columns).on_conflict_do_nothing().returning(calls.c.id, calls.c.event_id)

    def _upsert(self, name: str, columns: tuple[str, ...]) -> postgresql.Insert:
        table = self.table(name)
        statement = self._from_json(name, columns)
        sums = {each: table.c[each] + statement.excluded[each] for each in self._added(table)}
        return statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=sums)

    def _from_json(self, name: str, columns: tuple[str, ...]) -> postgresql.Insert:
        """``INSERT INTO name (…) SELECT … FROM json_to_recordset(:rows)``: rows keep the order of the JSON array."""
        kinds = [Base.metadata.tables[name].columns[each].type for each in columns]
        records = (
            func.json_to_recordset(cast(bindparam("rows", type_=Text), JSON))
            .table_valued(*(sql_column(f"c{at}", _wire_type(kind)) for at, kind in enumerate(kinds)))
            .render_derived(name="record", with_types=True)
        )
        values = [_from_wire(records.c[f"c{at}"], kind) for at, kind in enumerate(kinds)]
        return postgresql.insert(self.table(name)).from_select(list(columns), select(*values))


class MySQL(_RowByRow):
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
        known = {_hex(event_id) for _, event_id in held}
        fresh = [row for row in rows if row["event_id"] not in known]
        if not fresh:
            return {}
        self.insert(connection, calls.name, fresh)
        found = connection.execute(chosen, {"ids": [row["event_id"] for row in fresh]})
        return {_hex(event_id): call_id for call_id, event_id in found}

    def add_tags(self, connection: Connection, rows: Sequence[Row]) -> list[Row]:
        self.add(connection, "llm_cost_tag_daily", rows)
        table = self.table("llm_cost_tag_daily")
        new: list[Row] = []
        for start in range(0, len(rows), _ROWS):
            part = rows[start : start + _ROWS]
            keys = [(row["key"], row["day"], row["digest"]) for row in part]
            held = select(table.c.key, table.c.day, table.c.digest, table.c.calls).where(
                tuple_(table.c.key, table.c.day, table.c.digest).in_(keys)
            )
            new += _new_tags(connection.execute(held), part)
        return new

    def put(self, connection: Connection, name: str, row: Row, unique: Sequence[str]) -> None:
        statement = mysql.insert(self.table(name))
        overwrite = {each: statement.inserted[each] for each in row if each not in unique}
        connection.execute(statement.on_duplicate_key_update(overwrite), row)

    @contextmanager
    def schema_lock(self, engine: Engine) -> Iterator[None]:
        with engine.connect() as holder:
            holder.execute(select(func.get_lock(_SCHEMA_LOCK, 300)))
            try:
                yield
            finally:
                holder.execute(select(func.release_lock(_SCHEMA_LOCK)))

    def _insert(self, table: Table) -> Insert:
        return mysql.insert(table)

    def _upsert(self, table: Table) -> Insert:
        statement = mysql.insert(table)
        sums = {each: table.c[each] + statement.inserted[each] for each in self._added(table)}
        return statement.on_duplicate_key_update(sums)

    def is_data_error(self, error: BaseException) -> bool:
        if _error_number(error) in self._CONFLICTS:
            return False
        return super().is_data_error(error) or _error_number(error) in self._DATA_ERRORS

    def is_conflict(self, error: BaseException) -> bool:
        return _error_number(error) in self._CONFLICTS


def dialect_of(name: str) -> Dialect:
    """The dialect for SQLAlchemy's name of it.

    Raises:
        ConfigurationError: the ledger does not know this database.
    """
    known: dict[str, type[Dialect]] = {"sqlite": SQLite, "postgresql": PostgreSQL, "mysql": MySQL, "mariadb": MySQL}
    if name not in known:
        raise ConfigurationError(
            f"The ledger cannot live in {name!r}: SQLite, PostgreSQL, MySQL and MariaDB can hold it."
        )
    return known[name]()


def _wire(rows: Sequence[Row]) -> str:
    """``rows`` as the JSON that ``_from_json`` takes. Short keys: they are written, sent and read once per value."""
    keys = [f"c{at}" for at in range(len(rows[0]))]
    return encode_json([dict(zip(keys, row.values(), strict=True)) for row in rows])


def _wire_type(kind: TypeEngine[Any]) -> TypeEngine[Any]:
    """How a column travels inside the JSON parameter."""
    if isinstance(kind, UTCDateTime):
        return TIMESTAMP()
    if isinstance(kind, Uuid | Date | Boolean):
        return kind
    return BigInteger() if isinstance(kind, Integer | Money) else Text()


def _from_wire(value: ColumnElement[Any], kind: TypeEngine[Any]) -> ColumnElement[Any]:
    if isinstance(kind, UTCDateTime):
        return func.timezone("UTC", value)
    return cast(value, JSONB) if isinstance(kind, JSON) else value


def _hex(event_id: object) -> str:
    """PostgreSQL and MariaDB have a type for it and answer in forms of their own."""
    return str(event_id).replace("-", "")


def _new_tags(held: Iterable[Sequence[Any]], added: Sequence[Row]) -> list[Row]:
    """A row that holds exactly what was just added was not there before."""
    rows = {(row["key"], row["day"], row["digest"]): row for row in added}
    pairs = ((rows[key, str(day), digest], calls) for key, day, digest, calls in held)
    return [row for row, calls in pairs if row["calls"] == calls]


def _sql_state(error: BaseException) -> str | None:
    return getattr(getattr(error, "orig", None), "sqlstate", None)


def _error_number(error: BaseException) -> int | None:
    arguments = getattr(getattr(error, "orig", None), "args", ())
    return arguments[0] if arguments and isinstance(arguments[0], int) else None
