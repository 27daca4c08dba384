"""The real SDKs over a real socket: the whole event, and the SDK's own answer as it is without us."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import openai
import pytest

from flask_llm_cost import LLMCost
from flask_llm_cost.ledger.models import Call
from flask_llm_cost.testing import Answer, ProviderServer
from sdk_calls import SDK_CALLS
from sdk_calls.openai_sdk import OPENAI_MODEL, openai_client
from sdk_calls.site import QUESTION, SDKCall, Site

ReadCalls = Callable[[], list[Call]]

ANSWER = Answer(
    text="The capital is Paris.",
    input_tokens=1000,
    cache_read_input_tokens=200,
    output_tokens=50,
    hidden_output_tokens=10,
    response_id="answer-1",
    created_at=1_760_000_000,
)

# Fresh input, cached input and output in USD per million tokens: the providers' price pages, November 2026.
RATES = {
    "openai": (Decimal("0.15"), Decimal("0.075"), Decimal("0.60")),
    "anthropic": (Decimal("1"), Decimal("0.10"), Decimal("5")),
    "gemini": (Decimal("0.30"), Decimal("0.03"), Decimal("2.50")),
}

HOSTS = {
    "openai": "api.openai.com",
    "anthropic": "api.anthropic.com",
    "gemini": "generativelanguage.googleapis.com",
}

WAYS = ("wrap", "instrument")


def site_of(way: str, llm_cost: LLMCost, url: str) -> Site:
    """Explicitly wrapped clients are recorded whatever their host; instrumented ones go to the real host names."""
    if way == "wrap":
        return Site(url, wrap=llm_cost.wrap)
    llm_cost.instrument("openai", "anthropic", "google-genai")
    return Site(url, real_hosts=True)


def ledger_of(llm_cost: LLMCost) -> list[Call]:
    assert llm_cost.flush(timeout=10)
    with llm_cost.session() as session:
        return list(session.query(Call).order_by(Call.id))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("call", SDK_CALLS, ids=lambda call: call.name)
def test_a_call_is_one_exact_row_and_the_app_sees_what_it_always_saw(
    call: SDKCall, way: str, llm_cost: LLMCost, provider: ProviderServer
) -> None:
    """Covers P-CAP-01, P-SDK-01, P-SDK-02, P-SDK-03, P-SDK-04, P-SDK-10, P-SDK-11, P-SDK-12."""
    provider.next(ANSWER, ANSWER)
    without_us = call.ask(Site(provider.url, real_hosts=way == "instrument"))
    assert ledger_of(llm_cost) == []

    site = site_of(way, llm_cost, provider.url)
    with llm_cost.tags(feature="chat", user_id=42):
        with_us = call.ask(site)

    assert with_us == without_us
    (row,) = ledger_of(llm_cost)
    fresh, cached, out = RATES[call.provider]
    million = Decimal(1_000_000)
    assert {name: getattr(row, name) for name in EXPECTED} == EXPECTED | {
        "provider": call.provider,
        "model": call.model,
        "request_model": row.request_model,
        "stream": call.stream,
        "usage_source": "stream_final" if call.stream else "response",
        "input_cost": 1000 * fresh / million,
        "cache_read_cost": 200 * cached / million,
        "output_cost": 50 * out / million,
        "total_cost": (1000 * fresh + 200 * cached + 50 * out) / million,
        "cache_saved": 200 * (fresh - cached) / million,
        "host": HOSTS[call.provider] if way == "instrument" else "127.0.0.1",
    }
    assert row.request_model == call.model.removesuffix("-2024-07-18").removesuffix("-20251001")
    assert row.latency_ms is not None
    assert (row.first_token_ms is not None) == call.stream
    assert row.receipt["total"] == format(row.total_cost, "f")
    assert row.captured_by == ("aiohttp" if way == "wrap" and call.name.startswith("gemini, async") else "httpx2")


EXPECTED: dict[str, Any] = {
    "provider": "",
    "model": "",
    "request_model": "",
    "stream": False,
    "usage_source": "response",
    "status": "ok",
    "error_type": None,
    "pricing_mode": None,
    "input_tokens": 1000,
    "cache_read_input_tokens": 200,
    "cache_write_input_tokens": 0,
    "cache_write_1h_input_tokens": 0,
    "output_tokens": 50,
    "hidden_output_tokens": 10,
    "total_tokens": 1250,
    "input_cost": None,
    "cache_read_cost": None,
    "cache_write_cost": Decimal(0),
    "output_cost": None,
    "other_cost": Decimal(0),
    "total_cost": None,
    "cache_saved": None,
    "provider_cost": None,
    "cost_status": "complete",
    "provider_response_id": "answer-1",
    "host": "127.0.0.1",
    "tags": {"feature": "chat", "user_id": "42"},
}


def test_the_sdks_own_retries_are_attempts_of_their_own(llm_cost: LLMCost, provider: ProviderServer) -> None:
    """429, 500, 200: three rows, of which only the last costs anything. Covers P-CAP-23, P-CAP-24."""
    provider.next(Answer(status=429, retry_after_s=0), Answer(status=500), ANSWER)
    client = llm_cost.wrap(openai.OpenAI(base_url=f"{provider.url}/v1", api_key="test", max_retries=2))
    with client:
        client.chat.completions.create(model=OPENAI_MODEL, messages=QUESTION)

    rows = ledger_of(llm_cost)
    assert [(row.status, row.cost_status, row.total_cost) for row in rows] == [
        ("error", None, None),
        ("error", None, None),
        ("ok", "complete", Decimal("0.000195")),
    ]
    assert [row.error_type for row in rows] == ["rate_limit_exceeded", "server_error", None]


def test_a_stream_without_usage_is_kept_with_unknown_usage_and_an_estimate(
    llm_cost: LLMCost, provider: ProviderServer
) -> None:
    """Covers P-CAP-18, P-PRC-22."""
    provider.next(ANSWER)
    with openai_client(Site(provider.url, wrap=llm_cost.wrap)) as client:
        chunks = list(client.chat.completions.create(model=OPENAI_MODEL, messages=QUESTION, stream=True))

    (row,) = ledger_of(llm_cost)
    assert len(chunks) > 1
    assert (row.status, row.usage_source, row.cost_status, row.total_cost) == ("ok", "unknown", "estimated", None)
    assert (row.model, row.provider_response_id) == ("gpt-4o-mini-2024-07-18", "answer-1")


def test_a_stream_left_half_way_is_recorded_once_as_cancelled(llm_cost: LLMCost, provider: ProviderServer) -> None:
    """Covers P-SDK-38, P-SDK-39, P-SDK-40."""
    provider.next(ANSWER)
    with openai_client(Site(provider.url, wrap=llm_cost.wrap)) as client:
        stream = client.chat.completions.create(model=OPENAI_MODEL, messages=QUESTION, stream=True)
        next(iter(stream))
        stream.close()
        stream.close()

    (row,) = ledger_of(llm_cost)
    assert (row.status, row.usage_source, row.total_cost) == ("cancelled", "unknown", None)
    assert row.provider_response_id == "answer-1"


def test_a_stream_that_nobody_reads_is_recorded_when_it_is_dropped(llm_cost: LLMCost, provider: ProviderServer) -> None:
    provider.next(ANSWER)
    with openai_client(Site(provider.url, wrap=llm_cost.wrap)) as client:
        client.chat.completions.create(model=OPENAI_MODEL, messages=QUESTION, stream=True).close()

    (row,) = ledger_of(llm_cost)
    assert (row.status, row.usage_source, row.total_cost, row.model) == ("cancelled", "unknown", None, OPENAI_MODEL)


def test_with_options_and_copies_are_watched_too(llm_cost: LLMCost, provider: ProviderServer) -> None:
    provider.next(ANSWER, ANSWER)
    with openai_client(Site(provider.url, wrap=llm_cost.wrap)) as client:
        client.with_options(timeout=5).chat.completions.create(model=OPENAI_MODEL, messages=QUESTION)
        client.chat.completions.with_raw_response.create(model=OPENAI_MODEL, messages=QUESTION).parse()
    assert [row.total_tokens for row in ledger_of(llm_cost)] == [1250, 1250]


def test_an_error_reaches_the_app_as_the_sdks_own(llm_cost: LLMCost, provider: ProviderServer) -> None:
    """Covers P-LOG-03."""
    provider.next(Answer(status=401))
    with (
        openai_client(Site(provider.url, wrap=llm_cost.wrap)) as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.chat.completions.create(model=OPENAI_MODEL, messages=QUESTION)
    (row,) = ledger_of(llm_cost)
    assert (row.status, row.error_type, row.cost_status) == ("error", "invalid_api_key", None)
