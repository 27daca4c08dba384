"""What the models of the calls cost, from the providers' price pages (November 2026), not from the catalogue."""

from __future__ import annotations

from decimal import Decimal

from sdk_calls.site import SDKCall, Tokens

# Fresh input, cached input and output in USD per million tokens.
_GPT_4O_MINI = (Decimal("0.15"), Decimal("0.075"), Decimal("0.60"))
_HAIKU = (Decimal(1), Decimal("0.10"), Decimal(5))
_HAIKU_IN_A_REGION = (Decimal("1.10"), Decimal("0.11"), Decimal("5.50"))
RATES = {
    "gpt-4o-mini-2024-07-18": _GPT_4O_MINI,
    "claude-haiku-4-5-20251001": _HAIKU,
    # On Vertex AI and Bedrock in one region: a tenth more than "global".
    "claude-haiku-4-5@20251001": _HAIKU_IN_A_REGION,
    "anthropic.claude-haiku-4-5-20251001-v1:0": _HAIKU_IN_A_REGION,
    "gemini-2.5-flash": (Decimal("0.30"), Decimal("0.03"), Decimal("2.50")),
    "gemini-embedding-001": (Decimal("0.15"), Decimal(0), Decimal(0)),
    "text-embedding-3-small": (Decimal("0.02"), Decimal(0), Decimal(0)),
    "omni-moderation-latest": (Decimal(0), Decimal(0), Decimal(0)),
    "ministral-8b-2512": (Decimal("0.15"), Decimal("0.015"), Decimal("0.15")),
    "mistral-embed": (Decimal("0.1"), Decimal(0), Decimal(0)),
    "openai/gpt-oss-20b": (Decimal("0.075"), Decimal("0.0375"), Decimal("0.30")),
    "command-a-03-2025": (Decimal("2.5"), Decimal(0), Decimal(10)),
    "embed-v4.0": (Decimal("0.12"), Decimal(0), Decimal(0)),
    "rerank-v3.5": (Decimal(0), Decimal(0), Decimal(0)),
}
# USD per search, of which each call makes one.
SEARCHES = {"rerank-v3.5": Decimal("0.002")}


def true_cost(call: SDKCall) -> Decimal:
    """USD of the programmed answer to a call."""
    return cost_of(call.model, call.tokens)


def cost_of(model: str, tokens: Tokens) -> Decimal:
    fresh, cached, output, _ = tokens
    rates = RATES[model]
    by_token = (fresh * rates[0] + cached * rates[1] + output * rates[2]) / Decimal(1_000_000)
    return by_token + SEARCHES.get(model, 0)
