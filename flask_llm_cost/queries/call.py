"""One call with everything the ledger keeps of it: the receipt above all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from flask_llm_cost.ledger.models import Call


@dataclass(frozen=True, slots=True)
class CallDetail:
    """A row of ``calls``. Costs are USD, ``None`` where unknown; latencies milliseconds."""

    id: int
    event_id: UUID
    tracked_at: datetime
    recorded_at: datetime
    provider: str
    model: str
    request_model: str | None
    operation: str
    status: str
    error_type: str | None
    usage_source: str
    captured_by: str
    stream: bool
    pricing_mode: str | None
    host: str | None
    input_tokens: int
    cache_read_input_tokens: int
    cache_write_input_tokens: int
    cache_write_1h_input_tokens: int
    output_tokens: int
    hidden_output_tokens: int
    total_tokens: int
    input_cost: Decimal | None
    cache_read_cost: Decimal | None
    cache_write_cost: Decimal | None
    output_cost: Decimal | None
    other_cost: Decimal | None
    total_cost: Decimal | None
    cache_saved: Decimal | None
    provider_cost: Decimal | None
    cost_low: Decimal | None
    cost_high: Decimal | None
    cost_status: str | None
    latency_ms: int | None
    first_token_ms: int | None
    provider_response_id: str | None
    price_key: str | None
    price_source: str | None
    receipt: Mapping[str, Any]
    tags: Mapping[str, str]

    @property
    def prompt_tokens(self) -> int:
        """All input tokens, cached ones included."""
        return self.input_tokens + self.cache_read_input_tokens + self.cache_write_input_tokens

    @property
    def lines(self) -> tuple[ReceiptLine, ...]:
        """The receipt's lines; a line that cannot be read is left out."""
        return _lines(self.receipt.get("lines"))

    @property
    def lines_high(self) -> tuple[ReceiptLine, ...]:
        """Of an estimate: the receipt's lines at its upper bound; ``lines`` are those at the lower."""
        return _lines(self.receipt.get("lines_high"))

    @property
    def unpriced_meters(self) -> tuple[str, ...]:
        """What no rate was known for."""
        return tuple(line.meter for line in self.lines if line.rate is None)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was odd about the answer."""
        kept = self.receipt.get("notes")
        return tuple(str(note) for note in kept) if isinstance(kept, list) else ()


@dataclass(frozen=True, slots=True)
class ReceiptLine:
    """One meter of the receipt as it was stored; see ``pricing.receipt.Line``."""

    meter: str
    quantity: Decimal
    rate: Decimal | None
    per: int
    cost: Decimal | None
    source: str | None
    inherited: str | None
    model: str | None


_COLUMNS = tuple(getattr(Call, field.name) for field in fields(CallDetail))


def call_detail(session: Session, reference: int | UUID) -> CallDetail | None:
    """The call of that id or event id; ``None`` when there is none."""
    condition = Call.event_id == reference if isinstance(reference, UUID) else Call.id == reference
    row = session.execute(select(*_COLUMNS).where(condition).limit(1)).first()
    return None if row is None else CallDetail(*row)


def _lines(kept: object) -> tuple[ReceiptLine, ...]:
    read = [_line(line) for line in kept if isinstance(line, Mapping)] if isinstance(kept, list) else []
    return tuple(line for line in read if line is not None)


def _line(stored: Mapping[str, Any]) -> ReceiptLine | None:
    try:
        return ReceiptLine(
            meter=str(stored["meter"]),
            quantity=Decimal(str(stored["quantity"])),
            rate=_decimal(stored.get("rate")),
            per=int(stored.get("per", 1)),
            cost=_decimal(stored.get("cost")),
            source=stored.get("source"),
            inherited=stored.get("inherited"),
            model=stored.get("model"),
        )
    except (KeyError, ValueError, TypeError, InvalidOperation):
        return None


def _decimal(value: Any) -> Decimal | None:
    return None if value is None else Decimal(str(value))
