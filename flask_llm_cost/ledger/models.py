"""The tables. Static, on a ``MetaData`` of the package's own: the host's migrations never see them.

No foreign keys between them: rows arrive in batches, detail is pruned apart from rollups, and the
tables can be distributed. Every constraint and index is named. Costs are USD (``Money``: nano-USD in
the database), times UTC, days those of ``LLM_COST_TIMEZONE``.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import JSON, Boolean, Date, Index, Integer, MetaData, String, Text, UniqueConstraint, Uuid, text
from sqlalchemy.dialects.mysql import MEDIUMTEXT
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.schema import PrimaryKeyConstraint, conv

from flask_llm_cost.ledger.types import BigId, Money, UTCDateTime

LongText = Text().with_variant(MEDIUMTEXT(), "mysql", "mariadb")
JSONMapping = JSON().with_variant(JSONB(), "postgresql")

# What a rollup's row of a call without a tier is called: NULL would not be unique.
STANDARD = "standard"


class Base(DeclarativeBase):
    metadata = MetaData()
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        Decimal: Money(),
        datetime: UTCDateTime(),
        dict[str, Any]: JSONMapping,
    }


class Call(Base):
    """One answered (or failed) request to a model. ``total_cost`` NULL is unknown, never 0."""

    __tablename__ = "llm_cost_calls"

    id: Mapped[int] = mapped_column(BigId, autoincrement=True)
    event_id: Mapped[UUID] = mapped_column(Uuid)
    tracked_at: Mapped[datetime]
    recorded_at: Mapped[datetime]
    provider: Mapped[str] = mapped_column(String(64))
    model: Mapped[str] = mapped_column(String(255))
    request_model: Mapped[str | None] = mapped_column(String(255))
    operation: Mapped[str] = mapped_column(String(32))
    status: Mapped[str] = mapped_column(String(16))
    error_type: Mapped[str | None] = mapped_column(String(64))
    usage_source: Mapped[str] = mapped_column(String(16))
    captured_by: Mapped[str] = mapped_column(String(32))
    stream: Mapped[bool] = mapped_column(Boolean(create_constraint=False))
    pricing_mode: Mapped[str | None] = mapped_column(String(32))
    host: Mapped[str | None] = mapped_column(String(255))
    input_tokens: Mapped[int] = mapped_column(BigId)
    cache_read_input_tokens: Mapped[int] = mapped_column(BigId)
    cache_write_input_tokens: Mapped[int] = mapped_column(BigId)
    cache_write_1h_input_tokens: Mapped[int] = mapped_column(BigId)
    output_tokens: Mapped[int] = mapped_column(BigId)
    hidden_output_tokens: Mapped[int] = mapped_column(BigId)
    total_tokens: Mapped[int] = mapped_column(BigId)
    input_cost: Mapped[Decimal | None] = mapped_column("input_cost_nano")
    cache_read_cost: Mapped[Decimal | None] = mapped_column("cache_read_cost_nano")
    cache_write_cost: Mapped[Decimal | None] = mapped_column("cache_write_cost_nano")
    output_cost: Mapped[Decimal | None] = mapped_column("output_cost_nano")
    other_cost: Mapped[Decimal | None] = mapped_column("other_cost_nano")
    total_cost: Mapped[Decimal | None] = mapped_column("total_cost_nano")
    cache_saved: Mapped[Decimal | None] = mapped_column("cache_saved_nano")
    provider_cost: Mapped[Decimal | None] = mapped_column("provider_cost_nano")
    cost_low: Mapped[Decimal | None] = mapped_column("cost_low_nano")
    cost_high: Mapped[Decimal | None] = mapped_column("cost_high_nano")
    cost_status: Mapped[str | None] = mapped_column(String(16))
    latency_ms: Mapped[int | None] = mapped_column(Integer)
    first_token_ms: Mapped[int | None] = mapped_column(Integer)
    provider_response_id: Mapped[str | None] = mapped_column(String(255))
    price_key: Mapped[str | None] = mapped_column(String(255))
    price_source: Mapped[str | None] = mapped_column(String(64))
    receipt: Mapped[dict[str, Any]]
    tags: Mapped[dict[str, Any]]

    __table_args__ = (
        PrimaryKeyConstraint("id", name=conv("pk_llm_cost_calls")),
        UniqueConstraint("event_id", "tracked_at", name=conv("uq_llm_cost_calls_event")),
        Index(conv("ix_llm_cost_calls_tracked_at"), "tracked_at", "id"),
        Index(conv("ix_llm_cost_calls_provider"), "provider", "tracked_at", "id"),
        Index(conv("ix_llm_cost_calls_model"), "model", "tracked_at", "id"),
        Index(conv("ix_llm_cost_calls_response"), "provider_response_id"),
    )


class Tag(Base):
    """A (key, value) that some call carries. SQLite and MySQL only: PostgreSQL indexes ``calls.tags``."""

    __tablename__ = "llm_cost_tags"

    id: Mapped[int] = mapped_column(BigId, autoincrement=True)
    key: Mapped[str] = mapped_column(String(128))
    value: Mapped[str] = mapped_column(Text)
    digest: Mapped[str] = mapped_column(String(64))
    """SHA-256 of key, NUL and value: a value of 1,024 bytes is too long for a MySQL index."""

    __table_args__ = (
        PrimaryKeyConstraint("id", name=conv("pk_llm_cost_tags")),
        UniqueConstraint("digest", name=conv("uq_llm_cost_tags_digest")),
    )


class CallTag(Base):
    """Which call carries which tag. SQLite and MySQL only."""

    __tablename__ = "llm_cost_call_tags"

    tag_id: Mapped[int] = mapped_column(BigId, autoincrement=False)
    call_id: Mapped[int] = mapped_column(BigId, autoincrement=False)

    __table_args__ = (
        PrimaryKeyConstraint("tag_id", "call_id", name=conv("pk_llm_cost_call_tags")),
        Index(conv("ix_llm_cost_call_tags_call"), "call_id"),
        {"sqlite_with_rowid": False},
    )


class RollupColumns:
    """What a rollup adds up per bucket. Unknown costs add nothing and are counted in ``unpriced``."""

    calls: Mapped[int] = mapped_column(BigId, server_default=text("0"))
    errors: Mapped[int] = mapped_column(BigId, server_default=text("0"))
    unpriced: Mapped[int] = mapped_column(BigId, server_default=text("0"))
    """Calls whose cost has no known upper bound (unknown, partial, an open estimate): the total is a lower bound."""
    estimated: Mapped[int] = mapped_column(BigId, server_default=text("0"))
    streams: Mapped[int] = mapped_column(BigId, server_default=text("0"))
    streams_without_usage: Mapped[int] = mapped_column(BigId, server_default=text("0"))
    untagged: Mapped[int] = mapped_column(BigId, server_default=text("0"))
    missing_latency: Mapped[int] = mapped_column(BigId, server_default=text("0"))
    missing_response_id: Mapped[int] = mapped_column(BigId, server_default=text("0"))
    input_tokens: Mapped[int] = mapped_column(BigId, server_default=text("0"))
    cache_read_input_tokens: Mapped[int] = mapped_column(BigId, server_default=text("0"))
    cache_write_input_tokens: Mapped[int] = mapped_column(BigId, server_default=text("0"))
    cache_write_1h_input_tokens: Mapped[int] = mapped_column(BigId, server_default=text("0"))
    output_tokens: Mapped[int] = mapped_column(BigId, server_default=text("0"))
    hidden_output_tokens: Mapped[int] = mapped_column(BigId, server_default=text("0"))
    total_tokens: Mapped[int] = mapped_column(BigId, server_default=text("0"))
    input_cost: Mapped[Decimal] = mapped_column("input_cost_nano", server_default=text("0"))
    cache_read_cost: Mapped[Decimal] = mapped_column("cache_read_cost_nano", server_default=text("0"))
    cache_write_cost: Mapped[Decimal] = mapped_column("cache_write_cost_nano", server_default=text("0"))
    output_cost: Mapped[Decimal] = mapped_column("output_cost_nano", server_default=text("0"))
    other_cost: Mapped[Decimal] = mapped_column("other_cost_nano", server_default=text("0"))
    total_cost: Mapped[Decimal] = mapped_column("total_cost_nano", server_default=text("0"))
    cache_saved: Mapped[Decimal] = mapped_column("cache_saved_nano", server_default=text("0"))
    provider_cost: Mapped[Decimal] = mapped_column("provider_cost_nano", server_default=text("0"))
    cost_low: Mapped[Decimal] = mapped_column("cost_low_nano", server_default=text("0"))
    """Of calls with an estimate in place of a total: this much at least comes on top of ``total_cost``."""
    cost_high: Mapped[Decimal] = mapped_column("cost_high_nano", server_default=text("0"))
    """This much at most, where ``unpriced`` is 0; an open estimate adds nothing and is counted there."""


class Daily(RollupColumns, Base):
    """Calls per day of ``LLM_COST_TIMEZONE``, provider, model and tier."""

    __tablename__ = "llm_cost_daily"

    day: Mapped[date] = mapped_column(Date)
    provider: Mapped[str] = mapped_column(String(64))
    model: Mapped[str] = mapped_column(String(255))
    pricing_mode: Mapped[str] = mapped_column(String(32))

    __table_args__ = (PrimaryKeyConstraint("day", "provider", "model", "pricing_mode", name=conv("pk_llm_cost_daily")),)


class Hourly(RollupColumns, Base):
    """Calls per UTC hour, provider, model and tier."""

    __tablename__ = "llm_cost_hourly"

    hour: Mapped[datetime]
    provider: Mapped[str] = mapped_column(String(64))
    model: Mapped[str] = mapped_column(String(255))
    pricing_mode: Mapped[str] = mapped_column(String(32))

    __table_args__ = (
        PrimaryKeyConstraint("hour", "provider", "model", "pricing_mode", name=conv("pk_llm_cost_hourly")),
    )


class LatencyDaily(Base):
    """Calls per day, provider, model and latency bin: bin *n* holds [1.15ⁿ, 1.15ⁿ⁺¹) ms, bin -1 all under 1 ms."""

    __tablename__ = "llm_cost_latency_daily"

    day: Mapped[date] = mapped_column(Date)
    provider: Mapped[str] = mapped_column(String(64))
    model: Mapped[str] = mapped_column(String(255))
    bin: Mapped[int] = mapped_column(Integer)
    calls: Mapped[int] = mapped_column(BigId, server_default=text("0"))

    __table_args__ = (PrimaryKeyConstraint("day", "provider", "model", "bin", name=conv("pk_llm_cost_latency_daily")),)


class TagRollupColumns:
    calls: Mapped[int] = mapped_column(BigId, server_default=text("0"))
    unpriced: Mapped[int] = mapped_column(BigId, server_default=text("0"))
    total_tokens: Mapped[int] = mapped_column(BigId, server_default=text("0"))
    total_cost: Mapped[Decimal] = mapped_column("total_cost_nano", server_default=text("0"))
    cost_low: Mapped[Decimal] = mapped_column("cost_low_nano", server_default=text("0"))
    cost_high: Mapped[Decimal] = mapped_column("cost_high_nano", server_default=text("0"))


class TagDaily(TagRollupColumns, Base):
    """Calls per day and tag. Values past ``LLM_COST_TAG_VALUES_PER_DAY`` share the value ``__other__``."""

    __tablename__ = "llm_cost_tag_daily"

    key: Mapped[str] = mapped_column(String(128))
    day: Mapped[date] = mapped_column(Date)
    digest: Mapped[str] = mapped_column(String(64))
    value: Mapped[str] = mapped_column(Text)

    __table_args__ = (PrimaryKeyConstraint("key", "day", "digest", name=conv("pk_llm_cost_tag_daily")),)


class TagMonthly(TagRollupColumns, Base):
    """Calls per month (its first day) and tag."""

    __tablename__ = "llm_cost_tag_monthly"

    key: Mapped[str] = mapped_column(String(128))
    month: Mapped[date] = mapped_column(Date)
    digest: Mapped[str] = mapped_column(String(64))
    value: Mapped[str] = mapped_column(Text)

    __table_args__ = (PrimaryKeyConstraint("key", "month", "digest", name=conv("pk_llm_cost_tag_monthly")),)


class TagKeyDaily(TagRollupColumns, Base):
    """Calls per day that carry a tag key at all, and how many values it had."""

    __tablename__ = "llm_cost_tag_key_daily"

    key: Mapped[str] = mapped_column(String(128))
    day: Mapped[date] = mapped_column(Date)
    distinct_values: Mapped[int] = mapped_column(BigId, server_default=text("0"))

    __table_args__ = (PrimaryKeyConstraint("key", "day", name=conv("pk_llm_cost_tag_key_daily")),)


class BudgetTotal(Base):
    """What a budget's scope has spent and holds reserved in one period."""

    __tablename__ = "llm_cost_budgets"

    budget: Mapped[str] = mapped_column(String(128))
    scope: Mapped[str] = mapped_column(String(255))
    period_start: Mapped[date] = mapped_column(Date)
    limit: Mapped[Decimal] = mapped_column("limit_nano")
    spent: Mapped[Decimal] = mapped_column("spent_nano", server_default=text("0"))
    reserved: Mapped[Decimal] = mapped_column("reserved_nano", server_default=text("0"))

    __table_args__ = (PrimaryKeyConstraint("budget", "scope", "period_start", name=conv("pk_llm_cost_budgets")),)


class Reservation(Base):
    """An amount held back for a call that is under way."""

    __tablename__ = "llm_cost_reservations"

    event_id: Mapped[UUID] = mapped_column(Uuid)
    budget: Mapped[str] = mapped_column(String(128))
    scope: Mapped[str] = mapped_column(String(255))
    period_start: Mapped[date] = mapped_column(Date)
    amount: Mapped[Decimal] = mapped_column("amount_nano")
    expires_at: Mapped[datetime]

    __table_args__ = (
        PrimaryKeyConstraint("event_id", "budget", "scope", "period_start", name=conv("pk_llm_cost_reservations")),
        Index(conv("ix_llm_cost_reservations_expires_at"), "expires_at"),
    )


class DeadLetter(Base):
    """An event the ledger would not take, with its error; its neighbours went in."""

    __tablename__ = "llm_cost_dead_letters"

    id: Mapped[int] = mapped_column(BigId, autoincrement=True)
    event_id: Mapped[UUID | None] = mapped_column(Uuid)
    failed_at: Mapped[datetime]
    error: Mapped[str] = mapped_column(Text)
    event: Mapped[str] = mapped_column(LongText)
    """The event as the spool had it (JSON where it can be read)."""

    __table_args__ = (
        PrimaryKeyConstraint("id", name=conv("pk_llm_cost_dead_letters")),
        UniqueConstraint("event_id", name=conv("uq_llm_cost_dead_letters_event")),
    )


class Audit(Base):
    """What changed the ledger after the fact: reprices, prunes, rebuilds."""

    __tablename__ = "llm_cost_audit"

    id: Mapped[int] = mapped_column(BigId, autoincrement=True)
    at: Mapped[datetime]
    action: Mapped[str] = mapped_column(String(32))
    details: Mapped[dict[str, Any]]

    __table_args__ = (
        PrimaryKeyConstraint("id", name=conv("pk_llm_cost_audit")),
        Index(conv("ix_llm_cost_audit_at"), "at"),
    )


class Meta(Base):
    """Facts about the ledger itself: the time zone of its rollups, for one."""

    __tablename__ = "llm_cost_meta"

    name: Mapped[str] = mapped_column(String(64))
    value: Mapped[str] = mapped_column(Text)

    __table_args__ = (PrimaryKeyConstraint("name", name=conv("pk_llm_cost_meta")),)
