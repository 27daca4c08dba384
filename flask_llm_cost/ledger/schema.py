"""The ledger's schema: its packaged Alembic migrations, their state, and the host's migrations kept away."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Column, Connection, MetaData, String, Table, inspect, select
from sqlalchemy.exc import SQLAlchemyError

from flask_llm_cost.errors import SchemaMissingError, StorageError
from flask_llm_cost.ledger import repartition
from flask_llm_cost.ledger.dialects import dialect_of
from flask_llm_cost.ledger.engine import Engines
from flask_llm_cost.ledger.models import Call
from flask_llm_cost.ledger.partitions import PARTS

PREFIX = "llm_cost_"
"""How every table, view and version table of ours begins."""

VERSION_TABLE = "llm_cost_schema_version"
REVISIONS = ("0001", "0002")
"""Every revision, oldest first; a test holds it to the ``migrations`` directory. Spares Alembic's import."""

UPGRADE_COMMAND = "flask llm-cost db upgrade"

SchemaState = Literal["missing", "older", "current"]
IncludeName = Callable[[str | None, str, Mapping[str, str | None]], bool]

_versions = Table(VERSION_TABLE, MetaData(), Column("version_num", String(32)))


class Schema:
    """The schema of one ledger."""

    def __init__(self, engines: Engines) -> None:
        self._engines = engines
        self._current = False

    def state(self) -> SchemaState:
        """Whether the tables are there and as this version of the package needs them.

        A newer schema counts as "current": migrations do not break the version before. Only "current" is
        remembered.

        Raises:
            SQLAlchemyError: the database does not answer.
        """
        if self._current:
            return "current"
        state = _state_of(self.revision())
        self._current = state == "current"
        return state

    def revision(self) -> str | None:
        """The database's revision; ``None`` where the tables are missing."""
        with self._engines.reading() as connection:
            tables = inspect(connection)
            if not (tables.has_table(VERSION_TABLE) and tables.has_table(Call.__tablename__)):
                return None
            return connection.scalar(select(_versions.c.version_num))

    def upgrade(self, revision: str = "head") -> None:
        """Migrate to ``revision``; processes that do so at once take turns.

        Raises:
            SQLAlchemyError: the database refused.
            StorageError: the database is at a revision that this version of the package does not know.
        """
        from alembic import command

        self._migrate(command.upgrade, revision)

    def downgrade(self, revision: str) -> None:
        """Migrate back to ``revision``; "base" drops everything. Raises as ``upgrade``."""
        from alembic import command

        self._current = False
        self._migrate(command.downgrade, revision)

    def _migrate(self, command: Callable[[Any, str], None], revision: str) -> None:
        from alembic.util import CommandError

        engine = self._engines.write
        try:
            with dialect_of(engine.dialect.name).schema_lock(engine), self._engines.writing() as connection:
                command(_config(connection), revision)
        except CommandError as error:
            raise StorageError(f"The ledger's schema cannot be migrated: {error}") from error

    def partition(self) -> tuple[str, ...]:
        """Keep calls by months; see ``repartition.partition``. Returns the names of the partitions made.

        Raises:
            SQLAlchemyError: the database refused; nothing has changed.
            SchemaMissingError: the tables are missing or older.
            StorageError: the database has no such partitions.
        """
        with self._reshaping() as connection:
            return tuple(month.partition for month in repartition.partition(connection))

    def unpartition(self) -> bool:
        """Keep calls in one table; see ``repartition.unpartition``. Raises as ``partition``."""
        with self._reshaping() as connection:
            return repartition.unpartition(connection)

    @contextmanager
    def _reshaping(self) -> Iterator[Connection]:
        engine = self._engines.write
        dialect = dialect_of(engine.dialect.name)
        if not dialect.can_partition:
            raise StorageError(
                f"Calls can be kept by months on PostgreSQL only; this ledger is on {engine.dialect.name}."
            )
        if self.state() != "current":
            raise SchemaMissingError(message(self.state()))
        with dialect.schema_lock(engine), self._engines.writing() as connection:
            yield connection

    def sql(self, start: str = "base") -> str:
        """The DDL from a revision to the current schema, for a person to run. Connects to nothing.

        Raises:
            StorageError: there is no such revision.
        """
        if start not in ("base", *REVISIONS):
            raise StorageError(f"There is no revision {start!r}: {', '.join(REVISIONS)} are known.")
        from alembic import command

        config = _config(None)
        config.attributes["dialect"] = self._engines.write.dialect.name
        buffer = io.StringIO()
        config.output_buffer = buffer
        command.upgrade(config, f"{start}:head", sql=True)
        return buffer.getvalue()

    def explain(self, error: SQLAlchemyError) -> Exception:
        """The error to raise for ``error``: one that names the command, where the schema is the reason."""
        try:
            state = self.state()
        except SQLAlchemyError:
            return error
        return error if state == "current" else SchemaMissingError(message(state))


def message(state: SchemaState) -> str:
    """What to tell a person about ``state``."""
    if state == "current":
        return "The ledger's tables are current."
    what = "missing" if state == "missing" else "older than this version of flask-llm-cost needs"
    return f"The ledger's tables are {what}: run `{UPGRADE_COMMAND}`."


def exclude_from_host(configure_args: MutableMapping[str, Any]) -> None:
    """Keep the host's ``flask db migrate`` from dropping our tables: it sees them in the database, in no model.

    ``configure_args`` is ``app.extensions["migrate"].configure_args``. An ``include_name`` of the host's
    own goes on deciding about everything else.
    """
    theirs: IncludeName | None = configure_args.get("include_name")

    def include_name(name: str | None, kind: str, parents: Mapping[str, str | None]) -> bool:
        if kind == "table" and name is not None and name.startswith(PREFIX):
            return False
        if kind == "schema" and name == PARTS:
            return False
        return True if theirs is None else theirs(name, kind, parents)

    configure_args["include_name"] = include_name


def migrations_directory() -> Path:
    """Where the migrations are: in the package once installed, else beside it in the repository."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "migrations"
    return installed if (installed / "env.py").exists() else package.parent / "migrations"


def _state_of(revision: str | None) -> SchemaState:
    if revision is None:
        return "missing"
    return "older" if revision in REVISIONS[:-1] else "current"


def _config(connection: Connection | None) -> Any:
    from alembic.config import Config

    config = Config(stdout=io.StringIO())
    # Alembic reads the value with configparser's interpolation.
    config.set_main_option("script_location", str(migrations_directory()).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
