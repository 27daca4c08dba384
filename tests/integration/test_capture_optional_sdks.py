"""SDKs and frameworks beside the big three, for real: one exact row each, and the app sees what it always saw.

Each runs where it is installed; CI installs all of them (``LLM_COST_REQUIRE_SDKS``).
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from flask_llm_cost import LLMCost
from flask_llm_cost.capture.clients import UnknownClientError
from flask_llm_cost.ledger.models import Call
from flask_llm_cost.testing import Answer, ProviderServer
from sdk_calls.endings import ANSWER
from sdk_calls.optional import OptionalCall, module_of, optional_calls
from sdk_calls.rates import true_cost
from sdk_calls.site import TOKENS, Site

MakeApp = Callable[..., tuple[Flask, LLMCost]]

WITH_CLIENTS = ("openai<3", "mistralai", "groq", "cohere", "langchain-openai", "pydantic-ai", "instructor")
HOSTS = {
    "openai": "api.openai.com",
    "mistral": "api.mistral.ai",
    "groq": "api.groq.com",
    "cohere": "api.cohere.com",
}


def expected(call: OptionalCall, host: str) -> dict[str, Any]:
    fresh, cached, out, hidden = call.tokens
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
        "host": host,
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
    return row | {"total_cost": true_cost(call), "cost_status": "complete"}


def ledger_of(llm_cost: LLMCost) -> list[Call]:
    assert llm_cost.flush(timeout=10)
    with llm_cost.session() as session:
        return list(session.query(Call).order_by(Call.id))


def assert_recorded(call: OptionalCall, llm_cost: LLMCost, host: str) -> None:
    (row,) = ledger_of(llm_cost)
    wanted = expected(call, host)
    assert {name: getattr(row, name) for name in wanted} == wanted
    assert (row.first_token_ms is not None) == call.stream


@pytest.mark.parametrize("way", ["wrap", "instrument"])
@pytest.mark.parametrize("call", optional_calls(*WITH_CLIENTS))
def test_a_call_is_one_exact_row_and_the_app_sees_what_it_always_saw(
    call: OptionalCall, way: str, llm_cost: LLMCost, provider: ProviderServer
) -> None:
    """Covers P-CAP-01, P-SDK-01."""
    provider.next(ANSWER, ANSWER)
    without_us = call.ask(Site(provider.url, real_hosts=way == "instrument"))
    assert ledger_of(llm_cost) == []

    if way == "wrap":
        site = Site(provider.url, wrap=llm_cost.wrap)
    else:
        llm_cost.instrument(call.sdk)
        site = Site(provider.url, real_hosts=True)
    with llm_cost.tags(feature="chat", user_id=42):
        with_us = call.ask(site)

    assert with_us == without_us
    assert_recorded(call, llm_cost, HOSTS[call.provider] if way == "instrument" else "127.0.0.1")


@pytest.mark.parametrize("call", [optional_calls(name)[0] for name in WITH_CLIENTS])
def test_wrapped_instrumented_and_under_a_framework_is_still_one_row(
    call: OptionalCall, llm_cost: LLMCost, provider: ProviderServer
) -> None:
    provider.next(ANSWER)
    llm_cost.instrument("all")
    with llm_cost.tags(feature="chat", user_id=42):
        call.ask(Site(provider.url, real_hosts=True, wrap=lambda client: llm_cost.wrap(llm_cost.wrap(client))))

    assert_recorded(call, llm_cost, HOSTS[call.provider])


def wait_for_dropped_streams(llm_cost: LLMCost) -> None:
    """litellm reads some streams to their last event and leaves them open, and its logging thread holds on to them.

    Such a call is recorded when Python drops the stream.
    """
    deadline = time.monotonic() + 10
    while not ledger_of(llm_cost) and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.02)


@pytest.mark.parametrize("call", optional_calls("litellm"))
@pytest.mark.filterwarnings("default")  # litellm warns about its own models, and leaves connections open
def test_litellm_is_one_exact_row_whatever_it_sends_through(
    call: OptionalCall, make_app: MakeApp, provider: ProviderServer
) -> None:
    """Through the openai package, through its own httpx clients and through aiohttp below those."""
    provider.next(ANSWER, ANSWER)
    without_us = call.ask(Site(provider.url))
    app, llm_cost = make_app(LLM_COST_OPENAI_COMPATIBLE_HOSTS={"127.0.0.1": call.provider})
    with app.app_context():
        llm_cost.instrument("litellm", "aiohttp")
        with llm_cost.tags(feature="chat", user_id=42):
            with_us = call.ask(Site(provider.url))

        assert with_us == without_us
        wait_for_dropped_streams(llm_cost)
        assert_recorded(call, llm_cost, "127.0.0.1")


needs_langchain = pytest.mark.skipif(module_of("langchain-openai") is None, reason="langchain-openai is not installed")
needs_pydantic_ai = pytest.mark.skipif(module_of("pydantic-ai") is None, reason="pydantic-ai is not installed")


@pytest.mark.sdks
@needs_langchain
def test_tags_reach_what_langchain_asks_in_threads_and_tasks(llm_cost: LLMCost, provider: ProviderServer) -> None:
    """``batch`` asks in a pool of threads and ``abatch`` in tasks, each with the caller's context."""
    from sdk_calls import langchain_openai_sdk as langchain

    site = Site(provider.url, wrap=llm_cost.wrap)
    with langchain.chat_model(site) as model, llm_cost.tags(feature="batch"):
        model.batch(["a", "b", "c"])

    async def ask() -> None:
        async with langchain.async_chat_model(site) as model:
            with llm_cost.tags(feature="abatch"):
                await model.abatch(["a", "b"])

    asyncio.run(ask())
    assert [row.tags for row in ledger_of(llm_cost)] == [{"feature": "batch"}] * 3 + [{"feature": "abatch"}] * 2


@pytest.mark.sdks
@needs_langchain
def test_every_attempt_of_langchain_is_a_row(llm_cost: LLMCost, provider: ProviderServer) -> None:
    from sdk_calls import langchain_openai_sdk as langchain

    provider.next(Answer(status=500), ANSWER)
    with langchain.chat_model(Site(provider.url, wrap=llm_cost.wrap)) as model:
        model.with_retry(stop_after_attempt=2, wait_exponential_jitter=False).invoke("Why?")
    assert [(row.status, row.total_tokens) for row in ledger_of(llm_cost)] == [("error", 0), ("ok", sum(TOKENS[:3]))]


@pytest.mark.sdks
@needs_pydantic_ai
def test_pydantic_ai_is_watched_on_every_event_loop(llm_cost: LLMCost, provider: ProviderServer) -> None:
    """It makes a new HTTP client when its own is closed or of another loop: wrapped once, all of them are watched."""
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    own = OpenAIProvider(api_key="test", base_url=f"{provider.url}/v1")
    agent = llm_cost.wrap(llm_cost.wrap(Agent(OpenAIChatModel("gpt-4o-mini", provider=own))))
    clients = set()

    async def ask() -> None:
        await agent.run("Why?")
        clients.add(own.client._client)
        await own.client._client.aclose()

    for number in range(3):
        with llm_cost.tags(number=number):
            asyncio.run(ask())

    assert [row.tags for row in ledger_of(llm_cost)] == [{"number": "0"}, {"number": "1"}, {"number": "2"}]
    assert len(clients) == 3


@pytest.mark.sdks
@needs_pydantic_ai
def test_an_agent_without_a_model_of_its_own_is_refused_with_what_to_do_instead(llm_cost: LLMCost) -> None:
    from pydantic_ai import Agent

    with pytest.raises(UnknownClientError, match=r"in pydantic_ai\.agent\.Agent\. Use llm_cost\.instrument"):
        llm_cost.wrap(Agent("openai:gpt-4o-mini", defer_model_check=True))


@pytest.mark.sdks
@pytest.mark.skipif(module_of("litellm") is None, reason="litellm is not installed")
def test_litellm_has_nothing_to_wrap_and_says_what_to_do_instead(llm_cost: LLMCost) -> None:
    import litellm

    with pytest.raises(UnknownClientError, match=r"Use llm_cost\.instrument"):
        llm_cost.wrap(litellm)
