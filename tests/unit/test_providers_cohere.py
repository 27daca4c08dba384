"""Cohere: what is billed, not what was tokenised."""

from __future__ import annotations

import json

import pytest

from flask_llm_cost.providers import read_exchange, read_stream_events
from flask_llm_cost.usage import Reading

USAGE = {"billed_units": {"input_tokens": 7, "output_tokens": 88}, "tokens": {"input_tokens": 69, "output_tokens": 89}}
V2_EVENTS = [
    {"id": "c-1", "type": "message-start", "delta": {"message": {"role": "assistant"}}},
    {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "Arrr"}}}},
    {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": USAGE}},
]
V1_EVENTS = [
    {"event_type": "stream-start", "generation_id": "g-1", "is_finished": False},
    {"event_type": "text-generation", "text": "Arrr", "is_finished": False},
    {
        "event_type": "stream-end",
        "finish_reason": "COMPLETE",
        "is_finished": True,
        "response": {"response_id": "r-1", "generation_id": "g-1", "text": "Arrr", "meta": USAGE},
    },
]


def ask(body: object, path: str = "v2/chat", *, host: str = "api.cohere.com", status: int = 200) -> Reading:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    reading = read_exchange(
        url=f"https://{host}/{path}", request_body=b'{"model": "command-r"}', status=status, headers={}, body=content
    )
    assert reading is not None
    return reading


def sse(events: list[dict[str, object]]) -> bytes:
    return b"".join(b"event: %s\ndata: %s\n\n" % (b"x", json.dumps(event).encode()) for event in events)


def expected(response_id: str, *, stream: bool) -> Reading:
    return Reading(
        provider="cohere",
        model="command-r",
        usage={"input": 7, "output": 88},
        request_model="command-r",
        stream=stream,
        provider_response_id=response_id,
        usage_source="stream_final" if stream else "response",
        raw_usage={"input_tokens": 7, "output_tokens": 88},
    )


@pytest.mark.parametrize("host", ["api.cohere.com", "api.cohere.ai"])
def test_chat_is_billed_by_billed_units(host: str) -> None:
    """Design 02, wire formats: Cohere v2."""
    assert ask({"id": "c-1", "message": {}, "usage": USAGE}, host=host) == expected("c-1", stream=False)


def test_version_1_has_them_under_meta() -> None:
    body = {"response_id": "r-1", "generation_id": "g-1", "text": "Arrr", "meta": USAGE}
    assert ask(body, "v1/chat") == expected("r-1", stream=False)


def test_a_stream_of_version_2() -> None:
    assert ask(sse(V2_EVENTS) + b"data: [DONE]\n\n") == expected("c-1", stream=True)


def test_a_stream_of_version_1_is_lines() -> None:
    body = b"\n".join(json.dumps(event).encode() for event in V1_EVENTS)
    reading = ask(body, "v1/chat")
    assert reading == expected("r-1", stream=True)


def test_a_stream_cut_off_has_its_id_and_no_usage() -> None:
    reading = ask(sse(V2_EVENTS[:2]))
    assert (reading.provider_response_id, reading.usage, reading.notes) == ("c-1", {}, ("cut_off",))


@pytest.mark.parametrize(("reason", "code"), [("ERROR", "_OTHER"), ("ERROR_TOXIC", "error_toxic")])
def test_a_stream_that_ended_in_an_error_is_billed_for_what_it_says(reason: str, code: str) -> None:
    end = {"type": "message-end", "delta": {"finish_reason": reason, "error": "a sentence", "usage": USAGE}}
    reading = ask(sse([V2_EVENTS[0], end]))
    assert (reading.status, reading.error_type, reading.usage) == ("error", code, {"input": 7, "output": 88})


def test_embeddings_with_images() -> None:
    body = {"id": "e", "embeddings": {}, "meta": {"billed_units": {"input_tokens": 8, "image_tokens": 5, "images": 1}}}
    reading = ask(body, "v2/embed")
    assert (reading.usage, reading.operation) == ({"input": 8, "input.image": 5}, "embeddings")


def test_big_embeddings_are_read_from_their_ends() -> None:
    vectors = b",".join([b"0.12345678"] * 40_000)
    body = b'{"id":"e-9","embeddings":{"float":[[' + vectors + b']]},"meta":{"billed_units":{"input_tokens":208}}}'
    reading = ask(body, "v2/embed")
    assert (reading.provider_response_id, reading.usage) == ("e-9", {"input": 208})


def test_a_rerank_is_billed_in_search_units() -> None:
    """There is no meter of its own: a search unit is a request."""
    reading = ask({"id": "k", "results": [], "meta": {"billed_units": {"search_units": 2}}}, "v2/rerank")
    assert (reading.usage, reading.operation, reading.raw_usage) == ({"request": 2}, "rerank", {"search_units": 2})


def test_without_billed_units_tokens_are_not_taken_for_them() -> None:
    reading = ask({"id": "c", "usage": {"tokens": {"input_tokens": 69}}})
    assert (reading.usage, reading.notes) == ({}, ("no_usage",))


def test_a_refused_request() -> None:
    reading = ask({"id": "x", "message": "invalid api token"}, status=401)
    assert (reading.status, reading.error_type, reading.usage) == ("error", "401", {})


def test_the_compatible_endpoint_speaks_openais_format() -> None:
    body = {"id": "o", "model": "command-a", "usage": {"prompt_tokens": 3, "completion_tokens": 4}}
    reading = ask(body, "compatibility/v1/chat/completions")
    assert (reading.provider, reading.model, reading.usage) == ("cohere", "command-a", {"input": 3, "output": 4})


@pytest.mark.parametrize("events", [V1_EVENTS, V2_EVENTS])
def test_told_events(events: list[dict[str, object]]) -> None:
    assert read_stream_events("cohere", events).usage == {"input": 7, "output": 88}
