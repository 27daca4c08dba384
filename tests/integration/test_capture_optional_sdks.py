"""SDKs and frameworks beside the big three, for real: one exact row each, and the app sees what it always saw.

Each runs where it is installed; CI installs all of them (``LLM_COST_REQUIRE_SDKS``).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from flask_llm_cost import LLMCost
from flask_llm_cost.ledger.models import Call
from flask_llm_cost.testing import Answer, ProviderServer
from sdk_calls.optional import OptionalCall, optional_calls
from sdk_calls.site import Site

# JSON, for the frameworks that parse it; as text it is as good as any.
ANSWER = Answer(
    text='{"city": "Paris"}',
    input_tokens=1000,
    cache_read_input_tokens=200,
    output_tokens=50,
    hidden_output_tokens=10,
    response_id="answer-1",
    created_at=1_760_000_000,
)

# Fresh input, cached input and output in USD per million tokens: the providers' price pages, November 2026.
RATES = {
    "gpt-4o-mini-2024-07-18": (Decimal("0.15"), Decimal("0.075"), Decimal("0.60")),
    "text-embedding-3-small": (Decimal("0.02"), Decimal(0), Decimal(0)),
    "ministral-8b-2512": (Decimal("0.15"), Decimal("0.015"), Decimal("0.15")),
    "mistral-embed": (Decimal("0.1"), Decimal(0), Decimal(0)),
    "openai/gpt-oss-20b": (Decimal("0.075"), Decimal("0.0375"), Decimal("0.30")),
    "command-a-03-2025": (Decimal("2.5"), Decimal(0), Decimal(10)),
    "embed-v4.0": (Decimal("0.12"), Decimal(0), Decimal(0)),
}
HOSTS = {
    "openai": "api.openai.com",
    "anthropic": "api.anthropic.com",
    "mistral": "api.mistral.ai",
    "groq": "api.groq.com",
    "cohere": "api.cohere.com",
}


def counts_of(call: OptionalCall) -> tuple[int, int, int, int]:
    """Fresh input, cached input, output and hidden output, as far as the API has words for them."""
    if call.operation == "rerank":
        return 0, 0, 0, 0
    if call.operation == "embeddings":
        return 1000, 0, 0, 0
    if call.provider == "cohere":
        return 1200, 0, 50, 0
    return 1000, 200, 50, 0 if call.provider == "mistral" else 10


def expected(call: OptionalCall, way: str) -> dict[str, Any]:
    fresh, cached, out, hidden = counts_of(call)
    row = {
        "provider": call.provider,
        "model": call.model,
        "request_model": call.asked,
        "operation": call.operation,
        "status": "ok",
        "error_type": None,
        "stream": call.stream,
        "usage_source": "stream_final" if call.stream else "response",
        "captured_by": call.http,
        "host": HOSTS[call.provider] if way == "instrument" else "127.0.0.1",
        "input_tokens": fresh,
        "cache_read_input_tokens": cached,
        "output_tokens": out,
        "hidden_output_tokens": hidden,
        "total_tokens": fresh + cached + out,
        "provider_response_id": None if call.sdk != "mistralai" and call.operation == "embeddings" else "answer-1",
        "tags": {"feature": "chat", "user_id": "42"},
    }
    if call.provider == "cohere" and call.operation == "embeddings":
        row["provider_response_id"] = "answer-1"
    if call.operation == "rerank":
        return row | {"total_cost": None, "cost_status": "unknown"}
    rates = RATES[call.model]
    total = (fresh * rates[0] + cached * rates[1] + out * rates[2]) / Decimal(1_000_000)
    return row | {"total_cost": total, "cost_status": "complete"}


def ledger_of(llm_cost: LLMCost) -> list[Call]:
    assert llm_cost.flush(timeout=10)
    with llm_cost.session() as session:
        return list(session.query(Call).order_by(Call.id))


def site_of(call: OptionalCall, way: str, llm_cost: LLMCost, url: str) -> Site:
    if way == "wrap":
        return Site(url, wrap=llm_cost.wrap)
    llm_cost.instrument(call.sdk)
    # Both at once must still be one row.
    return Site(url, real_hosts=True, wrap=llm_cost.wrap if way == "both" and call.wrappable else lambda client: client)


@pytest.mark.parametrize("way", ["wrap", "instrument", "both"])
@pytest.mark.parametrize("call", list(optional_calls()))
def test_a_call_is_one_exact_row_and_the_app_sees_what_it_always_saw(
    call: OptionalCall, way: str, llm_cost: LLMCost, provider: ProviderServer
) -> None:
    if way != "instrument" and not call.wrappable:
        pytest.skip(f"{call.sdk} has no client object to wrap")
    provider.next(ANSWER, ANSWER)
    without_us = call.ask(Site(provider.url, real_hosts=way != "wrap"))
    assert ledger_of(llm_cost) == []

    site = site_of(call, way, llm_cost, provider.url)
    with llm_cost.tags(feature="chat", user_id=42):
        with_us = call.ask(site)

    assert with_us == without_us
    (row,) = ledger_of(llm_cost)
    wanted = expected(call, "wrap" if way == "wrap" else "instrument")
    assert {name: getattr(row, name) for name in wanted} == wanted
    assert (row.first_token_ms is not None) == call.stream
