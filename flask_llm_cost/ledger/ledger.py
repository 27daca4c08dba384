"""``Ledger``: where the events of one app are kept, from opening to shutting down."""

from __future__ import annotations

import logging
import secrets
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import click
from sqlalchemy import URL, Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from flask_llm_cost.errors import LLMCostError, PriceTableError, StorageError
from flask_llm_cost.ledger.delivery import Delivery, write_around
from flask_llm_cost.ledger.engine import Engines, is_memory
from flask_llm_cost.ledger.event import Event
from flask_llm_cost.ledger.forks import guard_forks
from flask_llm_cost.ledger.ingest import Ingest
from flask_llm_cost.ledger.leaks import Leaks
from flask_llm_cost.ledger.reprice import DEFAULT_BATCH, Progress, Reprice, Selection
from flask_llm_cost.ledger.rows import pack
from flask_llm_cost.ledger.schema import Schema, SchemaState
from flask_llm_cost.ledger.shipper import Shipper, one_line
from flask_llm_cost.ledger.spool import Backlog, Spool, is_writable
from flask_llm_cost.ledger.store import LogStore, SpoolStore, Store, SyncStore
from flask_llm_cost.ledger.tally import Repriced
from flask_llm_cost.ledger.upkeep import Upkeep
from flask_llm_cost.ledger.writer import BATCH, Writer
from flask_llm_cost.pricing import PriceBook
from flask_llm_cost.settings import Durability, Settings

SPOOL_FOLDER = "llm_cost_spool"
EXIT_SECONDS = 5.0

log = logging.getLogger(__name__)


class Ledger:
    """The ledger of one app. ``Ledger.open`` makes one; it works in every thread, and in forked children."""

    def __init__(
        self, engines: Engines, schema: Schema, writer: Writer, spooled: SpoolStore, store: Store, upkeep: Upkeep
    ) -> None:
        self.upkeep = upkeep
        """What operators do: rollups checked and rebuilt, calls pruned, dead letters looked after."""
        self._engines = engines
        self._schema = schema
        self._writer = writer
        self._spooled = spooled
        """Looks after this host's spools, also where ``store`` is another one: earlier processes may have left some."""
        self._store = store
        # Neither may hold the ledger itself: it would live as long as the process.
        weakref.finalize(self, _close, engines, spooled, EXIT_SECONDS, drain=True)
        guard_forks(engines, spooled)

    @classmethod
    def open(
        cls,
        *,
        url: URL,
        settings: Settings,
        spool_dir: Path,
        testing: bool = False,
        engine_options: Mapping[str, Any] | None = None,
    ) -> Ledger:
        """Set the ledger up. Touches no database: an app starts whether or not it is there.

        Args:
            url: the database (see ``resolve_url``).
            settings: the app's settings.
            spool_dir: the folder whose sub-folder ``llm_cost_spool`` (mode 0700) takes the spool.
            testing: whether the app is under test; then events are written synchronously by default.
            engine_options: the app's engine options; those that say how to connect apply to the ledger.

        Raises:
            ConfigurationError: the database's driver is not installed, or the ledger cannot live there.
        """
        engines = Engines.create(url, engine_options)
        writer, schema = Writer(engines, settings), Schema(engines)
        folder = spool_dir / SPOOL_FOLDER
        durability: Durability | Store = settings.durability or _default_durability(folder, testing=testing)
        spool = Spool(folder, _identity(url), settings.spool_max_mb << 20, hands_over=not settings.shipper)
        shipper = Shipper(spool, Delivery(writer, schema.explain), Leaks(writer.add_leaks))
        direct = SyncStore(writer)
        spooled = SpoolStore(spool, shipper, direct, fsync=durability == "fsync")
        store: Store = spooled
        if not isinstance(durability, str):
            store = durability
        elif durability in ("sync", "log"):
            store = direct if durability == "sync" else LogStore()
        return cls(engines, schema, writer, spooled, store, Upkeep(engines, schema, writer, settings))

    @property
    def engine(self) -> Engine:
        """The engine to read on. Prefer ``session``: an in-memory database has one connection for everything."""
        return self._engines.read

    @property
    def durability(self) -> str:
        """How events are kept: "spool", "fsync", "sync", "log", or the name of the app's own store class."""
        return str(getattr(self._store, "durability", type(self._store).__name__))

    @property
    def last_error(self) -> str | None:
        """What keeps events waiting in the spool at present, in one line."""
        error = self._spooled.shipper.last_error
        return None if error is None else one_line(error)

    def record(self, event: Event) -> None:
        """Keep ``event``; when this returns, it is acknowledged as the durability mode promises.

        Raises:
            SchemaMissingError: the tables are missing or older; the message names the command.
            StorageError: it could not be kept; ``__cause__`` says why.
        """
        try:
            self._store.record(event)
        except LLMCostError:
            raise
        except Exception as error:
            raise self._explained(error) from error

    def count_leak(self, host: str, *, known_host: bool) -> None:
        """Count a call to a model that is not recorded, by its host alone. Touches no database.

        Where events are not spooled, counts get into the ledger with ``flush`` and at the end of the process.
        """
        self._spooled.count_leak(host, known_host=known_host, wake=self._store is self._spooled)

    def write(self, events: Iterable[Event]) -> int:
        """Write many events straight into the ledger, in batches: history, imports. Returns how many were new.

        Raises:
            SchemaMissingError, StorageError: as ``record``; earlier batches stay.
        """
        batch: list[dict[str, Any]] = []
        written = 0
        try:
            for event in events:
                batch.append(pack(event))
                if len(batch) == BATCH:
                    written += self._writer.write_batch(batch)
                    batch = []
            return written + self._writer.write_batch(batch)
        except (SQLAlchemyError, ValueError, TypeError, KeyError, ArithmeticError) as error:
            raise self._explained(error) from error

    def write_new(self, events: Sequence[Event]) -> frozenset[UUID]:
        """Write one batch where events end up, without the spool. Returns the ids of those that were new.

        An event that no database takes goes to the dead letters. Stores outside the ledger get every event.

        Raises:
            SchemaMissingError, StorageError: as ``record``; nothing of the batch was kept.
        """
        if not isinstance(self._store, SpoolStore | SyncStore):
            for event in events:
                self.record(event)
            return frozenset(event.event_id for event in events)
        try:
            return frozenset(map(UUID, write_around(self._writer, [pack(event) for event in events])))
        except SQLAlchemyError as error:
            raise self._explained(error) from error

    def reprice(
        self,
        prices: PriceBook,
        selection: Selection,
        *,
        dry_run: bool = False,
        batch_size: int = DEFAULT_BATCH,
        progress: Progress | None = None,
    ) -> Repriced:
        """Price calls again, at the prices of their own time, and move every total by the difference.

        Raises:
            PriceTableError: the newest edit of the prices file cannot be read.
            SchemaMissingError, StorageError: the database refused; earlier batches stay, another run does the rest.
        """
        prices.refresh()
        if prices.file_error is not None:
            raise PriceTableError(prices.file_error)
        run = Reprice(self._writer, self._engines, prices.catalogue, prices.version, selection, batch_size)
        try:
            return run.look(progress) if dry_run else run.apply(progress)
        except SQLAlchemyError as error:
            raise self._explained(error, "The calls were not all priced again") from error

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A session to read in, on an engine of the ledger's own."""
        with self._engines.exclusive, Session(self._engines.read) as session:
            yield session

    def flush(self, timeout: float = 10, *, everyone: bool = False) -> bool:
        """Wait until all that was recorded so far is in the ledger, dead processes' spools included.

        ``everyone``: until nothing waits in any spool of this host. ``False`` when ``timeout`` (seconds) passes first.
        """
        return self._spooled.flush(time.monotonic() + timeout, everyone=everyone)

    def shutdown(self, timeout: float = 10, drain: bool = True) -> bool:
        """Stop shipping; first, unless told otherwise, ship what waits.

        Returns whether that worked within ``timeout`` seconds, ``True`` without ``drain``. What still waits
        stays in the spool and is shipped by the next process. Events recorded from now on are written
        synchronously.
        """
        return _close(self._engines, self._spooled, timeout, drain=drain)

    def upgrade(self) -> None:
        """Bring the tables up to date: what ``flask llm-cost db upgrade`` does.

        Raises:
            StorageError: the database refused.
        """
        with self._one_line_errors():
            self._schema.upgrade()

    def downgrade(self, revision: str) -> None:
        """Take migrations back to ``revision``; "base" drops the ledger."""
        with self._one_line_errors():
            self._schema.downgrade(revision)

    def partition(self) -> tuple[str, ...]:
        """Keep calls in monthly partitions (PostgreSQL). Returns the names of those that were made.

        Raises:
            SchemaMissingError: the tables are missing or older.
            StorageError: the ledger is elsewhere, or the database refused; nothing has changed then.
        """
        with self._one_line_errors():
            return self._schema.partition()

    def unpartition(self) -> bool:
        """Keep calls in one table again. Returns whether they were not. Raises as ``partition``."""
        with self._one_line_errors():
            return self._schema.unpartition()

    def schema_state(self) -> SchemaState:
        """Whether the tables are "missing", "older" or "current".

        Raises:
            StorageError: the database does not answer.
        """
        with self._one_line_errors():
            return self._schema.state()

    def revision(self) -> str | None:
        """The revision the database is at; ``None`` without tables.

        Raises:
            StorageError: the database does not answer.
        """
        with self._one_line_errors():
            return self._schema.revision()

    def sql(self, start: str = "base") -> str:
        """The DDL of the ledger, or what is new since the revision ``start``, for a person to run.

        Raises:
            StorageError: there is no such revision.
        """
        return self._schema.sql(start)

    def ingest(self) -> Ingest:
        """What ships this host's spools in the foreground, as a process of its own."""
        return Ingest(self._spooled.spool, self._spooled.shipper)

    def backlog(self) -> Backlog:
        """What waits in the spools of this host."""
        return self._spooled.spool.backlog()

    @contextmanager
    def _one_line_errors(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, OSError) as error:
            raise StorageError(f"The ledger's database refused: {one_line(error)}") from error

    def _explained(self, error: Exception, what: str = "The event was not stored") -> LLMCostError:
        if isinstance(error, SQLAlchemyError):
            reason = self._schema.explain(error)
            if isinstance(reason, LLMCostError):
                return reason
        return StorageError(f"{what}: {one_line(error)}")


def _identity(url: URL) -> str:
    """Which ledger a spool file is for (not its password): apps may share a folder."""
    if is_memory(url):
        return f"memory{secrets.token_hex(4)}"
    where = f"{url.get_backend_name()}|{url.host}|{url.port}|{url.database}"
    return sha256(where.encode()).hexdigest()[:12]


def _default_durability(folder: Path, *, testing: bool) -> Durability:
    if testing or _in_short_command():
        return "sync"
    if is_writable(folder):
        return "spool"
    log.warning("%s cannot be written: events go into the ledger synchronously. Set LLM_COST_SPOOL_DIR.", folder)
    return "sync"


def _in_short_command() -> bool:
    """Whether a ``flask`` command other than ``run`` is at work; it may end before a spool is shipped."""
    context = click.get_current_context(silent=True)
    if context is None or type(context.find_root().obj).__name__ != "ScriptInfo":
        return False
    return context.info_name != "run"


def _close(engines: Engines, spooled: SpoolStore, timeout: float, *, drain: bool) -> bool:
    drained = spooled.close(timeout, drain=drain)
    engines.dispose()
    return drained or not drain
