"""Calls all of whose values follow from their id: whoever finds one in the ledger can tell that it is unharmed."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

from flask_llm_cost.ledger.event import Event

_MODELS = (("openai", "gpt-4o"), ("openai", "gpt-4o-mini"), ("anthropic", "claude-sonnet-4-5"))


def event_of(event_id: UUID) -> Event:
    """The one event that has this id (version 7: its time is in it)."""
    number = event_id.int & 0xFFFF
    provider, model = _MODELS[number % len(_MODELS)]
    cost = None if number % 7 == 0 else Decimal(number).scaleb(-9)
    return Event(
        event_id=event_id,
        tracked_at=datetime.fromtimestamp((event_id.int >> 80) // 1000, UTC),
        provider=provider,
        model=model,
        usage_source="response",
        status="error" if number % 11 == 0 else "ok",
        stream=number % 2 == 0,
        input_tokens=number,
        output_tokens=number % 97,
        total_tokens=number + number % 97,
        input_cost=cost,
        total_cost=cost,
        cost_status="unknown" if cost is None else "complete",
        latency_ms=number % 5000,
        tags={"tenant": f"tenant-{number % 40}", "feature": "chat" if number % 3 else "search"},
    )
