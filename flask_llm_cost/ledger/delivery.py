"""From spooled records into the ledger: one bad event goes to the dead letters, its neighbours go in.

Whether an event or the database is at fault is mostly told by the error. Where it is not, the batch is tried again
as if the database were away; an event that alone goes on failing, minute after minute, while a bare copy of it could
be written at the same moment, is at fault all the same.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError

from flask_llm_cost.ledger.identity import uuid7
from flask_llm_cost.ledger.writer import Packed, Writer

PATIENCE = 5
"""How often a batch fails before its events are tried one by one, and an event before it is given up."""

GIVEN_UP_AFTER = 60.0
"""Seconds for which an event must have failed before it is given up."""

LONG_AGO = "1980-06-15T12:00:00+00:00"
"""A time of which no ledger has a call, nor a row of a rollup that anybody could hold."""

log = logging.getLogger(__name__)


class Delivery:
    """Takes records into one ledger; what it remembers is which batch, and which events of it, fail again and again."""

    def __init__(self, writer: Writer, explain: Callable[[SQLAlchemyError], Exception]) -> None:
        self._writer = writer
        self._explain = explain
        self._stuck = _Stuck()

    def __call__(self, payloads: Sequence[bytes]) -> None:
        """Write the events of ``payloads``; bury those that can never be written.

        Raises:
            Exception: the database cannot take them now; what is in already is skipped when tried again.
        """
        try:
            self._deliver(payloads)
        except SQLAlchemyError as error:
            raise self._explain(error) from error
        self._stuck = _Stuck()

    def _deliver(self, payloads: Sequence[bytes]) -> None:
        try:
            deliver(self._writer, payloads)
        except Exception:
            if self._stuck.fails(payloads[0]) <= PATIENCE or not self._each_alone(payloads):
                raise

    def _each_alone(self, payloads: Sequence[bytes]) -> bool:
        """Whether all of ``payloads`` could be written, or had to be given up."""
        batch, _ = _unpacked(payloads)
        left = [(packed, error) for packed, error in self._failing(batch) if not self._gives_up(packed, error)]
        return not left

    def _failing(self, batch: Sequence[Packed]) -> list[tuple[Packed, Exception]]:
        """The events that fail although others do not. Stops, with the error, where the database is away after all."""
        try:
            write_around(self._writer, batch)
        except Exception as error:
            if len(batch) > 1:
                middle = len(batch) // 2
                return self._failing(batch[:middle]) + self._failing(batch[middle:])
            self._rehearse(batch[0])
            return [(batch[0], error)]
        return []

    def _rehearse(self, packed: Packed) -> None:
        """See whether the like of an event could be written now; raises where the database is away after all.

        Of the same provider and model it is; or else of any other, while one of these is refused at every time. If
        only now, rows of theirs are at fault: somebody holds them, say.
        """
        try:
            self._writer.rehearse(_bare(packed))
        except Exception:
            self._writer.rehearse({**_bare(packed), "provider": "unknown", "model": "unknown"})
            if self._goes_in({**_bare(packed), "tracked_at": LONG_AGO}):
                raise

    def _goes_in(self, packed: Packed) -> bool:
        try:
            self._writer.rehearse(packed)
        except SQLAlchemyError:
            return False
        return True

    def _gives_up(self, packed: Packed, error: Exception) -> bool:
        if not self._stuck.convicts(str(packed.get("event_id"))):
            return False
        _bury(self._writer, json.dumps(packed, default=str), _event_id(packed), error)
        return True


@dataclass(slots=True)
class _Stuck:
    """A batch that fails again and again, by its first record, and since when which of its events do."""

    head: bytes = b""
    failures: int = 0
    suspects: dict[str, tuple[int, float]] = field(default_factory=dict)

    def fails(self, head: bytes) -> int:
        if head != self.head:
            self.head, self.failures, self.suspects = head, 0, {}
        self.failures += 1
        return self.failures

    def convicts(self, event_id: str) -> bool:
        failures, since = self.suspects.get(event_id, (0, time.monotonic()))
        self.suspects[event_id] = failures + 1, since
        return failures + 1 >= PATIENCE and time.monotonic() - since >= GIVEN_UP_AFTER


def deliver(writer: Writer, payloads: Sequence[bytes]) -> None:
    """Write the events of ``payloads``; bury those that can never be written.

    Raises:
        SQLAlchemyError: the database cannot take them now; what is in already is skipped when tried again.
    """
    batch, unreadable = _unpacked(payloads)
    write_around(writer, batch)
    # Last: these have no id to be known by when all of it is tried again.
    for payload, error in unreadable:
        _bury(writer, payload.decode("utf-8", "replace"), None, error)


def write_around(writer: Writer, batch: Sequence[Packed]) -> frozenset[str]:
    """Write ``batch``, halving it around any event at fault. Returns the ids (hexadecimal) of the new calls.

    Raises:
        SQLAlchemyError: the database cannot take it now.
    """
    try:
        return writer.write_new(batch)
    except Exception as error:
        if not writer.dialect.is_data_error(error):
            raise
        if len(batch) == 1:
            _bury(writer, json.dumps(batch[0], default=str), _event_id(batch[0]), error)
            return frozenset()
        middle = len(batch) // 2
        return write_around(writer, batch[:middle]) | write_around(writer, batch[middle:])


def _unpacked(payloads: Sequence[bytes]) -> tuple[list[Packed], list[tuple[bytes, ValueError]]]:
    """The events, and what is none."""
    batch: list[Packed] = []
    unreadable: list[tuple[bytes, ValueError]] = []
    for payload in payloads:
        try:
            packed = json.loads(payload)
            if not isinstance(packed, dict):
                raise ValueError("the record is not an event")  # noqa: TRY004
            batch.append(packed)
        except ValueError as error:
            unreadable.append((payload, error))
    return batch, unreadable


def _bare(packed: Packed) -> Packed:
    """Another event, in the same rows of the rollups and without all that is peculiar to this one."""
    return {"event_id": str(uuid7()), **{name: packed[name] for name in ("tracked_at", "provider", "model")}}


def _bury(writer: Writer, text: str, event_id: str | None, error: BaseException) -> None:
    writer.bury(text, event_id, error)
    log.error("Event %s cannot be stored and went to the dead letters: %s", event_id, type(error).__name__)


def _event_id(packed: Packed) -> str | None:
    try:
        return UUID(packed["event_id"]).hex
    except (KeyError, ValueError, TypeError, AttributeError):
        return None
