"""``record_response`` and ``record_batch``: answers that the app has already, one or a file full."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from flask_llm_cost import tagging
from flask_llm_cost.capture.lines import Lines, decoded, lines_of
from flask_llm_cost.errors import UnknownPricingError
from flask_llm_cost.ledger.event import Event
from flask_llm_cost.ledger.identity import lasting_id
from flask_llm_cost.ledger.writer import BATCH
from flask_llm_cost.providers import BatchLine, own_name, own_time, read_batch_line, read_body
from flask_llm_cost.state import State

LineTags = Mapping[str, object] | Callable[[str | None, Mapping[str, Any]], Mapping[str, object] | None] | None

_PROBLEMS_KEPT = 100


@dataclass(frozen=True, slots=True)
class LineProblem:
    """A line that could not be read: its number, from 1, and why."""

    line: int
    message: str


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What became of the lines of a batch.

    Attributes:
        recorded: calls that are new in the ledger, failed ones among them.
        duplicates: lines that the ledger had already.
        errors: lines whose request failed at the provider; recorded where ``LLM_COST_RECORD_ERRORS`` says so.
        skipped: lines whose request never ran: expired or cancelled.
        unreadable: lines that are no results.
        problems: the first 100 of those, with their numbers.
    """

    recorded: int = 0
    duplicates: int = 0
    errors: int = 0
    skipped: int = 0
    unreadable: int = 0
    problems: tuple[LineProblem, ...] = ()


def record_response(
    state: State | None,
    provider: str,
    body: object,
    *,
    tags: tagging.TagsArgument,
    tracked_at: datetime | None,
    latency_ms: float | None,
    pricing_mode: str | None,
) -> Event | None:
    """Record one answer; nothing with ``state`` ``None`` (tracking switched off).

    Raises:
        ValueError: the body is no answer of a known format.
    """
    if state is None:
        return None
    document = decoded(body)
    reading = read_body(provider, document, state.providers)
    name, at = own_name(reading), own_time(document)
    return state.recorder.record(
        reading if pricing_mode is None else replace(reading, pricing_mode=pricing_mode),
        tracked_at=(at if name else None) or tracked_at or datetime.now(UTC),
        latency_ms=None if latency_ms is None else max(0, int(latency_ms)),
        tags=tagging.merge(_tags_now(state), tagging.call_tags(tags)),
        captured_by="record_response",
        event_id=None if name is None else lasting_id(provider, name, at),
    )


@dataclass(slots=True)
class _Tally:
    recorded: int = 0
    duplicates: int = 0
    errors: int = 0
    skipped: int = 0
    unreadable: int = 0
    problems: list[LineProblem] = field(default_factory=list)

    def unreadable_line(self, number: int, error: Exception) -> None:
        self.unreadable += 1
        if len(self.problems) < _PROBLEMS_KEPT:
            self.problems.append(LineProblem(number, f"line {number}: {error}"))

    def result(self) -> BatchResult:
        counts = (self.recorded, self.duplicates, self.errors, self.skipped, self.unreadable)
        return BatchResult(*counts, tuple(self.problems))


def record_batch(
    state: State | None, provider: str, source: Lines, *, tags: LineTags, tracked_at: datetime | None
) -> BatchResult:
    """Record every line of a batch's results, 500 at a time; none with ``state`` ``None``.

    Raises:
        OSError, TypeError: the lines cannot be read.
        StorageError: the ledger cannot take them; what was written before stays, and is skipped the next time.
        UnknownPricingError: as ``Recorder.record``, after the last line.
    """
    if state is None:
        return BatchResult()
    tally = _Tally()
    pending: list[Event] = []
    unpriced: list[UnknownPricingError] = []
    base, now = _tags_now(state), tracked_at or datetime.now(UTC)
    for number, line in lines_of(source):
        try:
            document = decoded(line)
            result = read_batch_line(provider, document, state.providers)
        except ValueError as error:
            tally.unreadable_line(number, error)
            continue
        if _counts(state, result, tally):
            own = tagging.call_tags(tags, result.custom_id, document)
            pending.append(_event(state, provider, result, tagging.merge(base, own), now))
        if len(pending) == BATCH:
            _write(state, pending, tally, unpriced)
            pending = []
    _write(state, pending, tally, unpriced)
    if unpriced:
        raise unpriced[0]
    return tally.result()


def _counts(state: State, line: BatchLine, tally: _Tally) -> bool:
    """Whether a line is to become a call."""
    if line.reading is None:
        tally.skipped += 1
        return False
    failed = line.reading.status == "error"
    tally.errors += failed
    return not failed or state.settings.record_errors


def _event(state: State, provider: str, line: BatchLine, tags: dict[str, str], now: datetime) -> Event:
    assert line.reading is not None  # noqa: S101 - see _counts
    return state.recorder.event_of(
        line.reading,
        tracked_at=line.at or now,
        tags=tags,
        captured_by="record_batch",
        event_id=lasting_id(provider, line.name, line.at),
    )


def _write(state: State, events: list[Event], tally: _Tally, unpriced: list[UnknownPricingError]) -> None:
    new = state.ledger.write_new(events) if events else frozenset()
    tally.recorded += len(new)
    tally.duplicates += len(events) - len(new)
    for event in {event.event_id: event for event in events if event.event_id in new}.values():
        try:
            state.recorder.recorded(event)
        except UnknownPricingError as error:
            unpriced.append(error)


def _tags_now(state: State) -> dict[str, str]:
    return tagging.merge(tagging.default_tags(state.settings), tagging.scoped_tags())
