"""Calls to models that are not recorded: counted by host, told once, shown where spend is shown."""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import UTC, date, datetime, timedelta
from typing import Any

import aiohttp
import httpx
import httpx2
import pytest
import requests
from flask import Flask

from conftest import MakeApp
from flask_llm_cost import LLMCost
from flask_llm_cost.ledger import Ledger
from flask_llm_cost.ledger.leaks import OTHER_HOSTS, Leak
from flask_llm_cost.ledger.models import Call, Meta
from flask_llm_cost.queries.leaks import leaks_since
from flask_llm_cost.testing import Answer, ProviderServer

REQUEST = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}
USAGE = b'{"usage": {"input_tokens": 3, "output_tokens": 4}}'


def today() -> date:
    return datetime.now(UTC).date()


def leaks(llm_cost: LLMCost) -> dict[str, int]:
    assert llm_cost.flush(5)
    with llm_cost.session() as session:
        assert session.query(Call).count() == 0
        return {leak.host: leak.calls for leak in leaks_since(session, today() - timedelta(days=1))}


def with_httpx(family: Any, url: str, **options: Any) -> bytes:
    with family.Client() as client:
        return bytes(client.post(url, **options).content)


def with_httpx_async(family: Any, url: str, **options: Any) -> bytes:
    async def ask() -> bytes:
        async with family.AsyncClient() as client:
            return bytes((await client.post(url, **options)).content)

    return asyncio.run(ask())


def with_requests(url: str, **options: Any) -> bytes:
    return requests.post(url, timeout=5, **options).content


def with_aiohttp(url: str, **options: Any) -> bytes:
    async def ask() -> bytes:
        async with aiohttp.ClientSession() as session, session.post(url, **options) as response:
            return await response.read()

    return asyncio.run(ask())


@pytest.fixture
def watched(make_app: MakeApp) -> LLMCost:
    _, llm_cost = make_app()
    llm_cost.instrument("httpx", "requests", "aiohttp")
    return llm_cost


@pytest.mark.parametrize(
    "ask",
    [
        lambda url, **options: with_httpx(httpx, url, **options),
        lambda url, **options: with_httpx_async(httpx2, url, **options),
        with_requests,
        with_aiohttp,
    ],
    ids=["httpx", "httpx2, async", "requests", "aiohttp"],
)
def test_an_unknown_host_that_serves_a_model_is_counted_on_every_stack(
    ask: Any, watched: LLMCost, provider: ProviderServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The app sees its answer; the log names the host and the setting, once; nothing else of the call is kept.

    Covers P-CAP-09: no query string in a warning.
    """
    for _ in range(3):
        answer = ask(f"{provider.url}/v1/chat/completions?key=secret", json=REQUEST)
        assert json.loads(answer)["object"] == "chat.completion"
    assert leaks(watched) == {"127.0.0.1": 3}
    expected = (
        "Calls to 127.0.0.1 look like calls to a model, and are not recorded. Set LLM_COST_OPENAI_COMPATIBLE_HOSTS = "
        "{'127.0.0.1': \"openai\"}, or whose models it has; or ignore them: LLM_COST_IGNORED_HOSTS = ['127.0.0.1']."
    )
    assert [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING] == [expected]
    with watched.session() as session:
        (kept,) = session.query(Meta.value).filter(Meta.name.startswith("leak:")).one()
    assert json.loads(kept) == {
        "host": "127.0.0.1",
        "known_host": False,
        "calls": 3,
        "first_day": today().isoformat(),
        "last_day": today().isoformat(),
    }


def test_a_stream_is_counted_without_being_touched(watched: LLMCost, provider: ProviderServer) -> None:
    url = f"{provider.url}/v1/chat/completions"
    with httpx.Client() as client, client.stream("POST", url, json={**REQUEST, "stream": True}) as response:
        assert type(response.stream).__module__.startswith("httpx")
        assert response.read().endswith(b"data: [DONE]\n\n")
    assert leaks(watched) == {"127.0.0.1": 1}


@pytest.mark.parametrize(
    ("path", "answer", "count"),
    [
        ("/v1/messages", Answer(body=USAGE), 1),
        ("/v1/messages", Answer(body=b'{"message_uuid": "1"}'), 0),
        ("/v1/responses", Answer(body=USAGE), 1),
        ("/v1/chat/completions", Answer(status=500), 0),
        ("/v1/files", Answer(body=USAGE), 0),
    ],
)
def test_an_ambiguous_path_counts_only_with_an_answer_that_reports_tokens(
    path: str, answer: Answer, count: int, watched: LLMCost, provider: ProviderServer
) -> None:
    provider.next(answer)
    with_httpx(httpx, provider.url + path, json=REQUEST)
    assert leaks(watched) == ({"127.0.0.1": count} if count else {})


def test_a_get_is_never_counted(watched: LLMCost, provider: ProviderServer) -> None:
    httpx.get(f"{provider.url}/v1/chat/completions")
    assert leaks(watched) == {}


def test_a_providers_own_host_on_a_path_that_no_rule_covers_is_counted(
    watched: LLMCost, caplog: pytest.LogCaptureFixture
) -> None:
    transport = httpx.MockTransport(lambda _request: httpx.Response(200, json={}))
    with httpx.Client(transport=transport) as client:
        for path in ("realtime/calls", "realtime/calls", "files", "models"):
            client.post(f"https://api.openai.com/v1/{path}", json={})
    assert leaks(watched) == {"api.openai.com": 2}
    assert "llm_cost.track(…)" in caplog.text


def test_ignored_hosts_and_a_switched_off_extension_count_nothing(make_app: MakeApp, provider: ProviderServer) -> None:
    app, llm_cost = make_app(LLM_COST_IGNORED_HOSTS=["127.0.0.1"])
    with app.app_context():
        llm_cost.instrument("httpx")
        with_httpx(httpx, f"{provider.url}/v1/chat/completions", json=REQUEST)
        app.config["LLM_COST_ENABLED"] = False
        with_httpx(httpx, provider.url.replace("127.0.0.1", "localhost") + "/v1/chat/completions", json=REQUEST)
        assert leaks(llm_cost) == {}


def test_several_ways_in_count_once(watched: LLMCost, provider: ProviderServer) -> None:
    with httpx.Client() as client:
        watched.instrument("httpx")
        client.post(f"{provider.url}/v1/chat/completions", json=REQUEST)
    assert leaks(watched) == {"127.0.0.1": 1}


def test_counts_of_several_processes_add_up_on_every_database(ledger: Ledger, open_ledger: Any) -> None:
    other = open_ledger(ledger.engine.url, durability="sync")
    for each, count in ((ledger, 2), (other, 3), (ledger, 1)):
        for _ in range(count):
            each.count_leak("llm.internal", known_host=False)
        assert each.flush(5)
    with ledger.session() as session:
        assert leaks_since(session, today()) == (Leak("llm.internal", False, 6, today(), today()),)
        assert leaks_since(session, today() + timedelta(days=1)) == ()


def test_the_shipper_writes_them_by_itself(open_ledger: Any, sqlite_url: Any) -> None:
    """Nobody flushes, and no event is recorded."""
    ledger = open_ledger(sqlite_url, durability="spool")
    ledger.count_leak("llm.internal", known_host=False)
    deadline = datetime.now(UTC) + timedelta(seconds=10)
    found: tuple[Leak, ...] = ()
    while not found and datetime.now(UTC) < deadline:
        with ledger.session() as session:
            found = leaks_since(session, today())
    assert [leak.calls for leak in found] == [1]


def test_counts_wait_while_the_ledger_has_no_tables(open_ledger: Any, sqlite_url: Any) -> None:
    ledger = open_ledger(sqlite_url, durability="sync", migrate=False)
    ledger.count_leak("llm.internal", known_host=False)
    ledger.flush(0.1)
    ledger.upgrade()
    ledger.count_leak("llm.internal", known_host=False)
    ledger.flush(5)
    with ledger.session() as session:
        assert [leak.calls for leak in leaks_since(session, today())] == [2]


def test_the_number_of_hosts_is_bounded(open_ledger: Any, sqlite_url: Any) -> None:
    ledger = open_ledger(sqlite_url, durability="sync")
    for number in range(120):
        ledger.count_leak(f"host{number}.internal", known_host=False)
    ledger.flush(5)
    again = open_ledger(sqlite_url, durability="sync", migrate=False)
    again.count_leak("another.internal", known_host=False)
    again.flush(5)
    with ledger.session() as session:
        found = {leak.host: leak.calls for leak in leaks_since(session, today())}
    assert len(found) == 100
    assert found[OTHER_HOSTS] == 22
    assert sum(found.values()) == 121
    assert "another.internal" not in found


class TestShown:
    @pytest.fixture
    def leaking(self, app: Flask, llm_cost: LLMCost) -> LLMCost:
        for _ in range(2):
            app.extensions["llm_cost"].ledger.count_leak("llm.internal", known_host=False)
        llm_cost.flush(5)
        return llm_cost

    def test_the_report_names_the_host_and_the_setting(self, app: Flask, leaking: LLMCost) -> None:
        text = app.test_cli_runner().invoke(args=["llm-cost", "report"]).output
        assert (
            f"2 calls to llm.internal since {today()}, the last on {today()}. Set LLM_COST_OPENAI_COMPATIBLE_HOSTS = "
            "{'llm.internal': \"openai\"}, or whose models it has;"
        ) in text

    def test_the_report_for_machines_has_them(self, app: Flask, leaking: LLMCost) -> None:
        report = json.loads(app.test_cli_runner().invoke(args=["llm-cost", "report", "--json"]).output)
        (leak,) = report["unrecorded_hosts"]
        assert (leak["host"], leak["calls"], leak["last_day"]) == ("llm.internal", 2, today().isoformat())

    def test_the_overview_has_them(self, app: Flask, leaking: LLMCost) -> None:
        app.config["LLM_COST_DASHBOARD_PUBLIC"] = True
        leaking.track(provider="openai", model="gpt-4o", input_tokens=1, output_tokens=1)
        leaking.flush(5)
        app.debug = True
        app.register_blueprint(leaking.dashboard, url_prefix="/llm-costs")
        page = app.test_client().get("/llm-costs/").get_data(as_text=True)
        assert "2 calls to llm.internal are not recorded" in page
