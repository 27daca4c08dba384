"""Bulk load: very many calls into an empty ledger, with the outcome that ``write_batch`` would have had.

What calls add to tags and rollups goes through the same functions. Faster are the transactions of thousands, calls
by the database's own way to load, and indexes that are made when everything is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from sqlalchemy import Connection, select

from flask_llm_cost.errors import StorageError
from flask_llm_cost.ledger import tag_rows
from flask_llm_cost.ledger.engine import Engines
from flask_llm_cost.ledger.models import Base, Call
from flask_llm_cost.ledger.rollup_check import COLUMNS
from flask_llm_cost.ledger.rows import Entry
from flask_llm_cost.ledger.writer import Writer

AT_ONCE = 25_000

Progress = Callable[[int], None]
"""Is told how many calls are in."""


@dataclass(frozen=True, slots=True)
class BulkLoad:
    """Fills one ledger. Nobody else may write to it meanwhile: its indexes are gone until the end.

    Attributes:
        at_once: calls per transaction.
    """

    engines: Engines
    writer: Writer
    at_once: int = AT_ONCE

    def load(self, entries: Iterable[Entry], progress: Progress | None = None) -> int:
        """Write ``entries``, whose ids must differ, rows alike in the order of their columns. Returns how many.

        A load that was killed cannot be taken up again: drop the ledger (``db downgrade base``) and begin anew.

        Raises:
            StorageError: there are calls, or rollups of earlier ones, in the ledger.
            SQLAlchemyError: the database's own error; earlier transactions stay.
        """
        dialect = self.writer.dialect
        with self.engines.writing() as connection:
            _check_empty(connection)
            indexes = dialect.drop_indexes(connection, Call.__tablename__)
        loaded = 0
        try:
            for part in _parts(entries, self.at_once):
                self._load(part)
                loaded += len(part)
                if progress is not None:
                    progress(loaded)
        finally:
            with self.engines.writing() as connection:
                for definition in indexes:
                    connection.exec_driver_sql(definition)
        dialect.settle(self.engines.write)
        return loaded

    def _load(self, entries: Sequence[Entry]) -> None:
        dialect = self.writer.dialect

        def write(connection: Connection) -> None:
            ids = dialect.load_calls(connection, [entry.row for entry in entries])
            if dialect.keeps_tag_tables:
                carried = ((ids[str(entry.row["event_id"])], entry.tags) for entry in entries)
                tag_rows.write_tags(dialect, connection, carried)
            self.writer.rewrite(connection, (), new=entries)

        self.writer.transaction(write)


def _check_empty(connection: Connection) -> None:
    for name in (Call.__tablename__, *COLUMNS):
        table = Base.metadata.tables[name]
        if connection.execute(select(*table.primary_key).limit(1)).first() is not None:
            raise StorageError(f"There are rows in {name}: only an empty ledger can be loaded in bulk.")


def _parts(entries: Iterable[Entry], size: int) -> Iterator[list[Entry]]:
    left = iter(entries)
    while part := list(islice(left, size)):
        yield part
