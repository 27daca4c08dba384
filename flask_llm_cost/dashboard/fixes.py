"""Why a call's cost is unknown, and the configuration that mends it for the next one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Protocol


class Unexplained(Protocol):
    """What must be known of a call to explain it."""

    @property
    def provider(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def stream(self) -> bool: ...
    @property
    def operation(self) -> str: ...
    @property
    def usage_source(self) -> str: ...
    @property
    def cost_status(self) -> str | None: ...
    @property
    def unpriced_meters(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class Snippet:
    """Something to copy: what it is for, and the lines."""

    purpose: str
    code: str


@dataclass(frozen=True, slots=True)
class Fix:
    """A reason in one sentence, and what mends it."""

    reason: str
    snippets: tuple[Snippet, ...] = ()


# Spelled as the flat price tables spell them; see pricing/sources.
_FLAT_NAMES = {
    "input": "input",
    "output": "output",
    "cache_read": "cache_read_input",
    "cache_write": "cache_write_input",
}


def fixes(call: Unexplained) -> tuple[Fix, ...]:
    """The reasons why a call has no complete cost; none where it has one."""
    if call.usage_source == "unknown" and call.status != "error":
        return (_no_usage(call),)
    if call.usage_source == "partial" and call.cost_status == "estimated":
        return (Fix("This stream was cut off before its last usage came, so its cost is an estimate."),)
    if call.cost_status == "unknown":
        return (_no_price(call),)
    if call.cost_status == "partial":
        return (_partial(call),)
    return ()


def _no_usage(call: Unexplained) -> Fix:
    priced = "its cost is an estimate" if call.cost_status == "estimated" else "there was nothing to price"
    if not call.stream:
        return Fix(f"The answer did not say what it used, so {priced}.")
    return Fix(
        f"This stream ended without its usage, so {priced}.",
        (
            Snippet(
                "OpenAI and compatible chat completions report a stream’s usage only when asked",
                'client.chat.completions.create(…, stream=True, stream_options={"include_usage": True})',
            ),
            Snippet("Or let it be asked for, without a change to the code", "LLM_COST_INJECT_STREAM_USAGE = True"),
        ),
    )


def _no_price(call: Unexplained) -> Fix:
    key = f"{call.provider}/{call.model}"
    return Fix(
        f"No price table knows {key}.",
        (
            Snippet(
                "State its price, in USD per million tokens",
                f'LLM_COST_PRICING_OVERRIDES = {{{_quoted(key)}: {{"input": "0.00", "output": "0.00"}}}}',
            ),
            Snippet(
                "Or, where it is another name of a model with a known price, say which",
                f'LLM_COST_MODEL_ALIASES = {{{_quoted(call.model)}: "provider/model"}}',
            ),
        ),
    )


def _partial(call: Unexplained) -> Fix:
    missing = call.unpriced_meters
    if not missing:
        return Fix("A part of this call could not be priced as it was served; its cost is a lower bound.")
    key = f"{call.provider}/{call.model}"
    rates = ", ".join(f'{_quoted(_FLAT_NAMES.get(meter, meter))}: "0.00"' for meter in missing)
    return Fix(
        f"The price of {key} says nothing about {', '.join(missing)}; its cost is a lower bound.",
        (Snippet("State what is missing", f"LLM_COST_PRICING_OVERRIDES = {{{_quoted(key)}: {{{rates}}}}}"),),
    )


def _quoted(text: str) -> str:
    """A text as Python and JSON both write it."""
    return json.dumps(text, ensure_ascii=False)
