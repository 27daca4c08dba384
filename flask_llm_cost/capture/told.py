"""What the app says of a call itself: the ledger's names in, disjoint meters out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from flask_llm_cost.usage import NO_USAGE, Quantity, Reading, Usage, UsageSource


@dataclass(frozen=True, slots=True)
class Told:
    """What ``track`` and ``usage`` are told, checked.

    Attributes:
        usage: meter → quantity.
        raw: the same, by the names it was told in.
    """

    usage: Usage
    raw: Mapping[str, int]


def told(
    *,
    input_tokens: int = 0,
    output_tokens: int = 0,
    cache_read_input_tokens: int = 0,
    cache_write_input_tokens: int = 0,
    cache_write_1h_input_tokens: int = 0,
    hidden_output_tokens: int = 0,
) -> Told:
    """Disjoint meters from the ledger's names: input without cached tokens, output with hidden ones.

    Raises:
        ValueError: a count is negative, no whole number, or a part larger than its whole.
    """
    counts = {
        "input_tokens": _count("input_tokens", input_tokens),
        "output_tokens": _count("output_tokens", output_tokens),
        "cache_read_input_tokens": _count("cache_read_input_tokens", cache_read_input_tokens),
        "cache_write_input_tokens": _count("cache_write_input_tokens", cache_write_input_tokens),
        "cache_write_1h_input_tokens": _count("cache_write_1h_input_tokens", cache_write_1h_input_tokens),
        "hidden_output_tokens": _count("hidden_output_tokens", hidden_output_tokens),
    }
    visible = counts["output_tokens"] - counts["hidden_output_tokens"]
    short_lived = counts["cache_write_input_tokens"] - counts["cache_write_1h_input_tokens"]
    if visible < 0:
        raise ValueError(
            f"hidden_output_tokens = {hidden_output_tokens!r} is more than output_tokens = {output_tokens!r}"
        )
    if short_lived < 0:
        raise ValueError(
            f"cache_write_1h_input_tokens = {cache_write_1h_input_tokens!r} is more than "
            f"cache_write_input_tokens = {cache_write_input_tokens!r}"
        )
    meters: dict[str, Quantity] = {
        "input": counts["input_tokens"],
        "cache_read": counts["cache_read_input_tokens"],
        "cache_write": short_lived,
        "cache_write.1h": counts["cache_write_1h_input_tokens"],
        "output": visible,
        "output.reasoning": counts["hidden_output_tokens"],
    }
    always = ("input", "output")
    return Told(
        MappingProxyType({name: count for name, count in meters.items() if count or name in always}),
        MappingProxyType({name: count for name, count in counts.items() if count}),
    )


def _count(name: str, value: object) -> int:
    try:
        count = int(value)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        raise ValueError(f"{name} = {value!r}: a whole number of at least 0 is allowed") from None
    if count < 0:
        raise ValueError(f"{name} = {value!r}: a whole number of at least 0 is allowed")
    return int(count)


def mode_of(pricing_mode: str | None) -> str | None:
    """The tier as the ledger keeps it: trimmed; blank and "standard" are none."""
    mode = (pricing_mode or "").strip()
    return None if mode in ("", "standard") else mode


def model_of(model: object) -> str:
    return str(model).strip() if model is not None and str(model).strip() else "unknown"


def reading_of(
    provider: str,
    model: object,
    counts: Told,
    *,
    pricing_mode: str | None,
    provider_response_id: str | None,
    stream: bool,
    usage_source: UsageSource = "manual",
) -> Reading:
    """A reading from what the app says."""
    name = model_of(model)
    return Reading(
        provider=str(provider),
        model=name,
        usage=counts.usage or NO_USAGE,
        request_model=None if name == "unknown" else name,
        stream=bool(stream),
        pricing_mode=mode_of(pricing_mode),
        provider_response_id=provider_response_id or None,
        usage_source=usage_source,
        raw_usage=counts.raw,
    )
