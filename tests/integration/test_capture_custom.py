"""A provider of the app's own, whichever way its calls go out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import aiohttp
import httpx
import httpx2
import pytest
import requests
from flask import Flask

from flask_llm_cost import ConfigurationError, LLMCost, NotInitializedError
from flask_llm_cost.ledger.models import Call
from flask_llm_cost.providers import JSON, Answer, Provider
from flask_llm_cost.testing import Answer as Told
from flask_llm_cost.testing import ProviderServer

PRICES = {"acme/lumen-1": {"input": "2", "output": "8"}}
COST = (1200 * Decimal(2) + 300 * Decimal(8)) / 1_000_000
WHOLE = Told(body=b'{"lumen": "lumen-1", "used": [1200, 300]}')
STREAM = Told(
    body=b'data: {"text": "Hi"}\n\ndata: {"lumen": "lumen-1", "used": [1200, 300]}\n\n',
    headers={"content-type": "text/event-stream"},
)


def acme(url: str) -> Provider:
    """The provider at that address."""

    class Acme(Provider):
        name, hosts, paths = "acme", (url.removeprefix("http://"),), ("/v2/generate",)

        def read(self, body: JSON, request: JSON) -> Answer | None:
            used: Any = body["used"]
            return Answer(str(body["lumen"]), usage={"input": used[0], "output": used[1]})

        def read_stream(self, events: Sequence[JSON], request: JSON) -> Answer | None:
            return self.read(events[-1], request)

    return Acme()


def by_requests(url: str, _llm_cost: LLMCost) -> bytes:
    with requests.Session() as session:
        return session.post(url, json={"model": "lumen-1"}).content


def by_mount(url: str, llm_cost: LLMCost) -> bytes:
    with llm_cost.mount(requests.Session()) as session:
        return session.post(url, json={}, stream=True).raw.read()


def by_httpx(url: str, _llm_cost: LLMCost) -> bytes:
    with httpx.Client() as client, client.stream("POST", url, json={}) as response:
        return b"".join(response.iter_raw())


def by_wrap(url: str, llm_cost: LLMCost) -> bytes:
    with httpx2.Client() as client:
        return llm_cost.wrap(client).post(url, json={}).read()


def by_transport(url: str, llm_cost: LLMCost) -> bytes:
    with httpx.Client(transport=llm_cost.httpx_transport()) as client:
        return client.post(url, json={}).read()


def by_aiohttp(url: str, _llm_cost: LLMCost) -> bytes:
    async def ask() -> bytes:
        async with aiohttp.ClientSession() as session, session.post(url, json={}) as response:
            return await response.read()

    return asyncio.run(ask())


WAYS = [by_requests, by_mount, by_httpx, by_wrap, by_transport, by_aiohttp]


def rows_of(llm_cost: LLMCost) -> list[Call]:
    assert llm_cost.flush(10)
    with llm_cost.session() as session:
        return list(session.query(Call).order_by(Call.id))


def essence(row: Call) -> tuple[Any, ...]:
    return (row.provider, row.model, row.input_tokens, row.output_tokens, row.total_cost, row.usage_source)


EXACT = ("acme", "lumen-1", 1200, 300, COST)


def test_every_way_in_records_its_answers_and_its_streams(make_app: Any, provider: ProviderServer) -> None:
    """Covers P-PARSE-GEN-12, P-PARSE-GEN-17. The app gets the bytes that were sent; other paths are not recorded."""
    app, llm_cost = make_app(LLM_COST_PROVIDERS=[acme(provider.url)], LLM_COST_PRICING_OVERRIDES=PRICES)
    llm_cost.instrument("requests", "httpx", "aiohttp")
    with app.app_context():
        for way in WAYS:
            provider.next(WHOLE, STREAM)
            for told in (WHOLE, STREAM):
                assert way(f"{provider.url}/v2/generate", llm_cost) == told.body, way
            provider.next(WHOLE)
            way(f"{provider.url}/v2/other", llm_cost)
        rows = rows_of(llm_cost)
    assert [essence(row) for row in rows] == [(*EXACT, "response"), (*EXACT, "stream_final")] * len(WAYS)


def test_a_provider_belongs_to_one_app(make_app: Any, provider: ProviderServer) -> None:
    """The other app keeps seeing what the built-in tables say: nothing, on that host."""
    app, llm_cost = make_app(LLM_COST_PRICING_OVERRIDES=PRICES)
    other, others = make_app()
    with app.app_context():
        given = acme(provider.url)
        assert llm_cost.register_provider(given) is given
    for each, costs in ((app, llm_cost), (other, others)):
        provider.next(WHOLE)
        costs.instrument("requests")
        with each.app_context():
            by_requests(f"{provider.url}/v2/generate", costs)
        costs.uninstrument()
    with app.app_context():
        assert [essence(row) for row in rows_of(llm_cost)] == [(*EXACT, "response")]
    with other.app_context():
        assert rows_of(others) == []


def test_a_parser_that_fails_never_breaks_the_call(
    make_app: Any, provider: ProviderServer, caplog: pytest.LogCaptureFixture
) -> None:
    app, llm_cost = make_app(LLM_COST_PROVIDERS=[acme(provider.url)])
    secret = b'{"lumen": "lumen-1", "unused": "a private sentence"}'
    provider.next(*[Told(body=secret)] * 2)
    with app.app_context(), caplog.at_level(logging.DEBUG, "flask_llm_cost.providers"):
        llm_cost.instrument("requests")
        for _ in range(2):
            assert by_requests(f"{provider.url}/v2/generate", llm_cost) == secret
        rows = rows_of(llm_cost)
    assert [essence(row) for row in rows] == [("acme", "lumen-1", 0, 0, None, "unknown")] * 2
    lines = [record.getMessage() for record in caplog.records if "Acme.read" in record.getMessage()]
    assert len(lines) == 1
    assert "KeyError" in lines[0]
    assert "private" not in caplog.text


def test_a_stream_tracked_by_hand_is_read_by_the_provider_of_that_name(make_app: Any) -> None:
    app, llm_cost = make_app(LLM_COST_PROVIDERS=[acme("http://acme.example")], LLM_COST_PRICING_OVERRIDES=PRICES)
    with app.app_context():
        with llm_cost.track_stream(provider="acme") as stream:
            stream.event({"text": "Hi"}).event({"lumen": "lumen-1", "used": [1200, 300]})
        assert [essence(row) for row in rows_of(llm_cost)] == [(*EXACT, "stream_final")]


def test_a_provider_that_cannot_be_used_stops_start_up(make_app: Any) -> None:
    """Covers P-PARSE-GEN-13."""
    for value, message in (
        (["shop.llm"], "LLM_COST_PROVIDERS: 'shop.llm' is allowed as 'package.module:Name'."),
        ("shop.llm:Acme", "LLM_COST_PROVIDERS = 'shop.llm:Acme': a list is allowed."),
    ):
        refused = Flask(__name__)
        refused.config["LLM_COST_PROVIDERS"] = value
        with pytest.raises(ConfigurationError) as caught:
            LLMCost(refused)
        assert str(caught.value) == message
    app, llm_cost = make_app()
    with app.app_context(), pytest.raises(ConfigurationError, match=r"^register_provider\(\): 3 is no provider;"):
        llm_cost.register_provider(3)
    with pytest.raises(NotInitializedError, match="no app is initialised yet"):
        LLMCost().register_provider(acme("http://acme.example"))
