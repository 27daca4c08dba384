"""Answers of megabytes: the usage is exact, and the copy stays small."""

from __future__ import annotations

import asyncio
import base64
import json
import random
from collections.abc import Callable
from typing import Any

import aiohttp
import httpx
import pytest
import requests
from pytest_httpserver import HTTPServer

from flask_llm_cost import LLMCost
from flask_llm_cost.capture import exchange
from flask_llm_cost.capture.body import _HEAD, _SSE_TAIL, JSON_LIMIT, SSE_LIMIT, BoundedBody
from flask_llm_cost.ledger.models import Call

Send = Callable[[LLMCost, str, dict[str, Any], int | None], None]

_noise = random.Random(7)


def letters(size: int) -> str:
    """Text with everything that JSON escapes in it."""
    return "".join(_noise.choices('ab "\\\n\té世🌍', k=size))


def image(size: int) -> str:
    return base64.b64encode(_noise.randbytes(size)).decode()


def sse(*events: dict[str, Any], named: bool = True, end: str = "\n\n") -> bytes:
    lines = [
        (f"event: {event['type']}{end[: len(end) // 2]}" if named else "") + f"data: {json.dumps(event)}{end}"
        for event in events
    ]
    return "".join(lines).encode()


TEXT = letters(400_000)
RESPONSE = {"id": "resp_1", "object": "response", "status": "in_progress", "model": "gpt-4o-2024-08-06", "output": []}
FINISHED = {
    **RESPONSE,
    "status": "completed",
    "output": [{"type": "message", "content": [{"type": "output_text", "annotations": [], "text": TEXT}]}],
    "service_tier": "flex",
    "tools": [],
    "usage": {
        "input_tokens": 1200,
        "input_tokens_details": {"cached_tokens": 200},
        "output_tokens": 90_000,
        "output_tokens_details": {"reasoning_tokens": 7},
        "total_tokens": 91_200,
    },
    "metadata": {},
}
DELTAS = [{"type": "response.output_text.delta", "delta": TEXT[at : at + 100]} for at in range(0, len(TEXT), 100)]
RESPONSES = [{"type": "response.created", "response": RESPONSE}, *DELTAS]
COMPLETED = {"type": "response.completed", "sequence_number": 9, "response": FINISHED}

IMAGE_USAGE = {
    "input_tokens": 50,
    "input_tokens_details": {"text_tokens": 40, "image_tokens": 10},
    "output_tokens": 4160,
    "total_tokens": 4210,
}
PICTURE = image(4_500_000)  # six megabytes in base64
PARTIAL = {"type": "image_generation.partial_image", "partial_image_index": 0, "b64_json": PICTURE[: 1 << 20]}
DRAWN = {"type": "image_generation.completed", "b64_json": PICTURE, "usage": IMAGE_USAGE}

VECTORS = [{"object": "embedding", "index": n, "embedding": [_noise.random() for _ in range(1536)]} for n in range(64)]
EMBEDDED = {"object": "list", "data": VECTORS, "model": "text-embedding-3-small", "usage": {"prompt_tokens": 640}}

STREAM, JSON = "text/event-stream", "application/json"
# name → path, what is asked, the answer's content type and body, and the row that comes of it.
LARGE: dict[str, tuple[str, dict[str, Any], str, bytes, tuple[Any, ...]]] = {
    "last event of 400 KB": (
        "responses",
        {"model": "gpt-4o", "stream": True},
        STREAM,
        sse(*RESPONSES, COMPLETED),
        ("ok", "stream_final", "gpt-4o-2024-08-06", "flex", 1000, 200, 90_000, "resp_1"),
    ),
    "last event of 400 KB after CRLF": (
        "responses",
        {"model": "gpt-4o", "stream": True},
        STREAM,
        sse(*RESPONSES[:9], COMPLETED, end="\r\n\r\n"),
        ("ok", "stream_final", "gpt-4o-2024-08-06", "flex", 1000, 200, 90_000, "resp_1"),
    ),
    "only event of 400 KB": (
        "responses",
        {"model": "gpt-4o", "stream": True},
        STREAM,
        sse(COMPLETED, named=False),
        ("ok", "stream_final", "gpt-4o-2024-08-06", "flex", 1000, 200, 90_000, "resp_1"),
    ),
    "image of 6 MB": (
        "images/generations",
        {"model": "gpt-image-1", "prompt": "a cat"},
        JSON,
        json.dumps({"created": 1, "data": [{"b64_json": PICTURE}], "usage": IMAGE_USAGE}).encode(),
        ("ok", "response", "gpt-image-1", None, 50, 0, 4160, None),
    ),
    "image of 6 MB in a stream": (
        "images/generations",
        {"model": "gpt-image-1", "prompt": "a cat", "stream": True},
        STREAM,
        sse(PARTIAL, PARTIAL, DRAWN),
        ("ok", "stream_final", "gpt-image-1", None, 50, 0, 4160, None),
    ),
    "embeddings of 2 MB": (
        "embeddings",
        {"model": "text-embedding-3-small", "input": ["x"] * 64},
        JSON,
        json.dumps(EMBEDDED).encode(),
        ("ok", "response", "text-embedding-3-small", None, 640, 0, 0, None),
    ),
}


def with_httpx(llm_cost: LLMCost, url: str, asked: dict[str, Any], upto: int | None) -> None:
    with httpx.Client(transport=llm_cost.httpx_transport()) as client:
        if upto is None and not asked.get("stream"):
            client.post(url, json=asked)
            return
        with client.stream("POST", url, json=asked) as answer:
            read = 0
            for piece in answer.iter_raw():
                read += len(piece)
                if read == upto:
                    break


def with_requests(llm_cost: LLMCost, url: str, asked: dict[str, Any], upto: int | None) -> None:
    with (
        llm_cost.mount(requests.Session()) as session,
        session.post(url, json=asked, stream=bool(asked.get("stream"))) as answer,
    ):
        for _ in answer.iter_content(upto or 10_240):
            if upto:
                break


def with_aiohttp(llm_cost: LLMCost, url: str, asked: dict[str, Any], upto: int | None) -> None:
    async def ask() -> None:
        async with llm_cost.wrap(aiohttp.ClientSession()) as session, session.post(url, json=asked) as answer:
            if upto:
                await answer.content.readexactly(upto)
            else:
                async for _ in answer.content.iter_any():
                    pass

    asyncio.run(ask())


def essence(row: Call) -> tuple[Any, ...]:
    tokens = (row.input_tokens, row.cache_read_input_tokens, row.output_tokens)
    return (row.status, row.usage_source, row.model, row.pricing_mode, *tokens, row.provider_response_id)


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How large the copy was after each piece, as a share of its limit."""
    seen: list[int] = []

    class Measured(BoundedBody):
        __slots__ = ()

        def append(self, chunk: bytes) -> None:
            super().append(chunk)
            assert len(self._buffer) <= self._limit
            seen.append(len(self._buffer))

    monkeypatch.setattr(exchange, "BoundedBody", Measured)
    return seen


@pytest.mark.parametrize("send", [with_httpx, with_requests, with_aiohttp])
@pytest.mark.parametrize("name", LARGE)
def test_a_large_answer_has_its_exact_usage_within_the_limit_of_memory(
    name: str,
    send: Send,
    llm_cost: LLMCost,
    httpserver: HTTPServer,
    calls: Callable[[], list[Call]],
    copies: list[int],
) -> None:
    path, asked, content_type, body, expected = LARGE[name]
    httpserver.expect_request(f"/v1/{path}").respond_with_data(body, content_type=content_type)
    send(llm_cost, httpserver.url_for(f"/v1/{path}"), asked, None)
    (row,) = calls()
    assert essence(row) == expected
    assert row.total_cost is not None
    assert max(copies, default=0) <= (SSE_LIMIT if content_type == STREAM else JSON_LIMIT)


@pytest.mark.parametrize("send", [with_httpx, with_requests, with_aiohttp])
def test_closed_right_after_a_last_event_of_400_kb_the_stream_is_whole(
    send: Send, llm_cost: LLMCost, httpserver: HTTPServer, calls: Callable[[], list[Call]]
) -> None:
    """What the event says, not the end of the connection, tells that it is over."""
    path, asked, content_type, body, expected = LARGE["last event of 400 KB"]
    httpserver.expect_request(f"/v1/{path}").respond_with_data(body + b": bye\n\n", content_type=content_type)
    send(llm_cost, httpserver.url_for(f"/v1/{path}"), asked, len(body) if send is not with_httpx else None)
    assert [essence(row) for row in calls()] == [expected]


def test_a_binary_stream_is_not_cut_at_what_looks_like_a_line() -> None:
    """AWS's frames have lengths, and their checksums find the next whole one after the gap."""
    frames = b"".join(bytes([number % 256]) * 7 + b"\n" for number in range(40_000))
    body = BoundedBody("application/vnd.amazon.eventstream", "")
    for at in range(0, len(frames), 1000):
        body.append(frames[at : at + 1000])
    head, tail = body.content()[:_HEAD], body.content()[_HEAD + 2 :]
    assert frames.startswith(head)
    assert frames.endswith(tail)
    assert len(tail) == _SSE_TAIL
