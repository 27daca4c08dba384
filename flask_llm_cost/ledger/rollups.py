"""What a set of calls adds to the rollups. Pure sums: the same function serves recording and rebuilding.

Days are those of ``LLM_COST_TIMEZONE``, hours UTC. Unknown costs add nothing and are counted.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from operator import add, itemgetter
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from flask_llm_cost.ledger.models import STANDARD
from flask_llm_cost.ledger.rows import MONEY, TOKENS, Entry, Row, Values

OTHER_VALUES = "__other__"

COUNTERS = (
    "calls",
    "errors",
    "unpriced",
    "estimated",
    "streams",
    "streams_without_usage",
    "untagged",
    "missing_latency",
    "missing_response_id",
)
AMOUNTS = (*TOKENS, *(name + "_nano" for name in MONEY))
_TAG_AMOUNTS = ("total_cost_nano", "cost_low_nano", "cost_high_nano")
SUMS = (*COUNTERS, *AMOUNTS)
TAG_SUMS = ("calls", "unpriced", "total_tokens", *_TAG_AMOUNTS)

# Amounts of a row, None where unknown: the sums leave it out.
_amounts: Callable[[Row], tuple[int | None, ...]] = itemgetter(*AMOUNTS)

# Bin n holds latencies from 1.15**n up to, not including, 1.15**(n + 1) milliseconds.
_BIN_BOUNDS = tuple(1.15**n for n in range(160))

Sums = list[int]
Key = TypeVar("Key")


@dataclass(slots=True)
class Summary:
    """Sums by key. Days and hours are texts as the database takes them.

    Attributes:
        daily: (day, provider, model, pricing_mode) → ``SUMS``.
        hourly: (hour, provider, model, pricing_mode) → ``SUMS``.
        latency: (day, provider, model, bin) → [calls].
        tags: (key, day, value) → ``TAG_SUMS``.
        tag_keys: (key, day) → ``TAG_SUMS``.
    """

    daily: dict[tuple[str, str, str, str], Sums] = field(default_factory=dict)
    hourly: dict[tuple[str, str, str, str], Sums] = field(default_factory=dict)
    latency: dict[tuple[str, str, str, int], Sums] = field(default_factory=dict)
    tags: dict[tuple[str, str, str], Sums] = field(default_factory=dict)
    tag_keys: dict[tuple[str, str], Sums] = field(default_factory=dict)

    def include(self, more: Summary) -> None:
        """Add what other calls add."""
        pairs: tuple[tuple[dict[Any, Sums], Mapping[Any, Sums]], ...] = (
            (self.daily, more.daily),
            (self.hourly, more.hourly),
            (self.latency, more.latency),
            (self.tags, more.tags),
            (self.tag_keys, more.tag_keys),
        )
        for now, added in pairs:
            for key, sums in added.items():
                _add(now, key, sums)

    def subtract(self, gone: Summary) -> dict[str, list[Values]]:
        """Take out what calls added before they changed.

        Returns:
            rollup → the keys that those calls left: rows that may hold no call any more.
        """
        pairs: tuple[tuple[dict[Any, Sums], Mapping[Any, Sums]], ...] = (
            (self.daily, gone.daily),
            (self.hourly, gone.hourly),
            (self.latency, gone.latency),
            (self.tags, gone.tags),
            (self.tag_keys, gone.tag_keys),
        )
        moved = [[key for key in before if key not in now] for now, before in pairs]
        for now, before in pairs:
            for key, sums in before.items():
                _add(now, key, [-each for each in sums])
                # A row of which nothing changed is not even touched: it may be gone with its calls.
                if not any(now[key]):
                    del now[key]
        return dict(zip(("llm_cost_daily", "llm_cost_hourly", "llm_cost_latency_daily"), moved[:3], strict=True))


def latency_bin(latency_ms: int) -> int:
    """The histogram bin of a latency; -1 for those under a millisecond."""
    return bisect_right(_BIN_BOUNDS, latency_ms) - 1


def summarise(entries: Iterable[Entry], zone: ZoneInfo, without_tags: Sequence[str] = ()) -> Summary:
    """Add up ``entries``; tag keys in ``without_tags`` get no rollup."""
    summary = Summary()
    both: defaultdict[tuple[str, str, str, str, str], list[Sequence[int | None]]] = defaultdict(list)
    day_of = _days(zone)
    for row, tags in entries:
        tracked_at = str(row["tracked_at"])
        day, hour = day_of(tracked_at), f"{tracked_at[:13]}:00:00.000000"
        mode = str(row["pricing_mode"] or STANDARD)
        provider, model = str(row["provider"]), str(row["model"])
        both[day, hour, provider, model, mode].append((*_counters(row, tags), *_amounts(row)))
        if row["latency_ms"] is not None:
            _add(summary.latency, (day, provider, model, latency_bin(int(row["latency_ms"]))), [1])
        _add_tags(summary, day, row, tags, without_tags)
    # An hour may lie in two days, where a zone is half an hour off UTC.
    for (day, hour, provider, model, mode), addends in both.items():
        sums = [sum(filter(None, column)) for column in zip(*addends, strict=True)]
        _add(summary.daily, (day, provider, model, mode), sums)
        _add(summary.hourly, (hour, provider, model, mode), sums)
    for (key, day, _), sums in summary.tags.items():
        _add(summary.tag_keys, (key, day), sums)
    return summary


def _add_tags(summary: Summary, day: str, row: Row, tags: Mapping[str, str], without: Sequence[str]) -> None:
    amounts = (int(row[name] or 0) for name in _TAG_AMOUNTS)
    sums = [1, int(_unpriced(row)), int(row["total_tokens"] or 0), *amounts]
    for key, value in tags.items():
        if key not in without:
            _add(summary.tags, (key, day, value), sums)


def _counters(row: Row, tags: Mapping[str, str]) -> Sequence[bool]:
    error, streams = row["status"] == "error", bool(row["stream"])
    return (
        True,
        error,
        _unpriced(row),
        row["cost_status"] == "estimated",
        streams,
        streams and row["usage_source"] == "unknown" and not error,
        not tags,
        row["latency_ms"] is None,
        row["provider_response_id"] is None,
    )


def _unpriced(row: Row) -> bool:
    # Whose cost has no known upper bound. A failed attempt that used nothing has no status: nothing to price.
    status = row["cost_status"]
    if status == "estimated":
        return row["total_cost_nano"] is None and row["cost_high_nano"] is None
    return status in ("unknown", "partial")


def _add(held: dict[Key, Sums], key: Key, sums: Sums) -> None:
    before = held.get(key)
    held[key] = sums if before is None else list(map(add, before, sums))


def _days(zone: ZoneInfo) -> Callable[[str], str]:
    """The day of a UTC text in ``zone``; worked out once per minute, as offsets change on whole minutes."""
    if zone.key == "UTC":
        return lambda tracked_at: tracked_at[:10]
    known: dict[str, str] = {}

    def day_of(tracked_at: str) -> str:
        minute = tracked_at[:16]
        if minute not in known:
            known[minute] = datetime.fromisoformat(f"{minute}+00:00").astimezone(zone).date().isoformat()
        return known[minute]

    return day_of
