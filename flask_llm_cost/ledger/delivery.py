"""From spooled records into the ledger: one bad event goes to the dead letters, its neighbours go in."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from uuid import UUID

from flask_llm_cost.ledger.writer import Packed, Writer

log = logging.getLogger(__name__)


def deliver(writer: Writer, payloads: Sequence[bytes]) -> None:
    """Write the events of ``payloads``; bury those that can never be written.

    Raises:
        SQLAlchemyError: the database cannot take them now; what is in already is skipped when tried again.
    """
    batch: list[Packed] = []
    for payload in payloads:
        try:
            batch.append(_unpacked(payload))
        except ValueError as error:
            _bury(writer, payload.decode("utf-8", "replace"), None, error)
    write_around(writer, batch)


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


def _unpacked(payload: bytes) -> Packed:
    packed = json.loads(payload)
    if not isinstance(packed, dict):
        raise ValueError("the record is not an event")  # noqa: TRY004
    return packed


def _bury(writer: Writer, text: str, event_id: str | None, error: BaseException) -> None:
    writer.bury(text, event_id, error)
    log.error("Event %s cannot be stored and went to the dead letters: %s", event_id, type(error).__name__)


def _event_id(packed: Packed) -> str | None:
    try:
        return UUID(packed["event_id"]).hex
    except (KeyError, ValueError, TypeError, AttributeError):
        return None
