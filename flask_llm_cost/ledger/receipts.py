"""The receipt as the ledger keeps it, and the way back: from a stored call to the reading that it was priced from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from flask_llm_cost.pricing.costing import Cost
from flask_llm_cost.usage import Bounds, ModelUsage, Quantity, Reading, Usage

BOUNDS_ONLY = "usage_not_reported"
OF_THE_PRICE = frozenset(
    {"total", "status", "lines", "lines_high", "key", "layer", "stage", "source", "effective_from", "reason"}
)
"""What of a stored receipt another price replaces. The rest is about the call."""

JSON = Mapping[str, Any]


def stored_receipt(reading: Reading, cost: Cost) -> dict[str, object]:
    """The JSON to keep: the price, and of the call what pricing it again needs and no column holds."""
    packed = cost.as_dict()
    if reading.raw_usage:
        packed["raw_usage"] = dict(reading.raw_usage)
    if reading.notes:
        packed["notes"] = list(reading.notes)
    if reading.bounds is not None:
        packed["bounds"] = _packed_bounds(reading.bounds, reading.usage)
    for name in ("geo", "speed"):
        if (value := getattr(reading, name)) is not None:
            packed[name] = value
    return packed


def reading_of(call: JSON) -> Reading:
    """The reading that a call (column → value, ``receipt`` as a mapping) was priced from, as far as prices go.

    Raises:
        KeyError, TypeError, ValueError, ArithmeticError, AttributeError: its receipt is none of ours.
    """
    receipt = call["receipt"]
    lines = receipt.get("lines", ())
    bounds, usage = _bounds(receipt, lines)
    if bounds is None:
        usage = _usage(_own(lines)) if lines else _usage_of_columns(call)
    return Reading(
        provider=call["provider"],
        model=call["model"],
        usage=usage,
        request_model=call["request_model"],
        status=call["status"],
        pricing_mode=call["pricing_mode"],
        geo=receipt.get("geo"),
        speed=receipt.get("speed"),
        usage_source=call["usage_source"],
        extra=_extra(lines),
        bounds=bounds,
    )


def _packed_bounds(bounds: Bounds, told: Usage) -> dict[str, object]:
    return {
        "told": _packed(told),
        "low": _packed(bounds.low),
        "high": None if bounds.high is None else _packed(bounds.high),
    }


def _packed(usage: Usage) -> dict[str, int | str]:
    return {name: count if isinstance(count, int) else format(count, "f") for name, count in usage.items()}


def _unpacked(kept: Mapping[str, int | str]) -> Usage:
    return MappingProxyType({name: _quantity(count) for name, count in kept.items()})


def _quantity(kept: int | str) -> Quantity:
    return kept if isinstance(kept, int) else Decimal(kept)


def _bounds(receipt: JSON, lines: Sequence[JSON]) -> tuple[Bounds | None, Usage]:
    """The bounds of a call whose usage is not fully known, and the usage that its answer did tell."""
    kept = receipt.get("bounds")
    if kept is not None:
        high = kept["high"]
        return Bounds(_unpacked(kept["low"]), None if high is None else _unpacked(high)), _unpacked(kept["told"])
    if receipt.get("reason") != BOUNDS_ONLY:
        return None, _usage(())
    most = receipt.get("lines_high")
    return Bounds(_usage(_own(lines)), None if most is None else _usage(_own(most))), _usage(())


def _own(lines: Sequence[JSON]) -> list[JSON]:
    return [line for line in lines if "model" not in line]


def _usage(lines: Sequence[JSON]) -> Usage:
    return MappingProxyType({line["meter"]: _quantity(line["quantity"]) for line in lines})


def _extra(lines: Sequence[JSON]) -> tuple[ModelUsage, ...]:
    """What other models did: a usage ends where the model changes, or a meter comes again."""
    parts: list[tuple[str, list[JSON]]] = []
    for line in lines:
        if "model" not in line:
            continue
        same = parts and parts[-1][0] == line["model"]
        if not same or any(line["meter"] == held["meter"] for held in parts[-1][1]):
            parts.append((line["model"], []))
        parts[-1][1].append(line)
    return tuple(ModelUsage(model, _usage(part)) for model, part in parts)


def _usage_of_columns(call: JSON) -> Usage:
    """The usage of a call whose receipt has no lines: the columns know the tokens, not their modality."""
    written_1h, hidden = call["cache_write_1h_input_tokens"], call["hidden_output_tokens"]
    counts = {
        "input": call["input_tokens"],
        "cache_read": call["cache_read_input_tokens"],
        "cache_write": call["cache_write_input_tokens"] - written_1h,
        "cache_write.1h": written_1h,
        "output": call["output_tokens"] - hidden,
        "output.reasoning": hidden,
    }
    return MappingProxyType({name: count for name, count in counts.items() if count})
