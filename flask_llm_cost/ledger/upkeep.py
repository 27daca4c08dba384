"""What an operator does to a ledger: check and rebuild rollups, prune, look after dead letters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from sqlalchemy.exc import SQLAlchemyError

from flask_llm_cost.errors import LLMCostError, SchemaMissingError, StorageError
from flask_llm_cost.ledger import dead_letters, retention
from flask_llm_cost.ledger.dead_letters import Letter, Retried, Which
from flask_llm_cost.ledger.engine import Engines
from flask_llm_cost.ledger.retention import Prune, Pruned
from flask_llm_cost.ledger.rollup_repair import Progress, RollupReport, Rollups
from flask_llm_cost.ledger.schema import Schema, message
from flask_llm_cost.ledger.shipper import one_line
from flask_llm_cost.ledger.writer import Writer
from flask_llm_cost.settings import Settings


@dataclass(frozen=True, slots=True)
class Upkeep:
    """The upkeep of one ledger.

    All of it raises ``SchemaMissingError`` where the tables are missing or older, and ``StorageError`` when the
    database refuses: what was done by then stays, and doing it again does the rest.
    """

    engines: Engines
    schema: Schema
    writer: Writer
    settings: Settings

    def verify_rollups(
        self, first: date | None = None, last: date | None = None, progress: Progress | None = None
    ) -> RollupReport:
        """Compare every rollup of the days from ``first`` to ``last`` with the calls. Writes nothing."""
        with self._explained():
            return Rollups(self.engines, self.writer, self.settings).verify(first, last, progress)

    def rebuild_rollups(
        self, first: date | None = None, last: date | None = None, progress: Progress | None = None
    ) -> RollupReport:
        """Put right what ``verify_rollups`` finds, while others record; but for days whose calls were pruned."""
        with self._explained():
            return Rollups(self.engines, self.writer, self.settings).rebuild(first, last, progress)

    def prune(
        self,
        older_than: int | timedelta | datetime,
        *,
        dry_run: bool = False,
        batch_size: int = retention.DEFAULT_BATCH,
        pause: float = retention.DEFAULT_PAUSE,
        with_rollups: bool = False,
        progress: Progress | None = None,
    ) -> Pruned:
        """Delete calls older than so many days, a duration or a time.

        Args:
            batch_size: calls per transaction.
            pause: seconds between two.
            with_rollups: whether the rollups of those days go too. Budgets never forget what was spent.

        Raises:
            InvalidFilterError: ``older_than`` is not in the past, or ``batch_size`` out of bounds.
        """
        zone = self.settings.timezone
        before = retention.cutoff(older_than, zone, datetime.now(UTC))
        retention.check_batch(batch_size, pause)
        run = Prune(self.engines, self.writer, zone, before, batch_size, pause, with_rollups)
        with self._explained():
            return run.look() if dry_run else run.run(progress)

    def dead_letters(self, which: Which, limit: int | None = None) -> Iterator[Letter]:
        """The dead letters, oldest first."""
        with self._explained():
            yield from dead_letters.letters(self.engines, which, limit)

    def retry_dead_letters(self, which: Which) -> Iterator[Retried]:
        """Write the events of dead letters once more; those that go in are dead letters no more."""
        with self._explained():
            yield from dead_letters.retry(self.engines, self.writer, which)

    def drop_dead_letters(self, which: Which) -> int:
        """Give dead letters up. Returns how many."""
        with self._explained():
            return dead_letters.drop(self.engines, self.writer, which)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            state = self.schema.state()
            if state != "current":
                raise SchemaMissingError(message(state))
            yield
        except SQLAlchemyError as error:
            reason = self.schema.explain(error)
            if isinstance(reason, LLMCostError):
                raise reason from error
            raise StorageError(f"The ledger's database refused: {one_line(error)}") from error
