"""What one answer used: disjoint quantities per meter.

A provider file splits its own counts once (``providers/``); nothing downstream subtracts again.
Token meters count tokens, ``tool.*``, ``request`` and ``request.*`` count calls, ``audio.second`` and
``video.second`` seconds, ``character`` characters, ``page`` pages, ``image.*`` images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Literal, NamedTuple, get_args

Quantity = int | Decimal
Usage = Mapping[str, Quantity]

UsageSource = Literal["response", "stream_final", "partial", "manual", "unknown"]
CallStatus = Literal["ok", "error", "cancelled"]
CostColumn = Literal["input", "cache_read", "cache_write", "output", "other"]
COST_COLUMNS: tuple[CostColumn, ...] = get_args(CostColumn)

NO_USAGE: Usage = MappingProxyType({})


def knowledge(usage_source: str, status: str) -> int:
    """How much a record of a call knows: 0 that there was one, 1 that it failed or was cancelled, 2 what it used."""
    return 2 if usage_source != "unknown" else int(status != "ok")


@dataclass(frozen=True, slots=True)
class Meter:
    """One thing a provider bills.

    Attributes:
        name: the meter, as catalogue rates, usage and receipts spell it.
        unit: what one of it is ("token", "call", "second", "character", "page", "image", "token_hour").
        per: how many units a bare rate in the catalogue is for (1,000,000 for tokens, else 1).
        column: the ledger column its cost counts toward.
        inherits: the meter whose rate applies where this one has none, in any price table.
        user_inherits: the same, in user-supplied price tables only.
    """

    name: str
    unit: str
    column: CostColumn
    per: int = 1
    inherits: str | None = None
    user_inherits: str | None = None


MILLION = 1_000_000


def _tokens(name: str, column: CostColumn, inherits: str | None = None, user_inherits: str | None = None) -> Meter:
    return Meter(name, "token", column, MILLION, inherits, user_inherits)


METERS: Mapping[str, Meter] = MappingProxyType(
    {
        meter.name: meter
        for meter in (
            _tokens("input", "input"),
            _tokens("input.audio", "input"),
            _tokens("input.image", "input", inherits="input"),
            _tokens("input.video", "input", inherits="input"),
            _tokens("cache_read", "cache_read", user_inherits="input"),
            _tokens("cache_read.audio", "cache_read"),
            _tokens("cache_write", "cache_write", user_inherits="input"),
            _tokens("cache_write.1h", "cache_write"),
            _tokens("output", "output"),
            _tokens("output.reasoning", "output", inherits="output"),
            _tokens("output.audio", "output"),
            _tokens("output.image", "output"),
            Meter("tool.web_search", "call", "other"),
            Meter("tool.web_fetch", "call", "other"),
            Meter("tool.file_search", "call", "other"),
            Meter("tool.code_execution", "call", "other"),
            Meter("tool.grounding", "call", "other"),
            Meter("audio.second", "second", "other"),
            Meter("video.second", "second", "other"),
            Meter("character", "character", "other"),
            Meter("page", "page", "other"),
            Meter("request", "call", "other"),
            Meter("storage.token_hour", "token_hour", "other", MILLION),
        )
    }
)


_UNITS: Mapping[str, str] = MappingProxyType({"image": "image", "request": "call", "tool": "call"})


def meter(name: str) -> Meter:
    """The meter of that name. One outside the table (``image.1024x1024.high``, say) is billed per unit, as "other"."""
    known = METERS.get(name)
    if known is not None:
        return known
    return Meter(name, _UNITS.get(name.partition(".")[0], "unit"), "other")


@dataclass(frozen=True, slots=True)
class ModelUsage:
    """Usage inside one answer that another model did (Anthropic's ``iterations``): priced as that model."""

    model: str
    usage: Usage


@dataclass(frozen=True, slots=True)
class Stored:
    """An answer that its provider keeps, and gives again to whoever asks for its id.

    Attributes:
        created_at: when the provider began it, to the second: the same in every copy.
        pending: whether it is still being made; its usage comes with a later copy.
        took_ms: from its beginning to its end, where the provider says; milliseconds.
    """

    created_at: datetime
    pending: bool = False
    took_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Bounds:
    """Between what and what a usage lies that no answer told.

    Attributes:
        low: at least this was used, on the cheapest meters it can have been.
        high: at most this was used, on the dearest; ``None`` where nothing honest can be said.
    """

    low: Usage
    high: Usage | None


class TokenCounts(NamedTuple):
    """A reading's tokens by the ledger's columns; see the properties of ``Reading``."""

    input_tokens: int
    cache_read_input_tokens: int
    cache_write_input_tokens: int
    cache_write_1h_input_tokens: int
    output_tokens: int
    hidden_output_tokens: int
    total_tokens: int


@dataclass(frozen=True, slots=True)
class Reading:
    """What an answer says about itself.

    Attributes:
        provider: our name of who answered ("openai", "anthropic", "gemini", …).
        model: the model as answered, else as asked for, else "unknown".
        usage: meter → quantity, disjoint, never negative; empty when the answer does not say.
        request_model: the model as asked for.
        operation: OpenTelemetry's ``gen_ai.operation.name`` ("chat", "generate_content", "embeddings", …).
        stream: whether the answer came as a stream.
        status: "ok", or "error" for an answer outside 2xx or one that ended in an error event.
        error_type: OpenTelemetry's ``error.type``: the HTTP status or the provider's error code.
        pricing_mode: the tier as served ("batch", "flex", "priority", …); ``None`` is standard.
        geo, speed: as served, where the provider prices by them.
        provider_response_id: the provider's own id of the answer.
        usage_source: "response", "stream_final", "partial" (a stream cut off), "manual" or "unknown".
        provider_cost: USD as the provider itself reported it.
        raw_usage: the provider's usage object, numbers only, for audit and repricing.
        extra: usage that another model did inside this answer.
        notes: what was odd ("inconsistent", "unparsable_body", …).
        stored: set where the answer can be fetched again by its id.
        bounds: where the usage is not or only partly known: between what and what it lies.
    """

    provider: str
    model: str
    usage: Usage = field(default_factory=lambda: NO_USAGE)
    request_model: str | None = None
    operation: str = "chat"
    stream: bool = False
    status: CallStatus = "ok"
    error_type: str | None = None
    pricing_mode: str | None = None
    geo: str | None = None
    speed: str | None = None
    provider_response_id: str | None = None
    usage_source: UsageSource = "unknown"
    provider_cost: Decimal | None = None
    raw_usage: Mapping[str, object] | None = None
    extra: tuple[ModelUsage, ...] = ()
    notes: tuple[str, ...] = ()
    stored: Stored | None = None
    bounds: Bounds | None = None

    @property
    def input_tokens(self) -> int:
        """Fresh input tokens, whatever their modality; cached ones are beside them, not among them."""
        return self._sum("input")

    @property
    def cache_read_input_tokens(self) -> int:
        return self._sum("cache_read")

    @property
    def cache_write_input_tokens(self) -> int:
        """Tokens written to a cache, for any time to live."""
        return self._sum("cache_write")

    @property
    def cache_write_1h_input_tokens(self) -> int:
        """The part of ``cache_write_input_tokens`` written for one hour."""
        return int(self.usage.get("cache_write.1h", 0))

    @property
    def output_tokens(self) -> int:
        """All output tokens, hidden ones included."""
        return self._sum("output")

    @property
    def hidden_output_tokens(self) -> int:
        """The part of ``output_tokens`` that was reasoning."""
        return int(self.usage.get("output.reasoning", 0))

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.cache_read_input_tokens + self.cache_write_input_tokens + self.output_tokens

    def token_counts(self) -> TokenCounts:
        """All of these in one pass."""
        sums: dict[str, Quantity] = {"input": 0, "cache_read": 0, "cache_write": 0, "output": 0}
        for usage in (self.usage, *(other.usage for other in self.extra)) if self.extra else (self.usage,):
            for name, count in usage.items():
                family = name.partition(".")[0]
                if family in sums:
                    sums[family] += count
        fresh, read, written, output = map(int, sums.values())
        return TokenCounts(
            fresh,
            read,
            written,
            self.cache_write_1h_input_tokens,
            output,
            self.hidden_output_tokens,
            fresh + read + written + output,
        )

    def _sum(self, family: str) -> int:
        total: Quantity = 0
        part = f"{family}."
        for usage in (self.usage, *(other.usage for other in self.extra)) if self.extra else (self.usage,):
            for name, count in usage.items():
                if name == family or name.startswith(part):
                    total += count
        return int(total)
