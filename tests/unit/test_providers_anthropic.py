"""Anthropic's Messages format."""

from __future__ import annotations

import json

import pytest

from flask_llm_cost.providers import CUT_OFF, find_route, read
from flask_llm_cost.usage import ModelUsage, Reading

URL = "https://api.anthropic.com/v1/messages"
ASKED = {"model": "claude-sonnet-4-5", "messages": []}
STOP = {"type": "message_stop"}


def answer(
    body: bytes, *, request: object = ASKED, url: str = URL, status: int = 200, complete: bool = True
) -> Reading:
    host, _, path = url.removeprefix("https://").partition("/")
    route = find_route("POST", host, None, "/" + path)
    assert route is not None
    return read(
        route,
        url=url,
        request_body=json.dumps(request).encode(),
        status=status,
        headers={},
        body=body,
        complete=complete,
    )


def message(usage: object, **more: object) -> Reading:
    body = {"id": "msg_1", "model": "claude-sonnet-4-5-20250929", "usage": usage, **more}
    return answer(json.dumps(body).encode())


def stream(*events: object, complete: bool = True, request: object = None) -> Reading:
    lines = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events if isinstance(event, dict)]
    asked = {**ASKED, "stream": True} if request is None else request
    return answer("".join(lines).encode(), request=asked, complete=complete)


def start(usage: object, model: str = "claude-sonnet-4-5-20250929") -> dict[str, object]:
    return {"type": "message_start", "message": {"id": "msg_1", "model": model, "usage": usage}}


def delta(usage: object) -> dict[str, object]:
    return {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage}


def test_cached_tokens_are_beside_the_input() -> None:
    """Covers P-PARSE-ANT-03, P-PARSE-ANT-04."""
    usage = {
        "input_tokens": 200,
        "output_tokens": 80,
        "cache_read_input_tokens": 50,
        "cache_creation_input_tokens": 10,
        "service_tier": "standard",
        "inference_geo": "not_available",
    }
    reading = message(usage)
    assert reading == Reading(
        provider="anthropic",
        model="claude-sonnet-4-5-20250929",
        usage={"input": 200, "cache_read": 50, "cache_write": 10, "output": 80},
        request_model="claude-sonnet-4-5",
        provider_response_id="msg_1",
        usage_source="response",
        raw_usage={
            "input_tokens": 200,
            "output_tokens": 80,
            "cache_read_input_tokens": 50,
            "cache_creation_input_tokens": 10,
        },
    )
    assert reading.total_tokens == 340


def test_no_id_is_none() -> None:
    """Covers P-PARSE-ANT-04 (absent)."""
    assert answer(b'{"usage": {"input_tokens": 1, "output_tokens": 1}}').provider_response_id is None


def test_stream_merges_start_and_delta() -> None:
    """Covers P-PARSE-ANT-05."""
    reading = stream(
        start({"input_tokens": 120, "output_tokens": 1, "cache_read_input_tokens": 40}),
        {"type": "content_block_delta", "delta": {"text": "hi"}},
        delta({"output_tokens": 64}),
        STOP,
    )
    assert reading == Reading(
        provider="anthropic",
        model="claude-sonnet-4-5-20250929",
        usage={"input": 120, "cache_read": 40, "output": 64},
        request_model="claude-sonnet-4-5",
        stream=True,
        provider_response_id="msg_1",
        usage_source="stream_final",
        raw_usage={"input_tokens": 120, "cache_read_input_tokens": 40, "output_tokens": 64},
    )
    assert reading.total_tokens == 224


def test_stream_with_no_events() -> None:
    """Covers P-PARSE-ANT-06."""
    reading = stream()
    assert (reading.model, reading.usage, reading.usage_source, reading.stream) == (
        "claude-sonnet-4-5",
        {},
        "unknown",
        True,
    )


def test_a_null_keeps_the_earlier_number_and_anything_else_replaces_it() -> None:
    """Covers P-PARSE-ANT-07."""
    first = start(
        {"input_tokens": 10, "output_tokens": 1, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 3}
    )
    later = delta(
        {"input_tokens": 12, "output_tokens": 9, "cache_read_input_tokens": None, "cache_creation_input_tokens": 0}
    )
    assert stream(first, later, STOP).usage == {"input": 12, "cache_read": 4, "output": 9}


def test_a_delta_without_a_start_and_several_deltas() -> None:
    """Covers P-PARSE-ANT-08."""
    reading = stream(delta({"output_tokens": 9}))
    assert (reading.input_tokens, reading.output_tokens, reading.usage_source) == (0, 9, "stream_final")
    assert stream(delta({"output_tokens": 9}), delta({"output_tokens": 12})).usage == {"output": 12}


def test_cache_writes_are_told_apart_by_lifetime() -> None:
    """Covers P-PARSE-ANT-09, where the gem prices all writes alike."""
    lifetimes = {"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 70}
    usage = {"input_tokens": 1, "output_tokens": 1, "cache_creation_input_tokens": 100, "cache_creation": lifetimes}
    reading = message(usage)
    assert reading.usage == {"input": 1, "cache_write": 30, "cache_write.1h": 70, "output": 1}
    assert (reading.cache_write_input_tokens, reading.cache_write_1h_input_tokens) == (100, 70)
    del usage["cache_creation_input_tokens"]
    assert message(usage).usage == reading.usage
    assert message({**usage, "cache_creation_input_tokens": 50}).notes == ("inconsistent",)


def test_the_id_may_stand_beside_the_message() -> None:
    """Covers P-PARSE-ANT-10."""
    assert (
        stream({"type": "message_delta", "id": "msg_9", "usage": {"output_tokens": 1}}).provider_response_id == "msg_9"
    )


def test_thinking_and_server_tools_are_read() -> None:
    """Covers P-PARSE-ANT-11, going beyond it."""
    usage = {
        "input_tokens": 1,
        "output_tokens": 100,
        "output_tokens_details": {"thinking_tokens": 60},
        "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 1},
    }
    assert message(usage).usage == {
        "input": 1,
        "output": 40,
        "output.reasoning": 60,
        "tool.web_search": 2,
        "tool.web_fetch": 1,
    }


@pytest.mark.parametrize(
    ("reported", "asked", "expected"),
    [
        ({}, {}, (None, None, None)),
        ({"service_tier": "standard", "inference_geo": "global", "speed": "standard"}, {}, (None, None, None)),
        ({"service_tier": "priority", "inference_geo": "us", "speed": "fast"}, {}, ("priority", "us", "fast")),
        ({"service_tier": "batch", "inference_geo": "not_available"}, {}, ("batch", None, None)),
        ({}, {"service_tier": "standard_only", "inference_geo": "us", "speed": "fast"}, (None, "us", "fast")),
        ({"speed": "standard"}, {"speed": "fast"}, (None, None, None)),
    ],
)
def test_tier_place_and_speed_as_served(
    reported: dict[str, object], asked: dict[str, object], expected: tuple[str | None, ...]
) -> None:
    body = {"model": "m", "usage": {"input_tokens": 1, "output_tokens": 1, **reported}}
    reading = answer(json.dumps(body).encode(), request={**ASKED, **asked})
    assert (reading.pricing_mode, reading.geo, reading.speed) == expected


def entry(kind: str, model: str | None = None, **counts: int) -> dict[str, object]:
    return {"type": kind, **({} if model is None else {"model": model}), **counts}


def test_compaction_and_advisor_are_billed_beside_the_totals() -> None:
    usage = {
        "input_tokens": 200,
        "output_tokens": 20,
        "iterations": [
            entry("compaction", input_tokens=55_000, output_tokens=196),
            entry("message", input_tokens=200, output_tokens=20),
            entry(
                "advisor_message", "claude-opus-4-8", input_tokens=900, output_tokens=300, cache_read_input_tokens=50
            ),
            entry("advisor_message", "claude-opus-4-8", input_tokens=0, output_tokens=0),
        ],
    }
    reading = message(usage)
    assert reading.usage == {"input": 200, "output": 20}
    assert reading.extra == (
        ModelUsage("claude-sonnet-4-5-20250929", {"input": 55_000, "output": 196}),
        ModelUsage("claude-opus-4-8", {"input": 900, "cache_read": 50, "output": 300}),
    )
    assert (reading.input_tokens, reading.output_tokens) == (56_100, 516)


@pytest.mark.parametrize(
    ("declined_output", "extra"), [(0, ()), (31, (ModelUsage("fable", {"input": 535, "output": 31}),))]
)
def test_a_fallback_is_billed_as_its_own_model(declined_output: int, extra: tuple[ModelUsage, ...]) -> None:
    """The attempt that declined costs something only where it had produced output."""
    usage = {
        "input_tokens": 412,
        "output_tokens": 264,
        "iterations": [
            entry("message", "fable", input_tokens=535, output_tokens=declined_output),
            entry("fallback_message", "opus", input_tokens=412, output_tokens=264),
        ],
    }
    reading = message(usage, model="opus")
    assert (reading.model, reading.usage, reading.extra) == ("opus", {"input": 412, "output": 264}, extra)


def test_a_fallback_in_mid_stream_replaces_model_and_numbers() -> None:
    """The start had named the model that declined, with a cache that the other one did not read."""
    block = {"type": "content_block_start", "content_block": {"type": "fallback", "to": {"model": "opus"}}}
    iterations = [
        entry("message", "fable", input_tokens=535, output_tokens=31, cache_read_input_tokens=400),
        entry("message", "opus", input_tokens=100, output_tokens=10),
        entry("fallback_message", "opus", input_tokens=412, output_tokens=264),
    ]
    first = start({"input_tokens": 535, "output_tokens": 1, "cache_read_input_tokens": 400}, model="fable")
    last = delta({"input_tokens": 512, "output_tokens": 274, "cache_read_input_tokens": None, "iterations": iterations})
    reading = stream(first, block, last, STOP)
    assert (reading.model, reading.usage) == ("opus", {"input": 512, "output": 274})
    assert reading.extra == (ModelUsage("fable", {"input": 535, "cache_read": 400, "output": 31}),)
    assert stream(first, block, delta({"output_tokens": 5})).model == "opus"


@pytest.mark.parametrize("complete", [True, False])
def test_a_stream_without_its_end_is_partial(complete: bool) -> None:
    reading = stream(start({"input_tokens": 120, "output_tokens": 1}), complete=complete)
    assert (reading.usage, reading.usage_source) == ({"input": 120, "output": 1}, "partial")
    assert reading.notes == (CUT_OFF,)


def test_a_stream_with_its_end_is_final_however_the_connection_ended() -> None:
    reading = stream(
        start({"input_tokens": 120, "output_tokens": 1}), delta({"output_tokens": 2}), STOP, complete=False
    )
    assert (reading.usage_source, reading.notes) == ("stream_final", ())


def test_an_error_in_the_midst_of_a_stream() -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    reading = stream(start({"input_tokens": 120, "output_tokens": 1}), error)
    assert (reading.status, reading.error_type, reading.usage_source) == ("error", "overloaded_error", "partial")
    assert (reading.input_tokens, reading.notes) == (120, ())


def test_a_refused_request() -> None:
    body = b'{"type": "error", "error": {"type": "rate_limit_error", "message": "Number of tokens ..."}}'
    reading = answer(body, status=429)
    assert (reading.status, reading.error_type, reading.usage) == ("error", "rate_limit_error", {})


def test_vertex_names_the_model_in_the_path() -> None:
    url = (
        "https://us-east5-aiplatform.googleapis.com/v1/projects/p/locations/us-east5/publishers/anthropic"
        "/models/claude-sonnet-4-5%4020250929:streamRawPredict"
    )
    reading = answer(b"", url=url, request={"anthropic_version": "vertex-2023-10-16"})
    assert (reading.provider, reading.model, reading.stream) == ("vertex", "claude-sonnet-4-5@20250929", True)
    body = b'{"model": "claude-sonnet-4-5", "usage": {"input_tokens": 3, "output_tokens": 2}}'
    assert answer(body, url=url, request={}).usage == {"input": 3, "output": 2}
