"""Whatever of ours breaks, on every stack: the app's answer is untouched, and the call recorded as far as known."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from types import SimpleNamespace
from typing import Any

import aiohttp
import httpx
import httpx2
import pytest
import requests
from pytest_httpserver import HTTPServer
from werkzeug import Response

from flask_llm_cost import LLMCost
from flask_llm_cost.capture import aiohttp as aiohttp_stack
from flask_llm_cost.capture import botocore as botocore_stack
from flask_llm_cost.capture import exchange, http, watch
from flask_llm_cost.capture import httpx as httpx_stack
from flask_llm_cost.capture.body import BoundedBody
from flask_llm_cost.errors import StorageError
from flask_llm_cost.ledger import Ledger
from flask_llm_cost.ledger.models import Call
from flask_llm_cost.pricing import PriceBook
from flask_llm_cost.pricing.receipt import Receipt
from flask_llm_cost.providers import reader
from flask_llm_cost.providers.bedrock import BedrockConverse as Converse
from flask_llm_cost.providers.openai_chat import OpenAIChat
from flask_llm_cost.signals import call_recorded
from flask_llm_cost.state import State
from integration.test_capture_botocore import Bedrock, converse_frames, converse_stream

PROMPT, KEY = "my deepest secret", "sk-0123456789abcdef0123"
ASKED = {
    "model": "gpt-4o-mini",
    "stream": True,
    "stream_options": {"include_usage": True},
    "messages": [{"role": "user", "content": PROMPT}],
}
PIECE = {"id": "chat-1", "object": "chat.completion.chunk", "model": "gpt-4o-mini-2024-07-18"}
STREAM = "".join(
    f"data: {event}\n\n"
    for event in (
        json.dumps({**PIECE, "choices": [{"index": 0, "delta": {"content": "Paris"}}]}),
        json.dumps({**PIECE, "choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 5}}),
        "[DONE]",
    )
).encode()

Tags = Callable[..., dict[str, object]]


@dataclass(frozen=True, slots=True)
class Stack:
    """One way of making a call.

    Attributes:
        ask: makes it, of a server, watched or not; returns what the app gets to see.
        model: as recorded, and as asked for.
        tokens: input and output.
    """

    ask: Callable[[str, LLMCost | None, Tags | None], Any]
    model: tuple[str, str] = ("gpt-4o-mini-2024-07-18", "gpt-4o-mini")
    tokens: tuple[int, int] = (10, 5)


def headers() -> dict[str, str]:
    return {"authorization": f"Bearer {KEY}"}


def with_httpx(url: str, llm_cost: LLMCost | None, tags: Tags | None) -> Any:
    client = httpx.Client(headers=headers())
    with client if llm_cost is None else llm_cost.wrap(client, tags=tags):
        with client.stream("POST", f"{url}/v1/chat/completions?key={KEY}", json=ASKED) as answer:
            return answer.status_code, answer.headers["content-type"], list(answer.iter_lines())


def with_async_httpx2(url: str, llm_cost: LLMCost | None, tags: Tags | None) -> Any:
    async def ask() -> Any:
        transport = None if llm_cost is None else llm_cost.async_httpx_transport(tags=tags)
        async with httpx2.AsyncClient(headers=headers(), transport=transport) as client:
            async with client.stream("POST", f"{url}/v1/chat/completions?key={KEY}", json=ASKED) as answer:
                return answer.status_code, [line async for line in answer.aiter_lines()]

    return asyncio.run(ask())


def with_requests(url: str, llm_cost: LLMCost | None, tags: Tags | None) -> Any:
    with requests.Session() as session:
        session.headers.update(headers())
        if llm_cost is not None:
            llm_cost.mount(session, tags=tags)
        with session.post(f"{url}/v1/chat/completions?key={KEY}", json=ASKED, stream=True) as answer:
            return answer.status_code, list(answer.iter_lines())


def with_aiohttp(url: str, llm_cost: LLMCost | None, tags: Tags | None) -> Any:
    async def ask() -> Any:
        async with aiohttp.ClientSession(headers=headers()) as session:
            if llm_cost is not None:
                llm_cost.wrap(session, tags=tags)
            async with session.post(f"{url}/v1/chat/completions?key={KEY}", json=ASKED) as answer:
                return answer.status, [line async for line in answer.content]

    return asyncio.run(ask())


@cache
def bedrock_client(url: str) -> Any:
    return Bedrock.client(SimpleNamespace(url=url))  # type: ignore[arg-type]


def with_botocore(url: str, llm_cost: LLMCost | None, tags: Tags | None) -> Any:
    client = bedrock_client(url)
    return converse_stream(client if llm_cost is None else llm_cost.wrap(client, tags=tags))


CLAUDE = "anthropic.claude-haiku-4-5-20251001-v1:0"
STACKS = {
    "httpx": Stack(with_httpx),
    "httpx2, async": Stack(with_async_httpx2),
    "requests": Stack(with_requests),
    "aiohttp": Stack(with_aiohttp),
    "botocore": Stack(with_botocore, (CLAUDE, CLAUDE), (1000, 50)),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One step that breaks.

    Attributes:
        places: what is replaced by something that raises: owner and name.
        row: whether the call is recorded all the same, and what of it is lost: "model", "usage", "cost", "time".
        lost: see above.
        only: the stacks that have such a step, where not all have.
    """

    places: tuple[tuple[Any, str], ...]
    row: bool = True
    lost: frozenset[str] = frozenset()
    only: frozenset[str] = frozenset(STACKS)


USAGE, COST, TIME, TAGS = frozenset({"usage", "cost"}), frozenset({"cost"}), frozenset({"time"}), frozenset({"tags"})
ANSWERED_MODEL = frozenset({"usage", "cost", "answered model"})
ALL = frozenset({"usage", "cost", "answered model", "asked model"})
TEES = (
    (httpx_stack, "StreamTee"),
    (httpx_stack, "AsyncStreamTee"),
    (http, "RawTee"),
    (botocore_stack, "RawTee"),
    (aiohttp_stack, "ContentTee"),
)

FAULTS = {
    "the app's state": Fault(((watch.Watch, "begin"),), row=False),
    "the route": Fault(((watch, "find_route"),), row=False),
    "the switch": Fault(((State, "enabled"),)),
    "the tags in scope": Fault(((watch.tagging, "scoped_tags"),), lost=TAGS),
    "the request's body": Fault(
        ((http, "_body"), (aiohttp_stack, "_body"), (botocore_stack, "_body")),
        lost=frozenset({"asked model"}),
        only=frozenset({"requests", "aiohttp"}),
    ),
    "botocore's attempts": Fault(((botocore_stack, "_listen"),), only=frozenset({"botocore"})),
    "the stop-watch": Fault(((exchange, "time"),), lost=TIME),
    "the calendar": Fault(((exchange, "datetime"),)),
    "the status": Fault(((exchange.Exchange, "answered"),), lost=ANSWERED_MODEL),
    "the copy": Fault(((BoundedBody, "__init__"),), lost=ANSWERED_MODEL),
    "a piece's copy": Fault(((BoundedBody, "append"),), lost=ANSWERED_MODEL),
    "the end of the copy": Fault(((BoundedBody, "content"),), lost=ANSWERED_MODEL),
    "the copy's decoding": Fault(((BoundedBody, "is_in"),), lost=ANSWERED_MODEL, only=frozenset({"requests"})),
    "the tee": Fault(TEES, lost=ANSWERED_MODEL),
    "the reader": Fault(((exchange, "read"),), lost=ALL),
    "the answer's headers": Fault(((OpenAIChat, "with_headers"), (Converse, "with_headers")), lost=ANSWERED_MODEL),
    "the events": Fault(((OpenAIChat, "events"), (Converse, "events")), lost=ANSWERED_MODEL),
    "the fold": Fault(((OpenAIChat, "fold"), (Converse, "fold")), lost=ANSWERED_MODEL),
    "the format's reader": Fault(((OpenAIChat, "read"), (Converse, "read")), lost=ANSWERED_MODEL),
    "what was asked": Fault(((OpenAIChat, "asked"), (Converse, "asked")), lost=ALL),
    "the reading": Fault(((reader, "_streamed"),), lost=ANSWERED_MODEL),
    "pricing": Fault(((PriceBook, "price"),), lost=COST),
    "the receipt": Fault(((Receipt, "costs"),), lost=COST),
    "redaction": Fault((("flask_llm_cost.recorder.clean", ""),), lost=TAGS),
    "the event's id": Fault((("flask_llm_cost.recorder.uuid7", ""),)),
    "the record": Fault((("flask_llm_cost.recorder.Recorder.record", ""),), row=False),
    "the ledger": Fault(((Ledger, "record"),), row=False),
}


def broken(*_args: Any, **_kwargs: Any) -> Any:
    local = PROMPT
    raise RuntimeError(f"{local} {KEY}")


def raising_for(llm_cost: LLMCost, begin: Any) -> Any:
    return lambda self, *args, **kwargs: (broken if self is llm_cost._watch else begin.__get__(self))(*args, **kwargs)


def break_it(fault: Fault, llm_cost: LLMCost, monkeypatch: pytest.MonkeyPatch) -> None:
    for owner, name in fault.places:
        if name == "enabled":
            monkeypatch.setattr(owner, name, property(broken))
        elif name in ("time", "datetime"):
            monkeypatch.setattr(owner, name, SimpleNamespace(perf_counter=broken, now=broken))
        elif name == "begin":
            # Of this app alone: a library that was instrumented before keeps its patch.
            monkeypatch.setattr(owner, name, raising_for(llm_cost, owner.begin))
        elif not name:
            monkeypatch.setattr(owner, broken)
        else:
            monkeypatch.setattr(owner, name, broken)


@pytest.fixture
def url(httpserver: HTTPServer) -> str:
    httpserver.expect_request("/v1/chat/completions").respond_with_handler(
        lambda _: Response(STREAM, content_type="text/event-stream")
    )
    httpserver.expect_request(re.compile("/model/.*")).respond_with_handler(
        lambda _: Response(b"".join(converse_frames()), content_type="application/vnd.amazon.eventstream")
    )
    return httpserver.url_for("").rstrip("/")


def known(stack: Stack, lost: frozenset[str]) -> dict[str, Any]:
    """What is left of a call of which that was lost."""
    answered, asked = stack.model
    if "asked model" in lost:
        asked = None if answered != asked or "answered model" in lost else asked
    if "answered model" in lost:
        answered = asked or "unknown"
    return {
        "model": answered,
        "request_model": asked,
        "status": "ok",
        "tokens": (0, 0) if "usage" in lost else stack.tokens,
        "priced": "cost" not in lost,
        "timed": "time" not in lost,
        "tags": {} if "tags" in lost else {"feature": "x"},
    }


def as_known(row: Call) -> dict[str, Any]:
    assert abs((row.tracked_at.replace(tzinfo=UTC) - datetime.now(UTC)).total_seconds()) < 60
    return {
        "model": row.model,
        "request_model": row.request_model,
        "status": row.status,
        "tokens": (row.input_tokens, row.output_tokens),
        "priced": row.total_cost is not None,
        "timed": row.latency_ms is not None,
        "tags": row.tags,
    }


def logged(caplog: pytest.LogCaptureFixture) -> int:
    """How often we logged something, none of it anybody's text."""
    ours = [record for record in caplog.records if record.name.startswith("flask_llm_cost")]
    for record in ours:
        assert not any(secret in record.getMessage() for secret in (PROMPT, KEY, "Paris"))
        assert record.exc_info is None, "the variables along a traceback are anybody's"
    caplog.clear()
    return len(ours)


@pytest.mark.parametrize("step", FAULTS)
@pytest.mark.parametrize("name", STACKS)
def test_a_step_that_raises_costs_the_app_nothing_and_the_record_only_that(
    name: str,
    step: str,
    app: Any,
    llm_cost: LLMCost,
    url: str,
    calls: Callable[[], list[Call]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Logged once, by kind and place, without the key of the URL.

    Covers P-CAP-12, P-CAP-20, P-CAP-28, P-CAP-31, P-PRV-03.
    """
    stack, fault = STACKS[name], FAULTS[step]
    if name not in fault.only:
        return
    expected = stack.ask(url, None, None)
    with monkeypatch.context() as patched, llm_cost.tags(feature="x"):
        break_it(fault, llm_cost, patched)
        assert stack.ask(url, llm_cost, None) == expected
    assert logged(caplog) == 1
    assert [as_known(row) for row in calls()] == ([known(stack, fault.lost)] if fault.row else [])


@pytest.mark.parametrize("name", STACKS)
def test_tags_and_subscribers_of_the_app_that_raise_cost_nothing_else(
    name: str, make_app: Any, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Each is logged once: the default tags, the client's tags and a subscriber."""
    app, llm_cost = make_app(LLM_COST_DEFAULT_TAGS=broken)
    expected = STACKS[name].ask(url, None, None)
    with app.app_context(), call_recorded.connected_to(broken), llm_cost.tags(feature="x"):
        assert STACKS[name].ask(url, llm_cost, broken) == expected
        assert llm_cost.flush(5)
        with llm_cost.session() as session:
            rows = session.query(Call).all()
    assert [as_known(row) for row in rows] == [known(STACKS[name], frozenset())]
    assert logged(caplog) == 3


class _Untellable:
    """What has no text."""

    def __str__(self) -> str:
        return str(broken())


def test_a_tag_without_a_text_is_left_out(llm_cost: LLMCost, caplog: pytest.LogCaptureFixture) -> None:
    """Neither an object whose ``__str__`` raises nor a list that contains itself breaks the app's own line."""
    endless: list[Any] = []
    endless.append(endless)
    with llm_cost.tags(plain=1, odd=_Untellable(), endless=endless):
        assert dict(watch.tagging.scoped_tags()) == {"plain": "1"}
    assert logged(caplog) == 2


def interrupted(kind: type[BaseException]) -> Iterator[bytes]:
    yield STREAM[:20]
    raise kind


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError])
@pytest.mark.parametrize("moment", ["sending", "reading"])
def test_what_interrupts_the_apps_own_request_passes_through_and_is_a_cancelled_call(
    moment: str, kind: type[BaseException], llm_cost: LLMCost, calls: Callable[[], list[Call]]
) -> None:
    class Interrupted(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            if moment == "sending":
                raise kind
            return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=interrupted(kind))

    client = llm_cost.wrap(httpx.Client(transport=Interrupted()))
    with pytest.raises(kind), client.stream("POST", "https://api.openai.com/v1/chat/completions", json=ASKED) as answer:
        list(answer.iter_bytes())
    assert [(row.status, row.request_model, row.total_cost) for row in calls()] == [("cancelled", "gpt-4o-mini", None)]


def test_what_storing_says_is_raised_only_where_that_was_asked_for(
    make_app: Any, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, llm_cost = make_app(LLM_COST_STORAGE_ERROR="raise")
    monkeypatch.setattr(Ledger, "record", broken)
    with pytest.raises(StorageError):
        with_httpx(url, llm_cost, None)
