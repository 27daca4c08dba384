"""Spend over time: one figure per day (or hour) of the period, in all and for each of the dearest names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import ColumnElement, Integer, Select, Subquery, and_, case, func, literal, or_, select, union_all
from sqlalchemy.orm import Session

from flask_llm_cost.ledger.dialects import dialect_in
from flask_llm_cost.ledger.models import Call, Daily, Hourly, TagDaily, TagKeyDaily
from flask_llm_cost.ledger.rows import tag_digest
from flask_llm_cost.ledger.types import UTCDateTime
from flask_llm_cost.queries.breakdown import MEASURES, SUMMED, Spend, spend_of
from flask_llm_cost.queries.conditions import UNPRICED, narrowed
from flask_llm_cost.queries.filters import Filters
from flask_llm_cost.queries.group import Group
from flask_llm_cost.queries.period import DAY, HOUR, Period
from flask_llm_cost.queries.totals import named

Spends = tuple[Spend, ...]


@dataclass(frozen=True, slots=True)
class Bucket:
    """One day or hour of a period.

    Attributes:
        start: the UTC instant of its beginning.
        spend: of all filtered calls in it.
    """

    start: datetime
    spend: Spend


def spend_over_time(session: Session, filters: Filters, period: Period) -> tuple[Bucket, ...]:
    """Spend per bucket of a period (that of the filters, or the one before it). Buckets without calls are there too."""
    found = {bucket: spend_of(row) for bucket, *row in _totals_per_bucket(session, filters, period)}
    return tuple(Bucket(start, found.get(index, Spend())) for index, start in enumerate(period.bounds[:-1]))


def spends_over_time(
    session: Session, filters: Filters, group: Group, names: Sequence[str | None]
) -> dict[str | None, Spends]:
    """Spend per bucket of the filters' period for each of the names; ``None`` names calls without the tag key."""
    period = filters.period
    found: dict[str | None, list[Spend]] = {name: [Spend()] * period.count for name in names}
    for bucket, name, spend in _spends_per_bucket(session, filters, group, names):
        if name in found:
            found[name][bucket] += spend
    return {name: tuple(spends) for name, spends in found.items()}


def _totals_per_bucket(session: Session, filters: Filters, period: Period) -> Iterator[Sequence[Any]]:
    if filters.needs_calls:
        calls = _bucketed(session, filters, period).subquery()
        yield from session.execute(select(calls.c.bucket, *_sums_of(calls)).group_by(calls.c.bucket))
        return
    source, moment, conditions = _rollup(filters, period)
    columns = (func.sum(getattr(source, each)) for each in MEASURES)
    for at, *row in session.execute(select(moment, *columns).where(*conditions).group_by(moment)):
        yield (bucket_index(period, at), *row)


def _spends_per_bucket(
    session: Session, filters: Filters, group: Group, names: Sequence[str | None]
) -> Iterator[tuple[int, str | None, Spend]]:
    if group.dimension == "tag" and not filters.is_narrowed and filters.period.unit == "day":
        yield from _tag_spends(session, filters.period, group.key, names)
        if None in names:
            yield from _untagged_spends(session, filters, group.key)
    elif group.dimension == "tag" or filters.needs_calls:
        yield from _call_spends(session, filters, group, names)
    else:
        yield from _rollup_spends(session, filters, group, names)


def _rollup_spends(
    session: Session, filters: Filters, group: Group, names: Sequence[str | None]
) -> Iterator[tuple[int, str | None, Spend]]:
    source, moment, conditions = _rollup(filters, filters.period)
    column = getattr(source, group.dimension)
    sums = (func.sum(getattr(source, each)) for each in MEASURES)
    statement = select(moment, column, *sums).where(*conditions, column.in_(names))
    for at, name, *row in session.execute(statement.group_by(moment, column)):
        yield bucket_index(filters.period, at), name, spend_of(row)


def _tag_spends(
    session: Session, period: Period, key: str, names: Sequence[str | None]
) -> Iterator[tuple[int, str | None, Spend]]:
    digests = {tag_digest(key, name): name for name in names if name is not None}
    statement = select(TagDaily.day, TagDaily.digest, *(getattr(TagDaily, each) for each in MEASURES)).where(
        TagDaily.key == key,
        TagDaily.day >= period.first_day,
        TagDaily.day <= period.last_day,
        TagDaily.digest.in_(digests),
    )
    for day, digest, *row in session.execute(statement):
        yield bucket_index(period, day), digests[digest], spend_of(row)


def _untagged_spends(session: Session, filters: Filters, key: str) -> Iterator[tuple[int, None, Spend]]:
    period = filters.period
    for index, bucket in enumerate(spend_over_time(session, filters, period)):
        yield index, None, bucket.spend
    statement = select(TagKeyDaily.day, *(getattr(TagKeyDaily, each) for each in MEASURES)).where(
        TagKeyDaily.key == key, TagKeyDaily.day >= period.first_day, TagKeyDaily.day <= period.last_day
    )
    for day, *covered in session.execute(statement):
        yield bucket_index(period, day), None, Spend() - spend_of(covered)


def _call_spends(
    session: Session, filters: Filters, group: Group, names: Sequence[str | None]
) -> Iterator[tuple[int, str | None, Spend]]:
    name = dialect_in(session).tag_value(group.key) if group.dimension == "tag" else getattr(Call, group.dimension)
    calls = _bucketed(session, filters, filters.period).add_columns(name.label("name")).subquery()
    wanted = [calls.c.name.in_([each for each in names if each is not None])]
    if None in names:
        wanted.append(calls.c.name.is_(None))
    statement = select(calls.c.bucket, calls.c.name, *_sums_of(calls)).where(or_(*wanted))
    for bucket, held, *row in session.execute(statement.group_by(calls.c.bucket, calls.c.name)):
        yield bucket, held, spend_of(row)


def _sums_of(calls: Subquery) -> tuple[ColumnElement[Any], ...]:
    """A ``Spend`` of bucketed calls, in its order."""
    unpriced = func.sum(case((calls.c.is_unpriced, 1), else_=0))
    return func.count(), unpriced, *(func.sum(calls.c[each]) for each in SUMMED)


def _rollup(filters: Filters, period: Period) -> tuple[Any, Any, list[ColumnElement[bool]]]:
    if period.unit == "hour":
        within = and_(Hourly.hour >= period.start, Hourly.hour < period.end)
        return Hourly, Hourly.hour, [within, *named(Hourly, filters)]
    within = and_(Daily.day >= period.first_day, Daily.day <= period.last_day)
    return Daily, Daily.day, [within, *named(Daily, filters)]


def bucket_index(period: Period, at: date | datetime) -> int:
    """Which bucket of the period a rollup's day or hour is."""
    if isinstance(at, datetime):
        return (at - period.start) // HOUR
    return (at - period.first_day) // DAY


def _bucketed(session: Session, filters: Filters, period: Period) -> Select[Any]:
    """The filtered calls with the number of their bucket.

    Days of a time zone are joined as literal ranges: no database but PostgreSQL can be relied upon to know
    time zones, and each range is one look-up in the index on ``tracked_at``.
    """
    bounds = period.bounds
    ranges = union_all(
        *(
            select(
                literal(index, Integer).label("bucket"),
                literal(bounds[index], UTCDateTime()).label("opens"),
                literal(bounds[index + 1], UTCDateTime()).label("closes"),
            )
            for index in range(period.count)
        )
    ).subquery("buckets")
    return (
        select(ranges.c.bucket, UNPRICED.label("is_unpriced"), *(getattr(Call, each) for each in SUMMED))
        .join(Call, and_(Call.tracked_at >= ranges.c.opens, Call.tracked_at < ranges.c.closes))
        .where(*narrowed(session, filters))
    )
