"""Plain HTTP clients: requests sessions, httpx and httpx2 clients, and every way in on top of another."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
import requests
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from flask_llm_cost import ConfigurationError, LLMCost, LLMCostAdapter
from flask_llm_cost.capture.clients import UnknownClientError
from flask_llm_cost.ledger.models import Call
from flask_llm_cost.testing import Answer, ProviderServer

ROOT = Path(__file__).parents[2]
ReadCalls = Callable[[], list[Call]]

REQUEST = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}
STREAMED = {**REQUEST, "stream": True, "stream_options": {"include_usage": True}}
ANSWER = Answer(text="Hello to you.", input_tokens=10, output_tokens=5, response_id="answer-1")
COST = (10 * Decimal("0.15") + 5 * Decimal("0.60")) / 1_000_000


@pytest.fixture
def url(provider: ProviderServer) -> str:
    provider.respond(lambda _received: ANSWER)
    return f"{provider.url}/v1/chat/completions"


def essence(row: Call) -> tuple[Any, ...]:
    return (row.status, row.model, row.input_tokens, row.output_tokens, row.total_cost, row.usage_source, row.tags)


def exact(source: str = "response", **tags: str) -> tuple[Any, ...]:
    return ("ok", "gpt-4o-mini-2024-07-18", 10, 5, COST, source, tags)


@pytest.mark.parametrize("family", [httpx, httpx2], ids=["httpx", "httpx2"])
class TestHttpxFamilies:
    def test_a_transport_records_and_hands_on_the_same_bytes(
        self, family: Any, llm_cost: LLMCost, url: str, calls: ReadCalls
    ) -> None:
        with family.Client() as plain:
            expected = plain.post(url, json=REQUEST).json()
        with family.Client(transport=llm_cost.httpx_transport(tags={"via": "transport"})) as client:
            response = client.post(url, json=REQUEST)
        assert {**response.json(), "created": 0} == {**expected, "created": 0}
        assert response.elapsed.total_seconds() >= 0
        assert [essence(row) for row in calls()] == [exact(via="transport")]

    def test_a_streamed_answer_keeps_its_chunk_boundaries(
        self, family: Any, llm_cost: LLMCost, url: str, calls: ReadCalls
    ) -> None:
        with (
            family.Client(transport=llm_cost.httpx_transport()) as client,
            client.stream("POST", url, json=STREAMED) as response,
        ):
            pieces = list(response.iter_raw())
        assert b"".join(pieces).endswith(b"data: [DONE]\n\n")
        (row,) = calls()
        assert essence(row) == exact("stream_final")
        assert row.first_token_ms is not None

    def test_an_async_transport_records_too(self, family: Any, llm_cost: LLMCost, url: str, calls: ReadCalls) -> None:
        async def ask() -> None:
            async with family.AsyncClient(transport=llm_cost.async_httpx_transport()) as client:
                await client.post(url, json=REQUEST)
                async with client.stream("POST", url, json=STREAMED) as response:
                    async for _ in response.aiter_lines():
                        pass

        asyncio.run(ask())
        assert [essence(row) for row in calls()] == [exact(), exact("stream_final")]

    def test_an_async_stream_left_half_way_is_cancelled(
        self, family: Any, llm_cost: LLMCost, url: str, calls: ReadCalls
    ) -> None:
        async def ask() -> None:
            async with family.AsyncClient(transport=llm_cost.async_httpx_transport()) as client:
                async with client.stream("POST", url, json=STREAMED) as response:
                    await response.aiter_raw(64).__anext__()

        asyncio.run(ask())
        (row,) = calls()
        assert (row.status, row.usage_source, row.total_cost) == ("cancelled", "unknown", None)

    @pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
    def test_every_way_in_at_once_is_one_row_with_the_tags_of_all(
        self, family: Any, stream: bool, make_app: Any, provider: ProviderServer, url: str
    ) -> None:
        """Covers P-CAP-30, P-SDK-30."""
        host = provider.url.removeprefix("http://")
        app, llm_cost = make_app(LLM_COST_OPENAI_COMPATIBLE_HOSTS={host: "openai"})
        llm_cost.instrument("httpx")
        llm_cost.instrument("httpx", "openai")
        with (
            app.app_context(),
            llm_cost.tags(scope="yes", via="scope"),
            family.Client(transport=llm_cost.httpx_transport(tags={"via": "transport"})) as client,
        ):
            llm_cost.wrap(llm_cost.wrap(client))
            client.post(url, json=STREAMED if stream else REQUEST).read()
            assert llm_cost.flush(5)
            with llm_cost.session() as session:
                rows = session.query(Call).all()
        source = "stream_final" if stream else "response"
        assert [essence(row) for row in rows] == [exact(source, scope="yes", via="transport")]

    def test_an_unmatched_call_passes_untouched(
        self, family: Any, llm_cost: LLMCost, provider: ProviderServer, calls: ReadCalls
    ) -> None:
        """Covers P-CAP-07."""
        llm_cost.instrument("httpx")
        with family.Client() as client:
            assert client.post(f"{provider.url}/v1/chat/completions", json=REQUEST).status_code == 200
            assert client.get(f"{provider.url}/nothing").status_code == 404
        assert calls() == []

    def test_a_dropped_connection_raises_what_it_always_raised(
        self, family: Any, llm_cost: LLMCost, provider: ProviderServer, calls: ReadCalls
    ) -> None:
        provider.next(Answer(text="a b c d e", cut_after=2))
        with (
            family.Client(transport=llm_cost.httpx_transport()) as client,
            pytest.raises(family.RemoteProtocolError),
        ):
            client.post(f"{provider.url}/v1/chat/completions", json=STREAMED)
        (row,) = calls()
        assert (row.status, row.error_type, row.total_cost) == ("error", "RemoteProtocolError", None)

    def test_a_refused_connection_is_an_error_row(self, family: Any, llm_cost: LLMCost, calls: ReadCalls) -> None:
        with (
            family.Client(transport=llm_cost.httpx_transport()) as client,
            pytest.raises(family.ConnectError),
        ):
            client.post("http://127.0.0.1:9/v1/chat/completions", json=REQUEST)
        (row,) = calls()
        assert (row.status, row.error_type, row.model, row.cost_status) == (
            "error",
            "ConnectError",
            "gpt-4o-mini",
            None,
        )


def requests_reader_json(response: requests.Response) -> None:
    assert response.json()["id"] == "answer-1"


def requests_reader_lines(response: requests.Response) -> None:
    assert list(response.iter_lines())[-2] == b"data: [DONE]"


def requests_reader_content(response: requests.Response) -> None:
    assert b"".join(response.iter_content(7)).endswith(b"[DONE]\n\n")


def requests_reader_raw(response: requests.Response) -> None:
    pieces = []
    while piece := response.raw.read(50):
        pieces.append(piece)
    assert b"".join(pieces).endswith(b"[DONE]\n\n")


@pytest.mark.parametrize("gzip", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    ("stream", "read"),
    [
        (False, requests_reader_json),
        (True, requests_reader_lines),
        (True, requests_reader_content),
    ],
    ids=["json", "iter_lines", "iter_content"],
)
def test_a_mounted_requests_session_records_however_it_is_read(
    stream: bool,
    read: Callable[[requests.Response], None],
    gzip: bool,
    llm_cost: LLMCost,
    provider: Any,
    calls: ReadCalls,
) -> None:
    """Covers P-CAP-02, P-CAP-03, P-CAP-13, P-CAP-17."""
    provider.respond(
        lambda _received: Answer(
            text="Hello to you.", input_tokens=10, output_tokens=5, response_id="answer-1", gzip=gzip
        )
    )
    with requests.Session() as session:
        llm_cost.mount(session, tags=lambda request: {"path": request.path_url})
        response = session.post(
            f"{provider.url}/v1/chat/completions", json=STREAMED if stream else REQUEST, stream=stream
        )
        read(response)
        response.close()
    (row,) = calls()
    assert essence(row) == exact("stream_final" if stream else "response", path="/v1/chat/completions")
    assert row.captured_by == "requests"


def test_raw_reads_are_copied_too(llm_cost: LLMCost, url: str, calls: ReadCalls) -> None:
    with requests.Session() as session:
        llm_cost.mount(session)
        response = session.post(url, json=STREAMED, stream=True)
        requests_reader_raw(response)
        response.close()
    assert [essence(row) for row in calls()] == [exact("stream_final")]


def test_an_adapter_composes_with_a_retrying_one(llm_cost: LLMCost, provider: ProviderServer, calls: ReadCalls) -> None:
    provider.next(Answer(status=503), ANSWER)
    retry = Retry(total=2, backoff_factor=0, status_forcelist=[503], allowed_methods=None)
    with requests.Session() as session:
        session.mount("http://", llm_cost.adapter(HTTPAdapter(max_retries=retry)))
        assert session.post(f"{provider.url}/v1/chat/completions", json=REQUEST).json()["id"] == "answer-1"
    assert [essence(row) for row in calls()] == [exact()]


def test_an_instrumented_and_mounted_session_is_one_row(make_app: Any, provider: ProviderServer, url: str) -> None:
    host = provider.url.removeprefix("http://")
    app, llm_cost = make_app(LLM_COST_OPENAI_COMPATIBLE_HOSTS={host: "gateway"}, LLM_COST_INSTRUMENT=["requests"])
    with app.app_context(), requests.Session() as session:
        session.post(url, json=REQUEST)
        llm_cost.mount(session, tags={"via": "adapter"})
        session.post(url, json=REQUEST)
        assert llm_cost.flush(5)
        with llm_cost.session() as ledger:
            rows = ledger.query(Call).order_by(Call.id).all()
    assert [(row.provider, row.tags) for row in rows] == [("gateway", {}), ("gateway", {"via": "adapter"})]


def test_two_calls_with_identical_bodies_are_two_rows(llm_cost: LLMCost, url: str, calls: ReadCalls) -> None:
    with httpx.Client(transport=llm_cost.httpx_transport()) as client:
        client.post(url, json=REQUEST)
        client.post(url, json=REQUEST)
    assert len(calls()) == 2


def test_switched_off_everything_passes_and_nothing_is_recorded(
    app: Any, llm_cost: LLMCost, url: str, calls: ReadCalls
) -> None:
    """Covers P-CAP-06, P-TRK-18, P-STR-18."""
    app.config["LLM_COST_ENABLED"] = False
    with httpx.Client(transport=llm_cost.httpx_transport()) as client:
        assert client.post(url, json=REQUEST).status_code == 200
    assert llm_cost.track(provider="openai", model="gpt-4o", input_tokens=1, output_tokens=1) is None
    with llm_cost.track_stream(provider="openai") as stream:
        stream.event({"choices": []})
    app.config["LLM_COST_ENABLED"] = True
    assert calls() == []


@pytest.mark.parametrize(
    ("body", "note"),
    [(b"<html>not today</html>", "unparsable_body"), (b"", "empty_body"), (b'{"id": "x"}', "no_usage")],
)
def test_an_answer_that_says_nothing_is_an_unknown_usage_row(
    body: bytes, note: str, llm_cost: LLMCost, provider: ProviderServer, calls: ReadCalls
) -> None:
    """Covers P-CAP-08, P-CAP-19, P-CAP-25."""
    provider.next(Answer(body=body))
    with httpx.Client(transport=llm_cost.httpx_transport()) as client:
        assert client.post(f"{provider.url}/v1/chat/completions", json=REQUEST).content == body
    (row,) = calls()
    assert (row.status, row.usage_source, row.total_cost, row.cost_status) == ("ok", "unknown", None, "estimated")
    assert note in row.receipt["notes"]


@pytest.mark.parametrize("step", ["find_route", "read", "price", "clean"])
def test_whatever_breaks_inside_the_app_gets_its_answer(
    step: str, llm_cost: LLMCost, app: Any, url: str, calls: ReadCalls, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """Covers P-CAP-12, P-CAP-20, P-CAP-28, P-CAP-31."""

    def broken(*_args: Any, **_kwargs: Any) -> Any:
        raise RuntimeError("sk-secretsecretsecret1234 must not be logged with a body")

    state = app.extensions["llm_cost"]
    targets = {
        "find_route": ("flask_llm_cost.capture.watch.find_route", broken),
        "read": ("flask_llm_cost.capture.exchange.read", broken),
        "clean": ("flask_llm_cost.recorder.clean", broken),
    }
    if step == "price":
        monkeypatch.setattr(type(state.prices), "price", broken)
    else:
        monkeypatch.setattr(*targets[step])
    with caplog.at_level(logging.ERROR), httpx.Client(transport=llm_cost.httpx_transport()) as client:
        assert client.post(url, json=REQUEST).json()["id"] == "answer-1"
    assert len([record for record in caplog.records if record.name.startswith("flask_llm_cost")]) == 1
    assert "Hello" not in caplog.text
    if step == "read":
        (row,) = calls()
        assert (row.provider, row.model, row.total_cost, row.cost_status) == ("openai", "unknown", None, "unknown")
    if step == "price":
        (row,) = calls()
        assert (row.total_cost, row.cost_status, row.input_tokens) == (None, "unknown", 10)


def test_something_without_an_http_client_is_refused(llm_cost: LLMCost) -> None:
    with pytest.raises(UnknownClientError, match=r"found no .* or bedrock-runtime client in builtins\.dict"):
        llm_cost.wrap({})


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("opnai",), "'opnai' is not known"),
        (("langchian",), "'langchian' is not known"),
        ((3,), "3 is not a text"),
    ],
)
def test_an_unknown_target_is_refused_at_start_up(names: Any, message: str, llm_cost: LLMCost) -> None:
    """Covers P-CFG-23, P-SDK-23, P-SDK-28."""
    with pytest.raises(ConfigurationError, match=message):
        llm_cost.instrument(*names)


def test_many_streams_at_once_keep_their_own_tags_and_counts(make_app: Any, provider: ProviderServer) -> None:
    """Covers P-CON-07."""
    provider.respond(
        lambda received: Answer(text="a b c d e f", delay_s=0.002, output_tokens=int(str(received.json["user"])))
    )
    _app, llm_cost = make_app()

    def ask(number: int) -> None:
        with (
            llm_cost.tags(worker=number),
            httpx.Client(transport=llm_cost.httpx_transport()) as client,
            client.stream(
                "POST", f"{provider.url}/v1/chat/completions", json={**STREAMED, "user": str(number)}
            ) as response,
        ):
            for _ in response.iter_lines():
                pass

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(ask, range(1, 65)))
    assert llm_cost.flush(10)
    with llm_cost.session() as session:
        rows = session.query(Call).all()
    assert sorted((row.output_tokens, row.tags["worker"]) for row in rows) == [(n, str(n)) for n in range(1, 65)]


NOTHING_IMPORTED = """
import sys
from flask import Flask
from flask_llm_cost import LLMCost
llm_cost = LLMCost(Flask("host"))
llm_cost.instrument("httpx", "requests")
print("httpx" in sys.modules, "httpx2" in sys.modules)
import httpx, httpx2, requests
for owner in (httpx.Client, httpx.AsyncClient, httpx2.Client, httpx2.AsyncClient, requests.Session):
    print(type(vars(owner)["send"]).__name__)
"""


def test_nothing_is_imported_just_to_be_patched(tmp_path: Any) -> None:
    printed = subprocess.run(
        [sys.executable, "-c", NOTHING_IMPORTED], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    assert printed.splitlines() == ["False False"] + ["_PatchedSend"] * 5


def test_uninstrumented_nothing_is_recorded(make_app: Any, provider: ProviderServer, url: str) -> None:
    """Covers P-SDK-31."""
    _app, llm_cost = make_app(LLM_COST_OPENAI_COMPATIBLE_HOSTS={"127.0.0.1": "openai"}, LLM_COST_INSTRUMENT="httpx")
    with httpx.Client() as client:
        client.post(url, json=REQUEST)
        llm_cost.uninstrument()
        client.post(url, json=REQUEST)
    with llm_cost.session() as session:
        assert session.query(Call).count() == 1


def test_an_adapter_made_by_hand_records_for_the_current_app(
    app: Any, llm_cost: LLMCost, url: str, calls: ReadCalls
) -> None:
    with requests.Session() as session:
        session.mount("http://", LLMCostAdapter(inner=HTTPAdapter(), tags={"by": "hand"}))
        session.post(url, json=REQUEST)
    assert [essence(row) for row in calls()] == [exact(by="hand")]
