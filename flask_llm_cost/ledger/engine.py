"""Engines of the ledger's own: never the app's session, never its pool.

An app's pool of one connection would dead-lock with ours, and on a shared in-memory SQLite connection
our commit would commit the app's rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from threading import RLock
from typing import Any

from sqlalchemy import URL, Connection, Engine, StaticPool, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.pool import ConnectionPoolEntry

from flask_llm_cost.errors import ConfigurationError

DATABASE_FILE = "llm_cost.db"
BUSY_SECONDS = 30

# The app's engine options that say how to connect. What they say of its pool is the app's own affair.
_SHARED_OPTIONS = frozenset({"connect_args", "creator", "pool_recycle", "plugins"})
# Drivers we bring with an extra, for a URL whose own driver is not installed or is asynchronous.
_DRIVERS = {"postgresql": "psycopg", "mysql": "pymysql", "mariadb": "pymysql"}
_DRIVER_MODULES = {"mysqldb": "MySQLdb", "asyncpg": "", "aiosqlite": "", "aiomysql": "", "asyncmy": ""}
_EXTRAS = {"postgresql": "postgres", "mysql": "mysql", "mariadb": "mysql"}


def resolve_url(
    *, database_uri: str | None, bind_url: URL | None = None, app_url: URL | None = None, instance_path: str
) -> URL:
    """Where the ledger lives: ``database_uri``, else the chosen bind, else the app's database.

    An app on SQLite, or without a database, gets a file of the ledger's own beside it: on the app's
    own file our writes would wait for its open transactions.

    Raises:
        ConfigurationError: ``database_uri`` is not a database URL.
    """
    if database_uri is not None:
        return _within(Path(instance_path), _parse(database_uri))
    if bind_url is not None:
        return _within(Path(instance_path), _with_usable_driver(bind_url))
    if app_url is not None and app_url.get_backend_name() != "sqlite":
        return _with_usable_driver(app_url)
    return URL.create("sqlite", database=str(Path(instance_path) / DATABASE_FILE))


def is_memory(url: URL) -> bool:
    """Whether ``url`` is a SQLite database that lives in one connection."""
    if url.get_backend_name() != "sqlite":
        return False
    return url.database in (None, "", ":memory:") or "mode=memory" in str(url)


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Engines:
    """One engine to write on and one to read on; the same one where the database lives in a connection.

    Attributes:
        write: transactions that write. On SQLite they take the write lock at their start.
        read: transactions that read.
        exclusive: held while either is in use, where both share a connection.
    """

    write: Engine
    read: Engine
    exclusive: AbstractContextManager[object]

    @classmethod
    def create(cls, url: URL, options: Mapping[str, Any] | None = None) -> Engines:
        """Make the engines; connects to nothing.

        Raises:
            ConfigurationError: the database's driver is not installed, or SQLAlchemy does not know it.
        """
        url = _with_usable_driver(url)
        chosen = {name: value for name, value in (options or {}).items() if name in _SHARED_OPTIONS}
        # Tag values are the app's own business: they stay out of error messages.
        chosen |= {"hide_parameters": True, "pool_pre_ping": True}
        try:
            if is_memory(url):
                return cls._in_memory(url, chosen)
            return cls._pooled(url, chosen)
        except (NoSuchModuleError, ArgumentError) as error:
            raise ConfigurationError(f"The ledger's database URL cannot be used: {error}") from error
        except ModuleNotFoundError as error:
            backend = url.get_backend_name()
            extra = _EXTRAS.get(backend)
            hint = f"pip install 'flask-llm-cost[{extra}]'" if extra else f"install {error.name}"
            raise ConfigurationError(f"The driver for {backend} is not installed: {hint}.") from error

    @classmethod
    def _in_memory(cls, url: URL, options: dict[str, Any]) -> Engines:
        options |= {"poolclass": StaticPool, "pool_pre_ping": False}
        options["connect_args"] = {"check_same_thread": False} | options.get("connect_args", {})
        engine = create_engine(url, **options)
        _own_transactions(engine)
        return cls(engine.execution_options(llm_cost_begin="BEGIN IMMEDIATE"), engine, RLock())

    @classmethod
    def _pooled(cls, url: URL, options: dict[str, Any]) -> Engines:
        on_sqlite = url.get_backend_name() == "sqlite"
        if on_sqlite:
            options["connect_args"] = {"timeout": BUSY_SECONDS} | options.get("connect_args", {})
        else:
            options["isolation_level"] = "READ COMMITTED"
        write = create_engine(url, pool_size=1, max_overflow=1, **options)
        read = create_engine(url, pool_size=1, max_overflow=9, **options)
        if on_sqlite:
            for engine in (write, read):
                _own_transactions(engine)
                event.listen(engine, "do_connect", partial(_make_folder, url))
                event.listen(engine, "connect", _use_write_ahead_log)
            write = write.execution_options(llm_cost_begin="BEGIN IMMEDIATE")
            read = read.execution_options(llm_cost_begin="BEGIN")
        return cls(write, read, nullcontext())

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that writes; commits at the end, rolls back on an error."""
        with self.exclusive, self.write.begin() as connection:
            yield connection

    @contextmanager
    def reading(self, *, snapshot: bool = False) -> Iterator[Connection]:
        """A transaction that reads; with ``snapshot``, all its statements see the same moment."""
        with self.exclusive, self.read.connect() as connection:
            if snapshot and connection.dialect.name != "sqlite":
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            yield connection

    def before_fork(self) -> None:
        """Close what is idle, where a child must not even inherit it.

        SQLite: "Do not open an SQLite database connection, then fork(2)": the child would believe in
        locks that it does not hold (https://www.sqlite.org/howtocorrupt.html, 2.6).
        """
        if self.write.dialect.name == "sqlite" and isinstance(self.exclusive, nullcontext):
            self.dispose()

    def after_fork(self) -> None:
        """Forget, in the child, the connections that belong to the parent; close none of them."""
        self.write.dispose(close=False)
        self.read.dispose(close=False)

    def dispose(self) -> None:
        """Close all idle connections."""
        self.write.dispose()
        self.read.dispose()


def _own_transactions(engine: Engine) -> None:
    """Begin SQLite's transactions ourselves, as SQLAlchemy documents for pysqlite.

    A deferred ``BEGIN`` that reads, then writes, fails with BUSY_SNAPSHOT whatever the time-out is. Reads
    on a shared connection begin none at all, so that a write may come in between.
    """

    def stop_driver(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        connection.isolation_level = None

    def begin(connection: Connection) -> None:
        statement = connection.get_execution_options().get("llm_cost_begin")
        if statement:
            connection.exec_driver_sql(statement)

    event.listen(engine, "connect", stop_driver)
    event.listen(engine, "begin", begin)


def _make_folder(url: URL, *_: object) -> None:
    """SQLite makes a missing file, not its folder: a fresh app has no instance folder yet."""
    database = str(url.database)
    if not database.startswith("file:"):
        Path(database).parent.mkdir(parents=True, exist_ok=True)


def _use_write_ahead_log(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    try:
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
    finally:
        cursor.close()


def _parse(database_uri: str) -> URL:
    # Heroku and others still write the scheme that SQLAlchemy dropped in 1.4.
    if database_uri.startswith("postgres://"):
        database_uri = "postgresql" + database_uri.removeprefix("postgres")
    try:
        return _with_usable_driver(make_url(database_uri))
    except ArgumentError:
        raise ConfigurationError(
            "LLM_COST_DATABASE_URI is not a database URL; 'sqlite:////var/lib/app/llm_cost.db' or "
            "'postgresql://user@host/database' for example."
        ) from None


def _within(instance: Path, url: URL) -> URL:
    """A relative SQLite file lies in the instance folder, as it does with Flask-SQLAlchemy."""
    if url.get_backend_name() != "sqlite" or is_memory(url) or str(url.database).startswith("file:"):
        return url
    return url.set(database=str(instance / str(url.database)))


def _with_usable_driver(url: URL) -> URL:
    """``url`` with a driver that is installed and synchronous, where its own is not."""
    backend, _, driver = url.drivername.partition("+")
    driver = driver or {"postgresql": "psycopg2", "mysql": "mysqldb", "mariadb": "mysqldb"}.get(backend, "")
    module = _DRIVER_MODULES.get(driver, driver)
    if driver and module and find_spec(module) is not None:
        return url
    if backend == "sqlite":
        return url.set(drivername="sqlite") if driver == "aiosqlite" else url
    ours = _DRIVERS.get(backend)
    return url.set(drivername=f"{backend}+{ours}") if ours and find_spec(ours) is not None else url
