"""Tags in the ledger: the dictionary (SQLite and MySQL) and what calls cost per tag, day and month.

A key with more than ``LLM_COST_TAG_VALUES_PER_DAY`` values on a day keeps that many apart; further
values share the value ``__other__``. Writers that run side by side may each keep a batch's worth more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import add

from sqlalchemy import Connection, literal, select

from flask_llm_cost.ledger.dialects import Dialect
from flask_llm_cost.ledger.rollups import OTHER_VALUES, TAG_SUMS, Summary, Sums
from flask_llm_cost.ledger.rows import Values, tag_digest

# One IN list: well under the parameters that any database takes.
_AT_ONCE = 1000
_COLUMNS = ("digest", "value", *TAG_SUMS)

Tag = tuple[str, str]
DayTag = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class TagRollups:
    """Rows of the three tag rollups, in the order of their keys: days and months as key, bucket and ``_COLUMNS``."""

    daily: Sequence[Values]
    monthly: Sequence[Values]
    keys: Mapping[tuple[str, str], Sums]


def write_tags(dialect: Dialect, connection: Connection, calls: Iterable[tuple[int, Mapping[str, str]]]) -> None:
    """Note which call (id) carries which tags."""
    carried = [(call_id, tag) for call_id, tags in calls for tag in tags.items()]
    if not carried:
        return
    digests = {tag: tag_digest(*tag) for tag in dict.fromkeys(tag for _, tag in carried)}
    ids = _tag_ids(dialect, connection, digests.values())
    missing = sorted((digest, *tag) for tag, digest in digests.items() if digest not in ids)
    if missing:
        dialect.insert(connection, "llm_cost_tags", ("digest", "key", "value"), missing)
        ids |= _tag_ids(dialect, connection, (digest for digest, *_ in missing))
    links = sorted((ids[digests[tag]], call_id) for call_id, tag in carried)
    dialect.insert(connection, "llm_cost_call_tags", ("tag_id", "call_id"), links)


def tag_rollups(dialect: Dialect, connection: Connection, summary: Summary, cap: int) -> TagRollups:
    """The rows to add for ``summary``, values past ``cap`` folded into ``__other__``. Only reads."""
    digests = {(key, value): tag_digest(key, value) for key, _, value in summary.tags}
    folded = _folded(dialect, connection, summary, digests, cap)
    daily: dict[tuple[str, str, str], tuple[str, Sums]] = {}
    monthly: dict[tuple[str, str, str], tuple[str, Sums]] = {}
    for (key, day, value), sums in summary.tags.items():
        kept = OTHER_VALUES if (key, day, value) in folded else value
        digest = digests.get((key, kept)) or tag_digest(key, kept)
        _add(daily, (key, day, digest), kept, sums)
        _add(monthly, (key, f"{day[:7]}-01", digest), kept, sums)
    return TagRollups(_rows(daily), _rows(monthly), summary.tag_keys)


def add_tag_rollups(dialect: Dialect, connection: Connection, rollups: TagRollups) -> None:
    """Add the rows; a day's new values count toward its key's ``distinct_values``."""
    new = dialect.add_tags(connection, ("key", "day", *_COLUMNS), rollups.daily)
    values = Counter((key, day) for key, day, _, value, *_ in new if value != OTHER_VALUES)
    dialect.add(connection, "llm_cost_tag_monthly", ("key", "month", *_COLUMNS), rollups.monthly)
    keys: list[Values] = [(*key, *sums, values[key]) for key, sums in sorted(rollups.keys.items())]
    dialect.add(connection, "llm_cost_tag_key_daily", ("key", "day", *TAG_SUMS, "distinct_values"), keys)


def _folded(
    dialect: Dialect, connection: Connection, summary: Summary, digests: Mapping[Tag, str], cap: int
) -> frozenset[DayTag]:
    """Which (key, day, value) go into ``__other__``."""
    if not summary.tags:
        return frozenset()
    held = _distinct_values(dialect, connection, summary)
    incoming: dict[tuple[str, str], list[str]] = {}
    for key, day, value in summary.tags:
        incoming.setdefault((key, day), []).append(value)
    folded: set[DayTag] = set()
    for (key, day), values in incoming.items():
        room = cap - held.get((key, day), 0)
        # Calls that only changed are counted somewhere already: where no row of their own is, in the shared one.
        changed = {value for value in values if not summary.tags[key, day, value][0]}
        if len(values) <= room and not changed:
            continue
        known = _known_digests(dialect, connection, key, day, [digests[key, value] for value in values])
        fresh = [value for value in values if digests[key, value] not in known]
        new = [value for value in fresh if value not in changed]
        folded.update((key, day, value) for value in (*new[max(room, 0) :], *changed.intersection(fresh)))
    return frozenset(folded)


def _distinct_values(dialect: Dialect, connection: Connection, summary: Summary) -> dict[tuple[str, str], int]:
    table = dialect.table("llm_cost_tag_key_daily")
    keys = {key for key, _ in summary.tag_keys}
    found: dict[tuple[str, str], int] = {}
    for days in _parts(sorted({day for _, day in summary.tag_keys})):
        held = select(table.c.key, table.c.day, table.c.distinct_values).where(
            table.c.key.in_(keys), table.c.day.in_([literal(day, table.c.day.type) for day in days])
        )
        found |= {(key, str(day)): count for key, day, count in connection.execute(held)}
    return found


def _known_digests(
    dialect: Dialect, connection: Connection, key: str, day: str, digests: Sequence[str]
) -> frozenset[str]:
    table = dialect.table("llm_cost_tag_daily")
    known: set[str] = set()
    for part in _parts(digests):
        held = select(table.c.digest).where(
            table.c.key == key, table.c.day == literal(day, table.c.day.type), table.c.digest.in_(part)
        )
        known.update(connection.scalars(held))
    return frozenset(known)


def _tag_ids(dialect: Dialect, connection: Connection, digests: Iterable[str]) -> dict[str, int]:
    table = dialect.table("llm_cost_tags")
    ids: dict[str, int] = {}
    for part in _parts(list(digests)):
        held = select(table.c.digest, table.c.id).where(table.c.digest.in_(part))
        # Locked until the commit: ``prune`` must not take a tag for unused that is about to be.
        ids |= {tag[0]: tag[1] for tag in connection.execute(held.with_for_update(read=True))}
    return ids


def _parts(values: Sequence[str]) -> Iterable[Sequence[str]]:
    return (values[start : start + _AT_ONCE] for start in range(0, len(values), _AT_ONCE))


def _add(held: dict[DayTag, tuple[str, Sums]], key: DayTag, value: str, sums: Sums) -> None:
    before = held.get(key)
    held[key] = (value, sums if before is None else list(map(add, before[1], sums)))


def _rows(held: Mapping[DayTag, tuple[str, Sums]]) -> list[Values]:
    return [(*key, held[key][0], *held[key][1]) for key in sorted(held)]
