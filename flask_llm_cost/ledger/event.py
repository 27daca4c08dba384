"""The event: what the ledger keeps of one call. Immutable; ``event_id`` makes writing it idempotent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Self
from uuid import UUID

from flask_llm_cost.pricing.receipt import CostStatus
from flask_llm_cost.usage import CallStatus, UsageSource, knowledge

_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One recorded call. Costs are USD (exact to the nano-dollar), times UTC, latencies milliseconds.

    ``total_cost`` is ``None`` when unknown, never 0. ``cost_status`` is ``None`` where there is nothing
    to price: a failed attempt that used nothing. ``receipt`` holds the JSON of ``pricing.Receipt.as_dict``
    with the provider's raw usage numbers under ``raw_usage`` and the reading's ``notes``.
    """

    event_id: UUID
    tracked_at: datetime
    provider: str
    model: str
    request_model: str | None = None
    operation: str = "chat"
    status: CallStatus = "ok"
    error_type: str | None = None
    usage_source: UsageSource = "unknown"
    captured_by: str = "manual"
    stream: bool = False
    pricing_mode: str | None = None
    host: str | None = None
    input_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_write_input_tokens: int = 0
    cache_write_1h_input_tokens: int = 0
    output_tokens: int = 0
    hidden_output_tokens: int = 0
    total_tokens: int = 0
    input_cost: Decimal | None = None
    cache_read_cost: Decimal | None = None
    cache_write_cost: Decimal | None = None
    output_cost: Decimal | None = None
    other_cost: Decimal | None = None
    total_cost: Decimal | None = None
    cache_saved: Decimal | None = None
    provider_cost: Decimal | None = None
    cost_low: Decimal | None = None
    cost_high: Decimal | None = None
    cost_status: CostStatus | None = None
    latency_ms: int | None = None
    first_token_ms: int | None = None
    provider_response_id: str | None = None
    price_key: str | None = None
    price_source: str | None = None
    receipt: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    tags: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def knowledge(self) -> int:
        """How much it knows of its call, against other records of the same one (see ``usage.knowledge``)."""
        return knowledge(self.usage_source, self.status)

    def as_json(self) -> dict[str, Any]:
        """JSON-ready values, absent ones left out: the form the spool and dead letters keep."""
        packed: dict[str, Any] = {}
        for name in _FIELDS:
            value = getattr(self, name)
            if value is None:
                continue
            if name in _MONEY:
                value = format(value, "f")
            elif name in _MAPPINGS:
                value = dict(value)
            elif name == "tracked_at":
                value = value.isoformat()
            elif name == "event_id":
                value = str(value)
            packed[name] = value
        return packed

    @classmethod
    def from_json(cls, packed: Mapping[str, Any]) -> Self:
        """The inverse of ``as_json``. Fields of a newer version are ignored, absent ones take their default.

        Raises:
            KeyError, ValueError, TypeError: the mapping is not an event.
        """
        values: dict[str, Any] = {}
        for name in _FIELDS:
            if name not in packed:
                continue
            value = packed[name]
            if name in _MONEY:
                value = Decimal(value)
            elif name == "tracked_at":
                value = datetime.fromisoformat(value)
            elif name == "event_id":
                value = UUID(value)
            values[name] = value
        return cls(**values)


_FIELDS = tuple(column.name for column in fields(Event))
_MONEY = frozenset({"cache_saved", "cost_low", "cost_high", *(name for name in _FIELDS if name.endswith("_cost"))})
_MAPPINGS = frozenset({"receipt", "tags"})
