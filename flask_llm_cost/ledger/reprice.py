"""``reprice``: calls priced again from the quantities on their receipts, at the prices of their own time.

Calls are looked at in the order of their time, a batch at a time, without a lock. Those whose cost changes are
then locked, priced once more as they are now, and rewritten in one transaction with the difference to every
total and a row of the audit. So a run may be ended anywhere and begun again, and a second one changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import uuid4
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select

from flask_llm_cost.errors import InvalidFilterError
from flask_llm_cost.ledger.days import day_start
from flask_llm_cost.ledger.engine import Engines
from flask_llm_cost.ledger.models import Call
from flask_llm_cost.ledger.receipts import OF_THE_PRICE, reading_of
from flask_llm_cost.ledger.rows import Entry, Row, clean_json, cost_columns, encode_json, utc_text
from flask_llm_cost.ledger.succession import Succession, held_entry, locked_calls
from flask_llm_cost.ledger.tally import Repriced, SkippedCall, Tally
from flask_llm_cost.ledger.writer import Writer
from flask_llm_cost.pricing import Catalogue
from flask_llm_cost.pricing.costing import Cost, cost_of
from flask_llm_cost.pricing.receipt import Receipt
from flask_llm_cost.usage import Usage

REPRICE = "reprice"
INCOMPLETE = ("unknown", "partial", "estimated")
DEFAULT_BATCH, MOST_BATCH = 500, 5000
LONGEST_PAUSE = 1.0

Progress = Callable[[int, int], None]
"""Is told after each batch how many calls were looked at so far, and of how many."""

_SKIPPED_KEPT = 100
_BAD_RECEIPT = (KeyError, TypeError, ValueError, ArithmeticError, AttributeError)
_calls = Call.__table__
_AMOUNTS = tuple(cost_columns({}))
_TOKENS = tuple(column.name for column in _calls.columns if column.name.endswith("_tokens"))
_FACTS = ("provider", "model", "request_model", "status", "usage_source", "pricing_mode", *_TOKENS)
_LOOKED_AT = tuple(_calls.columns[name] for name in ("id", "tracked_at", *_FACTS, *_AMOUNTS, "cost_status", "receipt"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which calls are priced again; ``None`` means any.

    Attributes:
        since, until: when they were made, ``until`` exclusive.
        unknown_only: those alone whose cost is unknown, known in part or estimated.
        provider, model: exact names, as answered.
    """

    since: datetime | None = None
    until: datetime | None = None
    unknown_only: bool = False
    provider: str | None = None
    model: str | None = None

    @classmethod
    def between(
        cls, since: date | datetime | None, until: date | datetime | None, zone: ZoneInfo, *, unknown_only: bool
    ) -> Selection:
        """Calls from one day of ``zone`` to another, both included; or from an aware instant until before another.

        Raises:
            InvalidFilterError: an instant has no time zone, or ``since`` is not before ``until``.
        """
        start = None if since is None else instant(since, zone)
        end = None if until is None else instant(until, zone, days=1)
        if start is not None and end is not None and start >= end:
            raise InvalidFilterError(f"since = {since!r} is not before until = {until!r}.")
        return cls(since=start, until=end, unknown_only=unknown_only)

    def conditions(self) -> list[ColumnElement[bool]]:
        found: list[ColumnElement[bool]] = []
        if self.since is not None:
            found.append(_calls.c.tracked_at >= self.since)
        if self.until is not None:
            found.append(_calls.c.tracked_at < self.until)
        if self.unknown_only:
            # The term of the index, word for word.
            found.append(_calls.c.cost_status.in_(INCOMPLETE))
        if self.provider is not None:
            found.append(_calls.c.provider == self.provider)
        if self.model is not None:
            found.append(_calls.c.model == self.model)
        return found

    def as_dict(self) -> dict[str, object]:
        """JSON-ready, for the audit: what was asked for."""
        given = {name: value for name, value in asdict(self).items() if value not in (None, False)}
        return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in given.items()}


def instant(moment: date | datetime, zone: ZoneInfo, *, days: int = 0) -> datetime:
    """An instant as it stands; of a day its beginning, ``days`` later.

    Raises:
        InvalidFilterError: an instant has no time zone.
        OverflowError: there is no such day in the calendar.
    """
    if not isinstance(moment, datetime):
        return day_start(moment + timedelta(days=days), zone)
    if moment.tzinfo is None:
        raise InvalidFilterError(f"{moment!r} has no time zone: give it one, or use a date.")
    return moment.astimezone(UTC)


class Priced(NamedTuple):
    """What a call costs, and the same by column."""

    cost: Cost
    columns: Row


@dataclass(slots=True)
class Reprice:
    """One run over the ledger.

    Attributes:
        catalogue: the prices; the same ones from the first call to the last.
        prices: what these are called in the audit.
        run: what its rows of the audit and the receipts that it changed have in common.
    """

    writer: Writer
    engines: Engines
    catalogue: Catalogue
    prices: str
    selection: Selection
    batch_size: int = DEFAULT_BATCH
    run: str = field(default_factory=lambda: uuid4().hex)
    skipped: list[SkippedCall] = field(default_factory=list)

    def look(self, progress: Progress | None = None) -> Repriced:
        """What ``apply`` would change. Writes nothing.

        Raises:
            SQLAlchemyError: the database's own error.
        """
        tally = Tally()
        looked_at = 0
        for batch in self._batches(progress):
            looked_at += len(batch)
            for call in batch:
                priced = self._priced(call)
                if priced is not None:
                    tally.add(call, priced.cost)
        return Repriced(None, looked_at, tally.changes(), tuple(self.skipped))

    def apply(self, progress: Progress | None = None) -> Repriced:
        """Price the calls again.

        Raises:
            SQLAlchemyError: the database's own error; earlier batches stay, another run does the rest.
        """
        tally = Tally()
        looked_at = 0
        for batch in self._batches(progress):
            looked_at += len(batch)
            tally.include(self._apply([call["id"] for call in batch if self._priced(call) is not None]))
        return Repriced(self.run, looked_at, tally.changes(), tuple(self.skipped))

    def _batches(self, progress: Progress | None) -> Iterator[Sequence[Mapping[str, Any]]]:
        """All calls that the ledger holds now, in the order of their time."""
        with self.engines.reading() as connection:
            newest = connection.execute(select(func.coalesce(func.max(_calls.c.id), 0))).scalar_one()
            chosen = [_calls.c.id <= newest, *self.selection.conditions()]
            counted = select(func.count()).select_from(_calls).where(*chosen)
            total = 0 if progress is None else connection.execute(counted).scalar_one()
        ordered = select(*_LOOKED_AT).order_by(_calls.c.tracked_at, _calls.c.id).limit(self.batch_size)
        done, beyond = 0, list[ColumnElement[bool]]()
        while True:
            with self.engines.reading() as connection:
                rows = [dict(row) for row in connection.execute(ordered.where(*chosen, *beyond)).mappings()]
            if not rows:
                return
            yield rows
            done += len(rows)
            if progress is not None:
                progress(done, total)
            beyond = [_after(rows[-1]["tracked_at"], rows[-1]["id"])]

    def _apply(self, ids: Sequence[int]) -> Tally:
        if not ids:
            return Tally()
        began = time.monotonic()
        tally = self.writer.transaction(lambda connection: self._rewrite(connection, ids))
        # Those who record calls come first; while the next batch is looked at nothing is locked either.
        time.sleep(min((time.monotonic() - began) / 4, LONGEST_PAUSE))
        return tally

    def _rewrite(self, connection: Connection, ids: Sequence[int]) -> Tally:
        """Price calls as they are now: some may be gone meanwhile, others have got their usage."""
        tally = Tally()
        changes: list[Succession] = []
        for call in locked_calls(connection, ids):
            priced = self._priced(call)
            if priced is not None:
                changes.append(self._succession(call, priced))
                tally.add(call, priced.cost)
        if changes:
            self._note(connection, [change.before.row["id"] for change in changes], tally)
            self.writer.rewrite(connection, changes)
        return tally

    def _priced(self, call: Mapping[str, Any]) -> Priced | None:
        """What the call costs at the prices of its time; ``None`` where that is what the ledger says."""
        try:
            cost = self._cost(call)
            priced = Priced(cost, cost_columns(cost.amounts()))
        except _BAD_RECEIPT as error:
            if len(self.skipped) < _SKIPPED_KEPT and all(call["id"] != known.call_id for known in self.skipped):
                self.skipped.append(SkippedCall(call["id"], f"{type(error).__name__}: {error}"))
            return None
        return priced if _differs(call, priced) else None

    def _cost(self, call: Mapping[str, Any]) -> Cost:
        reading = reading_of(call)

        def price(usage: Usage) -> Receipt:
            return self.catalogue.price(
                reading.provider,
                reading.model,
                usage,
                mode=reading.pricing_mode,
                geo=reading.geo,
                speed=reading.speed,
                at=call["tracked_at"],
                request_model=reading.request_model,
                extra=reading.extra,
            )

        return cost_of(reading, price)

    def _succession(self, call: Mapping[str, Any], priced: Priced) -> Succession:
        before, cost = held_entry(call), priced.cost
        of_the_call = {name: kept for name, kept in call["receipt"].items() if name not in OF_THE_PRICE}
        receipt = {**cost.as_dict(), **of_the_call, "repriced_from": self._history(call)}
        after = {
            **before.row,
            **priced.columns,
            "cost_status": cost.status,
            "price_key": None if cost.receipt is None else cost.receipt.key,
            "price_source": None if cost.receipt is None else cost.receipt.source,
            "receipt": clean_json(receipt),
        }
        return Succession(before, Entry(after, before.tags))

    def _history(self, call: Mapping[str, Any]) -> list[object]:
        """What a call was charged before, oldest first, each with the run that changed it."""
        receipt = call["receipt"]
        old = {name: kept for name, kept in receipt.items() if name in OF_THE_PRICE}
        return [*receipt.get("repriced_from", ()), {"until": utc_text(datetime.now(UTC)), "run": self.run, **old}]

    def _note(self, connection: Connection, ids: Sequence[Any], tally: Tally) -> None:
        details = {
            "run": self.run,
            "filters": self.selection.as_dict(),
            "prices": self.prices,
            "first_id": min(ids),
            "last_id": max(ids),
            "calls": len(ids),
            "before": tally.before.as_dict(),
            "after": tally.after.as_dict(),
            "models": [change.as_dict() for change in tally.changes()],
        }
        row = (utc_text(datetime.now(UTC)), REPRICE, encode_json(details))
        self.writer.dialect.insert(connection, "llm_cost_audit", ("at", "action", "details"), [row])


def _after(tracked_at: datetime, call_id: int) -> ColumnElement[bool]:
    # The first term alone is a range that every database finds in the index.
    return and_(_calls.c.tracked_at >= tracked_at, or_(_calls.c.tracked_at > tracked_at, _calls.c.id > call_id))


def _differs(call: Mapping[str, Any], priced: Priced) -> bool:
    """Whether the cost is another. The same cost from another source leaves the receipt as it was charged."""
    status = priced.cost.status
    if status != call["cost_status"] or any(_nano(call[name]) != priced.columns[name] for name in _AMOUNTS):
        return True
    # Why a cost is not known tells what to do about it.
    return status in INCOMPLETE and priced.cost.as_dict().get("reason") != call["receipt"].get("reason")


def _nano(amount: Decimal | None) -> int | None:
    return None if amount is None else int(amount.scaleb(9))
