"""Rollups against the calls they are the sums of, a day or a month at a time, to the last unit.

All of one check happens in one snapshot of the database, so that it may run while calls are written. What it
needs of memory is bounded by the rows that a day's rollups have, or one tag key's in a month.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from operator import add, sub
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, Table, func, or_, select, type_coerce

from flask_llm_cost.ledger.days import DAY, DaySpan
from flask_llm_cost.ledger.models import Base, Call
from flask_llm_cost.ledger.rollups import OTHER_VALUES, SUMS, TAG_SUMS, Summary, Sums, summarise
from flask_llm_cost.ledger.rows import MONEY, TOKENS, Entry, Plain, Row, tag_digest, utc_text
from flask_llm_cost.ledger.types import Money
from flask_llm_cost.settings import Settings

DAILY, HOURLY, LATENCY = "llm_cost_daily", "llm_cost_hourly", "llm_cost_latency_daily"
TAG_DAILY, TAG_MONTHLY, TAG_KEYS = "llm_cost_tag_daily", "llm_cost_tag_monthly", "llm_cost_tag_key_daily"

COLUMNS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    DAILY: (("day", "provider", "model", "pricing_mode"), SUMS),
    HOURLY: (("hour", "provider", "model", "pricing_mode"), SUMS),
    LATENCY: (("day", "provider", "model", "bin"), ("calls",)),
    TAG_DAILY: (("key", "day", "digest", "value"), TAG_SUMS),
    TAG_MONTHLY: (("key", "month", "digest", "value"), TAG_SUMS),
    TAG_KEYS: (("key", "day"), (*TAG_SUMS, "distinct_values")),
}
"""Rollup → its key and its sums, in the order in which the writer locks them."""

_CALLS_AT_ONCE = 2000
_FACTS = ("provider", "model", "pricing_mode", "status", "cost_status", "stream", "usage_source", "latency_ms")
_NAMES = ("tracked_at", *_FACTS, "provider_response_id", *TOKENS, *(name + "_nano" for name in MONEY))

Key = tuple[Plain, ...]
Rows = dict[Key, Sums]


@dataclass(frozen=True, slots=True)
class Difference:
    """A row of a rollup that is not the sum of its calls.

    Attributes:
        rollup: its table.
        key: its key, as in ``COLUMNS``; days and hours are texts.
        expected: the sums of its calls.
        held: what the row says; zeros where there is none.
    """

    rollup: str
    key: Key
    expected: Sums
    held: Sums

    @property
    def missing(self) -> Sums:
        """What would have to be added to the row."""
        return list(map(sub, self.expected, self.held))

    def as_dict(self) -> dict[str, object]:
        """JSON-ready: the key, and the columns that differ; money in nano-USD. A tag's digest says nothing more."""
        keys, names = COLUMNS[self.rollup]
        key = {name: part for name, part in zip(keys, self.key, strict=True) if name != "digest"}
        pairs = zip(names, self.expected, self.held, strict=True)
        columns = {name: {"calls": of_calls, "rollup": held} for name, of_calls, held in pairs if of_calls != held}
        return {"rollup": self.rollup, "key": key, "columns": columns}


def check_day(
    connection: Connection, span: DaySpan, settings: Settings, kept_since: datetime | None, *, strict: bool = False
) -> list[Difference]:
    """Compare the rollups of one day, and of its hours, with the calls.

    Args:
        kept_since: the oldest instant whose calls are all still there; ``None`` where none was ever pruned.
        strict: a value that was counted in ``__other__`` although there was room for it is a difference too, and
            so are rows of a key that ``LLM_COST_ROLLUP_EXCLUDE_TAGS`` names by now.
    """
    day = span.day.isoformat()
    held_tags = _of_day(connection, TAG_DAILY, span.day)
    if not strict:
        held_tags = {key: sums for key, sums in held_tags.items() if key[0] not in settings.rollup_exclude_tags}
    tags = _Tags(day, settings.tag_values_per_day, held_tags)
    summary = _summary_of(connection, span, settings, tags)
    hours = [span.first_hour if kept_since is None else max(span.first_hour, kept_since), span.after]
    found = _compare(DAILY, _within(summary.daily, day), _of_day(connection, DAILY, span.day))
    found += _compare(HOURLY, _since(summary.hourly, hours[0]), _of_hours(connection, *hours))
    found += _compare(LATENCY, _within(summary.latency, day), _of_day(connection, LATENCY, span.day))
    expected = tags.rows(summary)
    found += _tag_differences(expected, held_tags, strict=strict)
    return found + _key_differences(connection, span, settings, summary, expected if strict else held_tags, strict)


def check_month(connection: Connection, month: date) -> Iterator[Difference]:
    """Compare the tags of one month (its first day) with those of its days."""
    table, days = Base.metadata.tables[TAG_MONTHLY], Base.metadata.tables[TAG_DAILY]
    in_month = days.c.day.between(month, (month.replace(day=28) + 4 * DAY).replace(day=1) - DAY)
    keys = set(connection.scalars(select(table.c.key).where(table.c.month == month).distinct()))
    keys.update(connection.scalars(select(days.c.key).where(in_month).distinct()))
    for key in sorted(keys):
        sums = [func.sum(type_coerce(days.c[name], BigInteger)) for name in TAG_SUMS]
        of_days = select(days.c.digest, func.max(days.c.value), *sums).where(days.c.key == key, in_month)
        expected: Rows = {
            (key, month.isoformat(), digest, value): [int(each) for each in total]
            for digest, value, *total in connection.execute(of_days.group_by(days.c.digest))
        }
        held = held_rows(connection, table, table.c.month == month, table.c.key == key)
        yield from _compare(TAG_MONTHLY, expected, held)


class _Tags:
    """Which values of a day are counted apart: those that are already, then the first to come, up to the cap."""

    def __init__(self, day: str, cap: int, held: Rows) -> None:
        self._day = day
        self._cap = cap
        self._apart: defaultdict[str, set[str]] = defaultdict(set)
        for key, _, _, value in held:
            if value != OTHER_VALUES:
                self._apart[str(key)].add(str(value))

    def fold(self, found: dict[tuple[str, str, str], Sums]) -> dict[tuple[str, str, str], Sums]:
        """``found`` of this day, with values past the cap in ``__other__``."""
        folded: dict[tuple[str, str, str], Sums] = {}
        for (key, day, value), sums in found.items():
            if day != self._day:
                continue
            apart = self._apart[key]
            if value != OTHER_VALUES and value not in apart:
                if len(apart) < self._cap:
                    apart.add(value)
                else:
                    value = OTHER_VALUES
            before = folded.get((key, day, value))
            folded[key, day, value] = sums if before is None else list(map(add, before, sums))
        return folded

    def rows(self, summary: Summary) -> Rows:
        return {(key, day, tag_digest(key, value), value): sums for (key, day, value), sums in summary.tags.items()}


def _summary_of(connection: Connection, span: DaySpan, settings: Settings, tags: _Tags) -> Summary:
    total = Summary()
    for entries in _entries(connection, span):
        part = summarise(entries, settings.timezone, settings.rollup_exclude_tags)
        part.tags = tags.fold(part.tags)
        total.include(part)
    return total


def entries_of(rows: Iterable[Any]) -> list[Entry]:
    """Calls (``call_columns``) as ``summarise`` adds them up."""
    found: list[Entry] = []
    for values in rows:
        row: Row = {name: values[name] for name in _NAMES}
        row["tracked_at"] = utc_text(values["tracked_at"])
        found.append(Entry(row, {str(key): str(value) for key, value in values["tags"].items()}))
    return found


def call_columns() -> list[ColumnElement[Any]]:
    """What ``entries_of`` needs of a call: all but the receipt, which is most of it."""
    calls = Call.__table__
    wanted = (calls.c[name] for name in ("id", *_NAMES, "tags"))
    return [type_coerce(each, BigInteger).label(each.name) if isinstance(each.type, Money) else each for each in wanted]


def _entries(connection: Connection, span: DaySpan) -> Iterator[list[Entry]]:
    calls = Call.__table__
    ordered = select(*call_columns()).where(calls.c.tracked_at < span.after)
    ordered = ordered.order_by(calls.c.tracked_at, calls.c.id).limit(_CALLS_AT_ONCE)
    part = ordered.where(calls.c.tracked_at >= span.first_hour)
    while rows := connection.execute(part).mappings().all():
        yield entries_of(rows)
        at, number = rows[-1]["tracked_at"], rows[-1]["id"]
        # The first term alone is a range that every database finds in the index.
        part = ordered.where(calls.c.tracked_at >= at, or_(calls.c.tracked_at > at, calls.c.id > number))


def _tag_differences(expected: Rows, held: Rows, *, strict: bool) -> list[Difference]:
    found = _compare(TAG_DAILY, expected, held)
    if strict:
        return found
    # Writers that run side by side may have counted a value in __other__ that has a row of its own.
    overflowing = {key for key, _, _, value in held if value == OTHER_VALUES}
    by_key: defaultdict[Plain, list[Difference]] = defaultdict(list)
    for each in found:
        by_key[each.key[0]].append(each)
    return [
        each for key, those in by_key.items() if key not in overflowing or not _only_folded(those) for each in those
    ]


def _only_folded(differences: Sequence[Difference]) -> bool:
    """Whether nothing but calls counted in ``__other__`` makes the differences of one key and day."""
    if any(sum(column) for column in zip(*(each.missing for each in differences), strict=True)):
        return False
    return all(each.missing[0] >= 0 for each in differences if each.key[3] != OTHER_VALUES)


def _key_differences(
    connection: Connection, span: DaySpan, settings: Settings, summary: Summary, tags: Rows, strict: bool
) -> list[Difference]:
    """Of the sums per key; how many values a key has is what its rows of ``tag_daily`` say."""
    values: defaultdict[Plain, int] = defaultdict(int)
    for key, _, _, value in tags:
        values[key] += value != OTHER_VALUES
    expected: Rows = {key: [*sums, values[key[0]]] for key, sums in _within(summary.tag_keys, span.day, at=1).items()}
    held = _of_day(connection, TAG_KEYS, span.day)
    if not strict:
        held = {key: sums for key, sums in held.items() if key[0] not in settings.rollup_exclude_tags}
    return _compare(TAG_KEYS, expected, held)


def _compare(rollup: str, expected: Mapping[Any, Sums], held: Mapping[Any, Sums]) -> list[Difference]:
    nothing = [0] * len(COLUMNS[rollup][1])
    keys = sorted(expected.keys() | held.keys())
    pairs = ((key, expected.get(key, nothing), held.get(key, nothing)) for key in keys)
    # A row of zeros that stands for no call says nothing wrong.
    return [Difference(rollup, key, of_calls, row) for key, of_calls, row in pairs if of_calls != row]


def _within(rows: Mapping[Any, Sums], day: date | str, at: int = 0) -> Rows:
    return {key: sums for key, sums in rows.items() if key[at] == str(day)}


def _since(rows: Mapping[Any, Sums], moment: datetime) -> Rows:
    return {key: sums for key, sums in rows.items() if key[0] >= utc_text(moment)}


def _of_day(connection: Connection, name: str, day: date) -> Rows:
    table = Base.metadata.tables[name]
    return held_rows(connection, table, table.c.day == day)


def _of_hours(connection: Connection, first: datetime, after: datetime) -> Rows:
    table = Base.metadata.tables[HOURLY]
    return held_rows(connection, table, table.c.hour >= first, table.c.hour < after)


def held_rows(connection: Connection, table: Table, *which: ColumnElement[bool]) -> Rows:
    keys, names = COLUMNS[table.name]
    sums = [type_coerce(table.c[name], BigInteger) for name in names]
    rows = connection.execute(select(*(table.c[name] for name in keys), *sums).where(*which))
    return {tuple(map(_plain, row[: len(keys)])): [int(each) for each in row[len(keys) :]] for row in rows}


def _plain(part: object) -> Plain:
    if isinstance(part, datetime):
        return utc_text(part)
    return part.isoformat() if isinstance(part, date) else part  # type: ignore[return-value]
