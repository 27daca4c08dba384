"""``rollups verify`` and ``rebuild``: every day's rollups against its calls, and what is missing put right.

A rebuild does not empty and refill: it adds to each row what it lacks, as seen in one snapshot of calls and
rollups. Whoever records meanwhile adds to both alike, so the difference stays the same, and nobody has to wait.
Only another change of that kind would make it stale; those tell each other by a mark in ``meta``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from uuid import uuid4

from sqlalchemy import Connection, func, select, update

from flask_llm_cost.errors import StorageError
from flask_llm_cost.ledger.audit import note
from flask_llm_cost.ledger.days import DaySpan, recorded_days
from flask_llm_cost.ledger.engine import Engines
from flask_llm_cost.ledger.models import Base, Meta
from flask_llm_cost.ledger.rollup_check import COLUMNS, TAG_DAILY, TAG_KEYS, Difference, check_day, check_month
from flask_llm_cost.ledger.rollups import OTHER_VALUES, TAG_SUMS
from flask_llm_cost.ledger.rows import Row
from flask_llm_cost.ledger.writer import TIME_ZONE, Writer
from flask_llm_cost.settings import Settings

PRUNED_BEFORE = "pruned_before"
"""Whose value in ``meta`` is the instant before which calls were pruned."""

REBUILD = "rollups rebuild"
_CHANGED = "rollups_changed"
_ATTEMPTS = 5

Progress = Callable[[int, int], None]
"""Is told how many days are done, and of how many."""

Look = Callable[[Connection], list[Difference] | None]


@dataclass(frozen=True, slots=True)
class RollupReport:
    """What a check, or a rebuild, found.

    Attributes:
        days: how many days were looked at.
        pruned: days left out because calls of theirs were pruned: their rollups are all that is left of them.
        rows: rollup → rows that differ, or differed.
        examples: the first of the differences.
        other_zone: the time zone in which the ledger's days were counted, where it is not ours.
    """

    days: int
    pruned: int
    rows: dict[str, int]
    examples: Sequence[Difference]
    other_zone: str | None = None

    @property
    def differences(self) -> int:
        return sum(self.rows.values())

    def as_dict(self) -> dict[str, object]:
        """JSON-ready."""
        return {
            "days": self.days,
            "pruned_days": self.pruned,
            "differences": self.differences,
            "rollups": self.rows,
            "counted_in": self.other_zone,
            "examples": [each.as_dict() for each in self.examples],
        }


@dataclass(slots=True)
class Rollups:
    """Checks and repairs the rollups of one ledger, day by day: what is done is done if it is ended in between."""

    engines: Engines
    writer: Writer
    settings: Settings
    most_examples: int = 20
    _rows: Counter[str] = field(default_factory=Counter)
    _examples: list[Difference] = field(default_factory=list)

    def verify(self, first: date | None, last: date | None, progress: Progress | None = None) -> RollupReport:
        """Compare. Writes nothing.

        Raises:
            SQLAlchemyError: the database's own error.
        """
        return self._each(first, last, self._look_at_day, self._look_at_month, progress)

    def rebuild(self, first: date | None, last: date | None, progress: Progress | None = None) -> RollupReport:
        """Compare, and put right what differs.

        Raises:
            StorageError: the days were counted in another time zone, and only some are to be rebuilt.
            SQLAlchemyError: the database's own error; the days before stay as they are by then.
        """
        held = self._zone_held()
        if held is not None and (first or last):
            raise StorageError(
                f"The ledger's days were counted in {held!r} so far, LLM_COST_TIMEZONE is "
                f"{self.settings.timezone.key!r}: rebuild all of them, without --from and --to."
            )
        report = self._each(first, last, self._repair_day, self._repair_month, progress)
        if held is not None:
            row: Row = {"name": TIME_ZONE, "value": self.settings.timezone.key}
            self.writer.transaction(lambda connection: self.writer.dialect.put(connection, _META, row, ["name"]))
        return report

    def _each(
        self,
        first: date | None,
        last: date | None,
        day_work: Callable[[DaySpan], bool],
        month_work: Callable[[date], None],
        progress: Progress | None,
    ) -> RollupReport:
        with self.engines.reading() as connection:
            days = recorded_days(connection, self.settings.timezone, first, last)
        pruned = 0
        for done, day in enumerate(days, 1):
            pruned += not day_work(DaySpan.of(day, self.settings.timezone))
            if progress is not None:
                progress(done, len(days))
        for month in sorted({day.replace(day=1) for day in days}):
            month_work(month)
        zone = self._zone_held()
        return RollupReport(len(days) - pruned, pruned, dict(self._rows), tuple(self._examples), zone)

    def _look_at_day(self, span: DaySpan) -> bool:
        with self.engines.reading(snapshot=True) as connection:
            kept_since = pruned_before(connection)
            if kept_since is not None and span.start < kept_since:
                return False
            self._tell(check_day(connection, span, self.settings, kept_since))
        return True

    def _look_at_month(self, month: date) -> None:
        with self.engines.reading(snapshot=True) as connection:
            self._tell(check_month(connection, month))

    def _repair_day(self, span: DaySpan) -> bool:
        def differences(connection: Connection) -> list[Difference] | None:
            kept_since = pruned_before(connection)
            if kept_since is not None and span.start < kept_since:
                return None
            return check_day(connection, span, self.settings, kept_since, strict=True)

        return self._repair(differences, span.day)

    def _repair_month(self, month: date) -> None:
        self._repair(lambda connection: list(check_month(connection, month)), month)

    def _repair(self, look: Look, day: date) -> bool:
        for _ in range(_ATTEMPTS):
            done = self._repair_once(look, day)
            if done is not None:
                return done
        raise StorageError(f"The rollups of {day} are being changed by another rebuild or prune: try again.")

    def _repair_once(self, look: Look, day: date) -> bool | None:
        """Whether the day can be looked at; ``None`` if somebody came in between."""
        mark = self._mark()
        with self.engines.reading(snapshot=True) as connection:
            if _mark_held(connection) != mark:
                return None
            found = look(connection)
        if not found:
            return found is not None
        if not self.writer.transaction(lambda connection: self._apply(connection, mark, found, day)):
            return None
        self._tell(found)
        return True

    def _apply(self, connection: Connection, mark: str, differences: Sequence[Difference], day: date) -> bool:
        """Add what is missing. ``False`` if somebody else changed rollups since they were looked at."""
        if not change_mark(connection, mark):
            return False
        rows = Counter(each.rollup for each in differences)
        note(connection, REBUILD, {"day": day.isoformat(), "rows": dict(rows)})
        for rollup in COLUMNS:
            add_missing(self.writer, connection, [each for each in differences if each.rollup == rollup])
        keys = {each.key[:2] for each in differences if each.rollup in (TAG_DAILY, TAG_KEYS)}
        if keys:
            _count_values(connection, day, {str(key) for key, _ in keys})
        return True

    def _mark(self) -> str:
        """The mark of the last change, made where there is none."""
        with self.engines.reading() as connection:
            held = _mark_held(connection)
        if held is not None:
            return held
        mark = uuid4().hex
        row: Row = {"name": _CHANGED, "value": mark}
        self.writer.transaction(lambda connection: self.writer.dialect.put(connection, _META, row, ["name"]))
        return mark

    def _zone_held(self) -> str | None:
        """The zone that the days were counted in, where it is another one than ours."""
        with self.engines.reading() as connection:
            held = connection.scalar(select(Meta.value).where(Meta.name == TIME_ZONE))
        return None if held == self.settings.timezone.key else held

    def _tell(self, found: Iterable[Difference]) -> None:
        for each in found:
            self._rows[each.rollup] += 1
            if len(self._examples) < self.most_examples:
                self._examples.append(each)


_META = Meta.__tablename__


def pruned_before(connection: Connection) -> datetime | None:
    """The instant before which calls were pruned."""
    held = connection.scalar(select(Meta.value).where(Meta.name == PRUNED_BEFORE))
    return None if held is None else datetime.fromisoformat(held)


def change_mark(connection: Connection, mark: str | None) -> bool:
    """Say that rollups change apart from calls; only if nobody did since ``mark``, where one is given."""
    changed = update(Meta).where(Meta.name == _CHANGED).values(value=uuid4().hex)
    return connection.execute(changed if mark is None else changed.where(Meta.value == mark)).rowcount == 1


def mark_change(writer: Writer, connection: Connection) -> None:
    """Say that what rollups are compared with changed behind any snapshot, also to whoever has yet to set a mark."""
    row: Row = {"name": _CHANGED, "value": uuid4().hex}
    writer.dialect.put(connection, _META, row, ["name"])


def add_missing(writer: Writer, connection: Connection, differences: Sequence[Difference]) -> None:
    """Add to the rows of one rollup what they lack; rows without a call go."""
    if not differences:
        return
    rollup = differences[0].rollup
    keys, names = COLUMNS[rollup]
    if rollup == TAG_KEYS:
        names = TAG_SUMS
    ordered = sorted(differences, key=lambda each: each.key)
    rows = [(*each.key, *each.missing[: len(names)]) for each in ordered]
    writer.dialect.add(connection, rollup, (*keys, *names), rows)
    parts = len(Base.metadata.tables[rollup].primary_key)
    writer.dialect.drop_empty(connection, rollup, [each.key[:parts] for each in ordered if not each.expected[0]])


def _count_values(connection: Connection, day: date, keys: set[str]) -> None:
    """Say how many values keys had on a day: counted anew, while their rows are locked."""
    values, totals = Base.metadata.tables[TAG_DAILY], Base.metadata.tables[TAG_KEYS]
    for key in sorted(keys):
        same = (totals.c.key == key, totals.c.day == day)
        connection.execute(update(totals).where(*same).values(calls=totals.c.calls))
        counted = select(func.count()).where(values.c.key == key, values.c.day == day, values.c.value != OTHER_VALUES)
        connection.execute(update(totals).where(*same).values(distinct_values=connection.scalar(counted)))


def _mark_held(connection: Connection) -> str | None:
    return connection.scalar(select(Meta.value).where(Meta.name == _CHANGED))
