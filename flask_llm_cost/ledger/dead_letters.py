"""Dead letters: events that the ledger would not take, to be looked at, tried again, or given up.

A letter keeps its event whole. What is told of it here is counts and names, never a text of the app's own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, delete, select, update

from flask_llm_cost.ledger.audit import note
from flask_llm_cost.ledger.engine import Engines
from flask_llm_cost.ledger.models import DeadLetter
from flask_llm_cost.ledger.writer import Writer, error_text

RETRY, DROP = "dead-letters retry", "dead-letters drop"
_AT_ONCE = 100

Outcome = Literal["written", "known", "refused", "unreadable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Which:
    """Which letters; every condition that is given must hold.

    Attributes:
        ids: these.
        error: a text that their error has in it, in any case.
        since, until: when they failed, ``until`` exclusive.
    """

    ids: tuple[int, ...] = ()
    error: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        found: list[ColumnElement[bool]] = []
        if self.ids:
            found.append(DeadLetter.id.in_(self.ids))
        if self.error is not None:
            found.append(DeadLetter.error.icontains(self.error, autoescape=True))
        if self.since is not None:
            found.append(DeadLetter.failed_at >= self.since)
        if self.until is not None:
            found.append(DeadLetter.failed_at < self.until)
        return found


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter.

    Attributes:
        event_id, tracked_at, provider, model, total_tokens: of the event; ``None`` where it cannot be read.
        characters: how long the event is.
        readable: whether it is one.
    """

    id: int
    failed_at: datetime
    error: str
    event_id: str | None
    tracked_at: str | None
    provider: str | None
    model: str | None
    total_tokens: int | None
    characters: int
    readable: bool

    def as_dict(self) -> dict[str, object]:
        """JSON-ready."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {**values, "failed_at": self.failed_at.isoformat()}


@dataclass(frozen=True, slots=True)
class Retried:
    """What became of one letter.

    Attributes:
        outcome: "written"; "known": the ledger had the event already; "refused" again, or "unreadable": it stays.
        error: why it stays.
    """

    id: int
    event_id: str | None
    outcome: Outcome
    error: str | None = None

    @property
    def stays(self) -> bool:
        return self.outcome in ("refused", "unreadable")

    def as_dict(self) -> dict[str, object]:
        """JSON-ready."""
        return {"id": self.id, "event_id": self.event_id, "outcome": self.outcome, "error": self.error}


def letters(engines: Engines, which: Which, limit: int | None = None) -> Iterator[Letter]:
    """The letters, oldest first.

    Raises:
        SQLAlchemyError: the database's own error.
    """
    for told, row in enumerate(_rows(engines, which)):
        if told == limit:
            return
        packed = _readable(row["event"])
        event = packed or {}
        tokens = event.get("total_tokens", 0)
        yield Letter(
            id=row["id"],
            failed_at=row["failed_at"],
            error=row["error"],
            event_id=None if row["event_id"] is None else str(row["event_id"]),
            tracked_at=_text(event.get("tracked_at")),
            provider=_text(event.get("provider")),
            model=_text(event.get("model")),
            total_tokens=tokens if event and isinstance(tokens, int) else None,
            characters=len(row["event"]),
            readable=packed is not None,
        )


def retry(engines: Engines, writer: Writer, which: Which) -> Iterator[Retried]:
    """Write the events of letters once more, each in a transaction in which its letter goes.

    Raises:
        SQLAlchemyError: the database cannot take them now; letters before are done.
    """
    for row in _rows(engines, which):
        event_id = None if row["event_id"] is None else str(row["event_id"])
        packed = _readable(row["event"])
        if packed is None:
            yield Retried(row["id"], event_id, "unreadable", "what was kept is no event")
            continue
        try:
            written = writer.write_new([packed], first=_deletion(row["id"], event_id))
        except Exception as error:
            if not writer.dialect.is_data_error(error):
                raise
            told = error_text(error)
            writer.transaction(_correction(row["id"], told))
            yield Retried(row["id"], event_id, "refused", told)
        else:
            yield Retried(row["id"], event_id, "written" if written else "known")


def drop(engines: Engines, writer: Writer, which: Which) -> int:
    """Give letters up, and say so in the audit. Returns how many went.

    Raises:
        SQLAlchemyError: the database's own error.
    """
    gone = 0
    ids = [(row["id"], row["event_id"]) for row in _rows(engines, which)]
    for start in range(0, len(ids), _AT_ONCE):
        gone += writer.transaction(_dropping(ids[start : start + _AT_ONCE]))
    return gone


def _rows(engines: Engines, which: Which) -> Iterator[Mapping[str, Any]]:
    """A page at a time: a letter may be large."""
    table = DeadLetter.__table__
    ordered = select(table).where(*which.conditions()).order_by(table.c.id).limit(_AT_ONCE)
    after = 0
    while True:
        with engines.reading() as connection:
            page = [dict(row) for row in connection.execute(ordered.where(table.c.id > after)).mappings()]
        yield from page
        if len(page) < _AT_ONCE:
            return
        after = page[-1]["id"]


def _readable(text: str) -> dict[str, Any] | None:
    try:
        packed = json.loads(text)
        UUID(packed["event_id"])
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return packed if isinstance(packed, dict) else None


def _deletion(letter: int, event_id: str | None) -> Callable[[Connection], None]:
    def delete_it(connection: Connection) -> None:
        connection.execute(delete(DeadLetter).where(DeadLetter.id == letter))
        note(connection, RETRY, {"letter": letter, "event_id": event_id})

    return delete_it


def _correction(letter: int, error: str) -> Callable[[Connection], object]:
    row = update(DeadLetter).where(DeadLetter.id == letter).values(error=error, failed_at=datetime.now(UTC))
    return lambda connection: connection.execute(row)


def _dropping(letters: Sequence[tuple[int, UUID | None]]) -> Callable[[Connection], int]:
    def drop_them(connection: Connection) -> int:
        gone = connection.execute(delete(DeadLetter).where(DeadLetter.id.in_([number for number, _ in letters])))
        events = [str(event_id) for _, event_id in letters if event_id is not None]
        note(connection, DROP, {"letters": gone.rowcount, "event_ids": events})
        return int(gone.rowcount)

    return drop_them


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
