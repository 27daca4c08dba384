"""Column types of the ledger: exact money and unambiguous times on every database."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from sqlalchemy import BigInteger, DateTime, Dialect, Integer
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeDecorator, TypeEngine

NANO = Decimal("0.000000001")

# SQLite auto-increments INTEGER PRIMARY KEY only, never BIGINT.
BigId = BigInteger().with_variant(Integer, "sqlite")


class Money(TypeDecorator[Decimal]):
    """USD as ``Decimal`` in Python, integer nano-USD in the database. Exact, and keeps through ``func.sum``."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: Decimal | int | None, dialect: Dialect) -> int | None:
        if value is None:
            return None
        return int((Decimal(value) / NANO).to_integral_value(ROUND_HALF_UP))

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        # PostgreSQL and MySQL answer SUM(BIGINT) as NUMERIC, SQLite as INTEGER.
        return None if value is None else Decimal(int(value)).scaleb(-9)


class UTCDateTime(TypeDecorator[datetime]):
    """An aware UTC ``datetime`` to the microsecond, also where the database stores naive times."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name in ("mysql", "mariadb"):
            return dialect.type_descriptor(mysql.DATETIME(fsp=6))
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone; the ledger takes aware times only")
        utc = value.astimezone(UTC)
        return utc if dialect.name == "postgresql" else utc.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
