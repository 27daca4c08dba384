"""All filtered calls for an export, a batch in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from flask_llm_cost.ledger.models import Call
from flask_llm_cost.queries.conditions import during, narrowed
from flask_llm_cost.queries.filters import Filters
from flask_llm_cost.queries.keyset import Order, in_order

BATCH = 1_000

ExportedCall = Sequence[Any]
"""The values of ``CALL_COLUMNS``."""

CALL_COLUMNS = (
    "tracked_at",
    "event_id",
    "provider",
    "model",
    "request_model",
    "operation",
    "status",
    "error_type",
    "stream",
    "usage_source",
    "captured_by",
    "pricing_mode",
    "input_tokens",
    "cache_read_input_tokens",
    "cache_write_input_tokens",
    "cache_write_1h_input_tokens",
    "output_tokens",
    "hidden_output_tokens",
    "total_tokens",
    "input_cost",
    "cache_read_cost",
    "cache_write_cost",
    "output_cost",
    "other_cost",
    "total_cost",
    "cache_saved",
    "cost_low",
    "cost_high",
    "cost_status",
    "price_key",
    "latency_ms",
    "first_token_ms",
    "provider_response_id",
    "tags",
)


def every_call(session: Session, filters: Filters, order: Order) -> Iterator[ExportedCall]:
    """The filtered calls in order, without a cap, streamed from the database."""
    period = filters.period
    statement = (
        select(*(getattr(Call, name) for name in CALL_COLUMNS))
        .where(during(period.start, period.end), *narrowed(session, filters))
        .order_by(*in_order(order))
        .execution_options(yield_per=BATCH)
    )
    yield from session.execute(statement)
