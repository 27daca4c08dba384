"""From a packed event (``pack``) to the plain values that every database takes.

Texts are bounded to their columns, NUL removed and lone surrogates replaced here, once, whatever the
database; money becomes integer nano-USD, times UTC texts, ``receipt`` and ``tags`` JSON texts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from hashlib import sha256
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import String

from flask_llm_cost.ledger.event import Event
from flask_llm_cost.ledger.models import Call

Plain = str | int | bool | None
Row = dict[str, Plain]
Values = tuple[Plain, ...]

# What a row may hold at most: far above any real call, and low enough that a day's sum stays within
# 63 bits. SQLite would turn an overflowing sum into a float without a word.
MOST_UNITS = 2**53
MOST_NANO_USD = 10**16
MOST_MILLISECONDS = 2**31 - 1

_KEY_LENGTH = 128
_OTHER_TOKENS = ("cache_read_input_tokens", "cache_write_input_tokens", "cache_write_1h_input_tokens")
TOKENS = ("input_tokens", *_OTHER_TOKENS, "output_tokens", "hidden_output_tokens", "total_tokens")
MONEY = (
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
_MONEY_COLUMNS = tuple((name, name + "_nano") for name in MONEY)
_TIMES = ("latency_ms", "first_token_ms")
_DEFAULTS = {"operation": "chat", "status": "ok", "usage_source": "unknown", "captured_by": "manual"}
_TEXTS: tuple[tuple[str, int, bool, str | None], ...] = tuple(
    (column.name, column.type.length, not column.nullable and column.name not in _DEFAULTS, _DEFAULTS.get(column.name))
    for column in Call.__table__.columns
    if isinstance(column.type, String) and column.type.length
)


def _plain(value: object) -> object:
    return dict(value) if isinstance(value, Mapping) else str(value)


encode_json = json.JSONEncoder(separators=(",", ":"), default=_plain).encode


def pack(event: Event) -> dict[str, Any]:
    """``event.as_json()`` with the receipt as JSON text, as the database takes it: packed once, never parsed again."""
    packed = event.as_json()
    packed["receipt"] = clean_json(packed["receipt"])
    return packed


class Entry(NamedTuple):
    """One event on its way into the ledger: its row of ``calls`` (by column name) and its tags."""

    row: Row
    tags: dict[str, str]


def entry_of(packed: Mapping[str, Any], recorded_at: str) -> Entry:
    """The plain values of one packed event.

    Raises:
        KeyError, ValueError, TypeError, ArithmeticError, AttributeError: it cannot be stored. No retry helps.
    """
    tags = {_fit(key, _KEY_LENGTH): clean_text(value) for key, value in packed.get("tags", {}).items()}
    row: Row = {
        "event_id": UUID(packed["event_id"]).hex,
        "tracked_at": utc_text(datetime.fromisoformat(packed["tracked_at"])),
        "recorded_at": recorded_at,
        "stream": bool(packed.get("stream", False)),
    }
    _add_texts(row, packed)
    _add_amounts(row, packed)
    for name in _TIMES:
        value = packed.get(name)
        row[name] = None if value is None else max(0, min(int(value), MOST_MILLISECONDS))
    receipt = packed.get("receipt", {})
    row["receipt"] = receipt if isinstance(receipt, str) else clean_json(receipt)
    row["tags"] = encode_json(tags)
    return Entry(row, tags)


def _add_texts(row: Row, packed: Mapping[str, Any]) -> None:
    for name, length, is_required, default in _TEXTS:
        value = packed.get(name)
        if value is not None:
            row[name] = _fit(value, length)
        elif is_required:
            raise KeyError(name)
        else:
            row[name] = default


def _add_amounts(row: Row, packed: Mapping[str, Any]) -> None:
    for name in TOKENS:
        value = packed.get(name, 0)
        if not isinstance(value, int) or not -MOST_UNITS <= value <= MOST_UNITS:
            raise ValueError(f"{name} = {value!r} is not a whole number that the ledger can hold")
        row[name] = value
    for name, column in _MONEY_COLUMNS:
        value = packed.get(name)
        row[column] = value if value is None else _nano(name, value)


def cost_columns(costs: Mapping[str, Decimal | None]) -> Row:
    """The columns of what a call costs by our prices, NULL where ``costs`` (USD) does not name them.

    Raises:
        ValueError: an amount is none that the ledger can hold.
    """
    found = ((column, costs.get(name)) for name, column in _MONEY_COLUMNS if name != "provider_cost")
    return {column: None if cost is None else _nano(column, cost) for column, cost in found}


def utc_text(moment: datetime) -> str:
    """``2026-05-01 09:30:00.000000`` in UTC, whatever zone ``moment`` is in."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment!r} has no time zone; the ledger takes aware times only")
    return moment.astimezone(UTC).isoformat(" ", "microseconds")[:-6]


def clean_text(value: object, length: int | None = None) -> str:
    """``value`` as every database takes it: no NUL, no lone surrogate, at most ``length`` characters."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    if not value.isascii():
        value = value.encode("utf-8", "replace").decode("utf-8")
    if "\0" in value:
        value = value.replace("\0", "")
    return value if length is None else value[:length]


def clean_json(value: object) -> str:
    """``value`` as JSON text that PostgreSQL's ``jsonb`` takes too: no NUL, no lone surrogate, no NaN."""
    text = encode_json(value)
    if "\\u0000" in text or "\\ud" in text or "NaN" in text or "Infinity" in text:
        return encode_json(_cleaned(value))
    return text


def tag_digest(key: str, value: str) -> str:
    """What stands for a tag in unique keys: SHA-256 (hexadecimal) of key, NUL and value."""
    return sha256(f"{key}\0{value}".encode()).hexdigest()


def _cleaned(value: object) -> object:
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, Mapping):
        return {clean_text(str(key)): _cleaned(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(held) for held in value]
    if isinstance(value, float) and not Decimal(value).is_finite():
        return None
    return value


def _fit(value: Any, length: int) -> str:
    """``clean_text``, with a short way for what needs no cleaning: nearly everything."""
    if value.__class__ is str and len(value) <= length and value.isascii() and "\0" not in value:
        return str(value)
    return clean_text(value, length)


def _nano(name: str, value: object) -> int:
    if value == "0":
        return 0
    amount = value if isinstance(value, Decimal) else Decimal(str(value))
    nano = int(amount.scaleb(9).to_integral_value(ROUND_HALF_UP))
    if not -MOST_NANO_USD <= nano <= MOST_NANO_USD:
        raise ValueError(f"{name} = {value!r} USD is not an amount that the ledger can hold")
    return nano
