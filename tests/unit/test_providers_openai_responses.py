"""OpenAI's Responses format."""

from __future__ import annotations

import json

import pytest

from flask_llm_cost.providers import read_exchange
from flask_llm_cost.usage import Reading

URL = "https://api.openai.com/v1/responses"
ASKED = {"model": "gpt-5", "input": "hi"}
STREAMED = {**ASKED, "stream": True}


def answer(body: bytes, request: object) -> Reading:
    reading = read_exchange(url=URL, request_body=json.dumps(request).encode(), status=200, headers={}, body=body)
    assert reading is not None
    return reading


def read(body: object) -> Reading:
    return answer(json.dumps(body).encode(), ASKED)


def stream(*events: object, request: object = STREAMED) -> Reading:
    return answer("".join(f"data: {json.dumps(event)}\n\n" for event in events).encode(), request)


@pytest.mark.parametrize("total", [{"total_tokens": 192}, {}])
def test_cached_tokens_are_taken_out_of_the_prompt(total: dict[str, int]) -> None:
    """Covers P-PARSE-OAI-05, P-PARSE-OAI-06."""
    usage = {
        "input_tokens": 150,
        "input_tokens_details": {"cached_tokens": 100},
        "output_tokens": 42,
        "output_tokens_details": {"reasoning_tokens": 20},
        **total,
    }
    reading = read({"id": "resp_1", "model": "gpt-5", "usage": usage})
    assert reading.usage == {"input": 50, "cache_read": 100, "output": 22, "output.reasoning": 20}
    assert (reading.output_tokens, reading.hidden_output_tokens, reading.total_tokens) == (42, 20, 192)


def test_responses_stream() -> None:
    """Covers P-PARSE-OAI-12, P-PARSE-OAI-13, P-PARSE-OAI-11 (responses)."""
    usage = {"input_tokens": 50, "output_tokens": 7, "total_tokens": 57}
    reading = stream(
        {"type": "response.created", "response": {"id": "resp_1", "model": "gpt-5-mini", "usage": None}},
        {"type": "response.output_text.delta", "delta": "hi"},
        {"type": "response.completed", "response": {"id": "resp_1", "model": "gpt-5-mini", "usage": usage}},
        request={"stream": True},
    )
    assert reading == Reading(
        provider="openai",
        model="gpt-5-mini",
        usage={"input": 50, "output": 7},
        stream=True,
        provider_response_id="resp_1",
        usage_source="stream_final",
        raw_usage=usage,
    )


def test_responses_stream_with_cached_tokens_and_no_total() -> None:
    """Covers P-PARSE-OAI-14."""
    usage = {"input_tokens": 12, "input_tokens_details": {"cached_tokens": 7}, "output_tokens": 3}
    reading = stream({"type": "response.completed", "response": {"usage": usage}})
    assert reading.usage == {"input": 5, "cache_read": 7, "output": 3}
    assert (reading.total_tokens, reading.usage_source) == (15, "stream_final")


@pytest.mark.parametrize(
    ("kind", "status", "error"),
    [("completed", "ok", None), ("incomplete", "ok", None), ("failed", "error", "response_failed")],
)
def test_every_last_event_of_a_responses_stream_carries_usage(kind: str, status: str, error: str | None) -> None:
    response = {"id": "resp_1", "usage": {"input_tokens": 2, "output_tokens": 1}}
    reading = stream({"type": f"response.{kind}", "response": response})
    assert (reading.usage, reading.status, reading.error_type) == ({"input": 2, "output": 1}, status, error)


def test_a_failed_response_names_its_error() -> None:
    response = {"status": "failed", "error": {"code": "server_error", "message": "secret"}, "usage": None}
    reading = stream({"type": "response.failed", "response": response})
    assert (reading.status, reading.error_type, reading.usage_source) == ("error", "server_error", "unknown")


def test_hosted_tools_are_counted() -> None:
    """Opening pages costs nothing, code interpreters are billed by container."""
    output = [
        {"type": "web_search_call", "action": {"type": "search"}},
        {"type": "web_search_call", "action": {"type": "open_page"}},
        {"type": "web_search_call", "action": {"type": "find_in_page"}},
        {"type": "web_search_call"},
        {"type": "file_search_call"},
        {"type": "code_interpreter_call", "container_id": "c1"},
        {"type": "code_interpreter_call", "container_id": "c1"},
        {"type": "code_interpreter_call", "container_id": "c2"},
        {"type": "message"},
    ]
    body = {"id": "resp_1", "model": "gpt-5", "output": output, "usage": {"input_tokens": 1, "output_tokens": 1}}
    expected = {
        "input": 1,
        "output": 1,
        "tool.web_search": 2,
        "tool.file_search": 1,
        "tool.code_execution": 2,
    }
    assert read(body).usage == expected
    assert stream({"type": "response.completed", "response": body}).usage == expected
    billed = {**body, "tool_usage": {"web_search": {"num_requests": 1}}}
    assert read(billed).usage == {**expected, "tool.web_search": 1}
    assert stream({"type": "response.completed", "response": billed}).usage == {
        **expected,
        "tool.web_search": 1,
    }


def test_tools_are_counted_from_their_own_events_where_the_last_one_does_not_list_them() -> None:
    done = {"type": "response.output_item.done", "item": {"type": "file_search_call"}}
    last = {"type": "response.completed", "response": {"usage": {"input_tokens": 1, "output_tokens": 1}}}
    first = {"type": "response.created", "response": {"id": "resp_1"}}
    assert stream(first, done, last).usage["tool.file_search"] == 1
