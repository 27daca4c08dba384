"""The ledger: calls, tags, rollups, budgets, dead letters, audit and meta.

What only some databases have is here and not in the models: the GIN index, the partial indexes and
the view that shows dollars.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.schema import conv

revision: str = "0001"
down_revision: str | None = None
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NANO = sa.BigInteger()
TIME = (
    sa.DateTime(timezone=True)
    .with_variant(mysql.DATETIME(fsp=6), "mysql")
    .with_variant(mysql.DATETIME(fsp=6), "mariadb")
)
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
LONG_TEXT = sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")

# Names compare byte by byte, as they do on the other databases.
MYSQL = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}
MARIADB = {name.replace("mysql_", "mariadb_"): value for name, value in MYSQL.items()}

PARTIAL_INDEXES = {
    "ix_llm_cost_calls_unpriced": "cost_status IN ('unknown', 'partial')",
    "ix_llm_cost_calls_no_usage": "usage_source = 'unknown' AND status <> 'error'",
    "ix_llm_cost_calls_untagged": "tags = '{}'",
}

DOLLARS = (
    "input_cost",
    "cache_read_cost",
    "cache_write_cost",
    "output_cost",
    "other_cost",
    "total_cost",
    "cache_saved",
    "provider_cost",
    "cost_low",
    "cost_high",
)
VIEW_COLUMNS = (
    "id",
    "event_id",
    "tracked_at",
    "recorded_at",
    "provider",
    "model",
    "request_model",
    "operation",
    "status",
    "error_type",
    "usage_source",
    "captured_by",
    "stream",
    "pricing_mode",
    "host",
    "input_tokens",
    "cache_read_input_tokens",
    "cache_write_input_tokens",
    "cache_write_1h_input_tokens",
    "output_tokens",
    "hidden_output_tokens",
    "total_tokens",
    *DOLLARS,
    "cost_status",
    "latency_ms",
    "first_token_ms",
    "provider_response_id",
    "price_key",
    "price_source",
    "receipt",
    "tags",
)


def upgrade() -> None:
    create_calls()
    create_tags()
    create_rollups()
    create_tag_rollups()
    create_budgets()
    create_records()
    create_what_only_some_databases_have()
    create_view()


def downgrade() -> None:
    op.execute("DROP VIEW llm_cost_calls_usd")
    for name in (
        "meta",
        "audit",
        "dead_letters",
        "reservations",
        "budgets",
        "tag_key_daily",
        "tag_monthly",
        "tag_daily",
        "latency_daily",
        "hourly",
        "daily",
        "call_tags",
        "tags",
        "calls",
    ):
        op.drop_table(f"llm_cost_{name}")


def create_calls() -> None:
    create(
        "llm_cost_calls",
        sa.Column("id", BIG, autoincrement=True, nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("tracked_at", TIME, nullable=False),
        sa.Column("recorded_at", TIME, nullable=False),
        sa.Column("provider", sa.String(64), nullable=False),
        sa.Column("model", sa.String(255), nullable=False),
        sa.Column("request_model", sa.String(255)),
        sa.Column("operation", sa.String(32), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("error_type", sa.String(64)),
        sa.Column("usage_source", sa.String(16), nullable=False),
        sa.Column("captured_by", sa.String(32), nullable=False),
        sa.Column("stream", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("pricing_mode", sa.String(32)),
        sa.Column("host", sa.String(255)),
        sa.Column("input_tokens", BIG, nullable=False),
        sa.Column("cache_read_input_tokens", BIG, nullable=False),
        sa.Column("cache_write_input_tokens", BIG, nullable=False),
        sa.Column("cache_write_1h_input_tokens", BIG, nullable=False),
        sa.Column("output_tokens", BIG, nullable=False),
        sa.Column("hidden_output_tokens", BIG, nullable=False),
        sa.Column("total_tokens", BIG, nullable=False),
        *(sa.Column(f"{name}_nano", NANO) for name in DOLLARS),
        sa.Column("cost_status", sa.String(16)),
        sa.Column("latency_ms", sa.Integer()),
        sa.Column("first_token_ms", sa.Integer()),
        sa.Column("provider_response_id", sa.String(255)),
        sa.Column("price_key", sa.String(255)),
        sa.Column("price_source", sa.String(64)),
        sa.Column("receipt", JSON, nullable=False),
        sa.Column("tags", JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name=conv("pk_llm_cost_calls")),
        sa.UniqueConstraint("event_id", "tracked_at", name=conv("uq_llm_cost_calls_event")),
    )
    op.create_index(conv("ix_llm_cost_calls_tracked_at"), "llm_cost_calls", ["tracked_at", "id"])
    op.create_index(conv("ix_llm_cost_calls_provider"), "llm_cost_calls", ["provider", "tracked_at", "id"])
    op.create_index(conv("ix_llm_cost_calls_model"), "llm_cost_calls", ["model", "tracked_at", "id"])
    op.create_index(conv("ix_llm_cost_calls_response"), "llm_cost_calls", ["provider_response_id"])


def create_tags() -> None:
    create(
        "llm_cost_tags",
        sa.Column("id", BIG, autoincrement=True, nullable=False),
        sa.Column("key", sa.String(128), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=conv("pk_llm_cost_tags")),
        sa.UniqueConstraint("digest", name=conv("uq_llm_cost_tags_digest")),
    )
    create(
        "llm_cost_call_tags",
        sa.Column("tag_id", BIG, autoincrement=False, nullable=False),
        sa.Column("call_id", BIG, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("tag_id", "call_id", name=conv("pk_llm_cost_call_tags")),
        sqlite_with_rowid=False,
    )
    op.create_index(conv("ix_llm_cost_call_tags_call"), "llm_cost_call_tags", ["call_id"])


def create_rollups() -> None:
    bucket = ("provider", "model", "pricing_mode")
    create(
        "llm_cost_daily",
        *rollup_columns(),
        sa.Column("day", sa.Date(), nullable=False),
        *bucket_columns(),
        sa.PrimaryKeyConstraint("day", *bucket, name=conv("pk_llm_cost_daily")),
    )
    create(
        "llm_cost_hourly",
        *rollup_columns(),
        sa.Column("hour", TIME, nullable=False),
        *bucket_columns(),
        sa.PrimaryKeyConstraint("hour", *bucket, name=conv("pk_llm_cost_hourly")),
    )
    create(
        "llm_cost_latency_daily",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("provider", sa.String(64), nullable=False),
        sa.Column("model", sa.String(255), nullable=False),
        sa.Column("bin", sa.Integer(), autoincrement=False, nullable=False),
        counter("calls"),
        sa.PrimaryKeyConstraint("day", "provider", "model", "bin", name=conv("pk_llm_cost_latency_daily")),
    )


def create_tag_rollups() -> None:
    for name, bucket in (("tag_daily", "day"), ("tag_monthly", "month")):
        create(
            f"llm_cost_{name}",
            *tag_columns(),
            sa.Column("key", sa.String(128), nullable=False),
            sa.Column(bucket, sa.Date(), nullable=False),
            sa.Column("digest", sa.String(64), nullable=False),
            sa.Column("value", sa.Text(), nullable=False),
            sa.PrimaryKeyConstraint("key", bucket, "digest", name=conv(f"pk_llm_cost_{name}")),
        )
    create(
        "llm_cost_tag_key_daily",
        *tag_columns(),
        sa.Column("key", sa.String(128), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        counter("distinct_values"),
        sa.PrimaryKeyConstraint("key", "day", name=conv("pk_llm_cost_tag_key_daily")),
    )


def create_budgets() -> None:
    create(
        "llm_cost_budgets",
        sa.Column("budget", sa.String(128), nullable=False),
        sa.Column("scope", sa.String(255), nullable=False),
        sa.Column("period_start", sa.Date(), nullable=False),
        sa.Column("limit_nano", NANO, nullable=False),
        dollars("spent"),
        dollars("reserved"),
        sa.PrimaryKeyConstraint("budget", "scope", "period_start", name=conv("pk_llm_cost_budgets")),
    )
    create(
        "llm_cost_reservations",
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("budget", sa.String(128), nullable=False),
        sa.Column("scope", sa.String(255), nullable=False),
        sa.Column("period_start", sa.Date(), nullable=False),
        sa.Column("amount_nano", NANO, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("event_id", "budget", "scope", "period_start", name=conv("pk_llm_cost_reservations")),
    )
    op.create_index(conv("ix_llm_cost_reservations_expires_at"), "llm_cost_reservations", ["expires_at"])


def create_records() -> None:
    create(
        "llm_cost_dead_letters",
        sa.Column("id", BIG, autoincrement=True, nullable=False),
        sa.Column("event_id", sa.Uuid()),
        sa.Column("failed_at", TIME, nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("event", LONG_TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=conv("pk_llm_cost_dead_letters")),
        sa.UniqueConstraint("event_id", name=conv("uq_llm_cost_dead_letters_event")),
    )
    create(
        "llm_cost_audit",
        sa.Column("id", BIG, autoincrement=True, nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("details", JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name=conv("pk_llm_cost_audit")),
    )
    op.create_index(conv("ix_llm_cost_audit_at"), "llm_cost_audit", ["at"])
    create(
        "llm_cost_meta",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=conv("pk_llm_cost_meta")),
    )


def create_what_only_some_databases_have() -> None:
    dialect = op.get_context().dialect.name
    if dialect not in ("postgresql", "sqlite"):
        return
    for name, condition in PARTIAL_INDEXES.items():
        where = {f"{dialect}_where": sa.text(condition)}
        op.create_index(conv(name), "llm_cost_calls", ["tracked_at", "id"], **where)
    if dialect == "postgresql":
        op.create_index(
            conv("ix_llm_cost_calls_tags"),
            "llm_cost_calls",
            ["tags"],
            postgresql_using="gin",
            postgresql_ops={"tags": "jsonb_path_ops"},
        )


def create_view() -> None:
    # SQLite has no exact decimals; multiplying keeps them exact where dividing would round (MySQL: four digits).
    dollar = {
        "sqlite": "{0}_nano / 1e9",
        "postgresql": "CAST({0}_nano * 0.000000001 AS NUMERIC(20, 9))",
    }.get(op.get_context().dialect.name, "CAST({0}_nano * 0.000000001 AS DECIMAL(20, 9))")
    columns = [f"{dollar.format(name)} AS {name}" if name in DOLLARS else name for name in VIEW_COLUMNS]
    op.execute(f"CREATE VIEW llm_cost_calls_usd AS SELECT {', '.join(columns)} FROM llm_cost_calls")  # noqa: S608


def create(name: str, *parts: sa.schema.SchemaItem, **options: Any) -> None:
    op.create_table(name, *parts, **MYSQL, **MARIADB, **options)


def counter(name: str) -> sa.Column[int]:
    return sa.Column(name, BIG, server_default=sa.text("0"), nullable=False)


def dollars(name: str) -> sa.Column[int]:
    return sa.Column(f"{name}_nano", NANO, server_default=sa.text("0"), nullable=False)


def rollup_columns() -> list[sa.Column[int]]:
    names = (
        "calls",
        "errors",
        "unpriced",
        "estimated",
        "streams",
        "streams_without_usage",
        "untagged",
        "missing_latency",
        "missing_response_id",
        "input_tokens",
        "cache_read_input_tokens",
        "cache_write_input_tokens",
        "cache_write_1h_input_tokens",
        "output_tokens",
        "hidden_output_tokens",
        "total_tokens",
    )
    return [*(counter(name) for name in names), *(dollars(name) for name in DOLLARS)]


def bucket_columns() -> tuple[sa.Column[str], ...]:
    return (
        sa.Column("provider", sa.String(64), nullable=False),
        sa.Column("model", sa.String(255), nullable=False),
        sa.Column("pricing_mode", sa.String(32), nullable=False),
    )


def tag_columns() -> list[sa.Column[int]]:
    return [counter("calls"), counter("unpriced"), counter("total_tokens"), dollars("total_cost")]
