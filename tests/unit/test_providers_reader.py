"""What a reading says when the body is missing, broken, cut off, refused or very long."""

from __future__ import annotations

import json
import math

import pytest

from flask_llm_cost.providers import CUT_OFF, find_route, read, read_exchange
from flask_llm_cost.providers.skim import BIG
from flask_llm_cost.usage import Bounds, Reading

CHAT, RESPONSES = "https://api.openai.com/v1/chat/completions", "https://api.openai.com/v1/responses"
EMBEDDINGS = "https://api.openai.com/v1/embeddings"
MESSAGES = "https://api.anthropic.com/v1/messages"
GEMINI = "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:streamGenerateContent"
USAGE = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}
GAP = b"\n\n"


def answer(
    body: bytes, url: str = CHAT, *, status: int = 200, complete: bool = True, request: bytes = b'{"model": "m"}'
) -> Reading:
    host, _, path = url.removeprefix("https://").partition("/")
    route = find_route("POST", host, None, "/" + path)
    assert route is not None
    return read(route, url=url, request_body=request, status=status, headers={}, body=body, complete=complete)


def sse(*events: object) -> bytes:
    return b"".join(
        b"data: " + (b"[DONE]" if event is None else json.dumps(event).encode()) + b"\n\n" for event in events
    )


@pytest.mark.parametrize("url", [CHAT, RESPONSES, EMBEDDINGS, MESSAGES, GEMINI])
def test_outside_2xx_there_is_no_usage_and_without_usage_there_is_none_made_up(url: str) -> None:
    """Covers P-PARSE-GEN-01: such answers are kept, as an error and as unknown (design 02)."""
    whole = json.dumps({"usage": USAGE, "usageMetadata": {"promptTokenCount": 1}}).encode()
    for status in (0, 199, 302, 400, 500):
        refused = answer(whole, url, status=status)
        assert (refused.status, refused.error_type, refused.usage) == ("error", str(status), {})
        assert (refused.usage_source, refused.raw_usage) == ("unknown", None)
    for body in (b'{"id": "x"}', b'{"usage": null, "usageMetadata": null}', b'{"usage": "none", "usageMetadata": 3}'):
        silent = answer(body, url)
        assert (silent.status, silent.usage, silent.usage_source, silent.notes) == ("ok", {}, "unknown", ("no_usage",))


def test_an_empty_usage_object_is_an_answer_of_zero_tokens() -> None:
    """Covers P-CAP-26. In a stream an empty one is skipped, see P-PARSE-OAI-17."""
    reading = answer(b'{"model": "m", "usage": {}}')
    assert (reading.usage, reading.usage_source) == ({"input": 0, "output": 0}, "response")


def test_a_success_without_usage_is_an_unknown_row() -> None:
    """Covers P-CAP-25, which design 02 supersedes: unknown is recorded, not dropped."""
    assert answer(b'{"model": "m", "choices": []}') == Reading(
        "openai", "m", request_model="m", notes=("no_usage",), bounds=Bounds({}, None)
    )


@pytest.mark.parametrize(
    "body",
    [
        b"<html>502</html>",
        b"{",
        b"\xff\xfe\x00",
        b'{"usage": {"prompt_tokens": 1',
        b"null",
        b"3",
        b'"text"',
        b"[" * 9999,
        b"{" * 99999,
    ],
)
def test_a_body_that_is_no_json_is_an_unknown_row(body: bytes) -> None:
    """Covers P-PARSE-GEN-05 (the body)."""
    reading = answer(body)
    assert (reading.model, reading.usage, reading.usage_source) == ("m", {}, "unknown")
    assert reading.notes == ("unparsable_body",)


@pytest.mark.parametrize("url", [CHAT, RESPONSES, EMBEDDINGS, MESSAGES, GEMINI])
@pytest.mark.parametrize(
    "body",
    [
        b"[1, [2], null]",
        b'[{"usage": [1]}]',
        b'{"usage": [1], "usageMetadata": [1]}',
        b'{"usage": {"prompt_tokens": {"a": 1}, "input_tokens": [2], "prompt_tokens_details": 3}}',
        b'{"usage": {"iterations": [1, {"type": 3}], "cache_creation": "x", "server_tool_use": []}}',
        b'{"usageMetadata": {"promptTokensDetails": [1, {"modality": []}], "trafficType": {}, "promptTokenCount": 0}}',
        b'{"output": 3, "candidates": 3, "usage": {}, "usageMetadata": {}, "error": 0}',
        b'data: {"response": "text", "message": 3, "usage": 3, "candidates": [3], "choices": {}}\n\n',
        b'data: {"type": "response.completed", "response": [1]}\n\ndata: 7\n\n',
    ],
)
def test_unexpected_types_never_raise_and_make_nothing_up(url: str, body: bytes) -> None:
    """Covers P-PARSE-GEN-11, where the gem loses the event."""
    reading = answer(body, url)
    assert sum(reading.usage.values()) == 0
    assert (reading.status, reading.error_type) == (
        ("error", "truncated") if CUT_OFF in reading.notes else ("ok", None)
    )


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (7.9, 7),
        ("7", 7),
        (" 7 tokens", 7),
        ("7.9", 7),
        (0, 0),
        (-3, 0),
        ("", 0),
        ("x", 0),
        (True, 0),
        (1e308, 0),
        (10**20, 0),
    ],
)
def test_numbers_may_come_as_floats_and_texts(number: object, expected: int) -> None:
    """Covers P-PARSE-GEN-07. What is no count of anything is none."""
    reading = answer(json.dumps({"usage": {"prompt_tokens": number, "completion_tokens": 1}}).encode())
    assert reading.usage == {"input": expected, "output": 1}
    assert reading.notes == (("inconsistent",) if number == -3 else ())


def test_raw_usage_holds_numbers_and_no_text() -> None:
    usage = {
        **USAGE,
        "note": "what the user said",
        "flag": True,
        "nothing": None,
        "nested": {"a": 1, "b": "text", "list": [1.5, "x", {"c": 2}, []], "empty": {"d": "e"}},
        "endless": math.inf,
    }
    reading = answer(json.dumps({"usage": usage}).encode())
    assert reading.raw_usage == {**USAGE, "nested": {"a": 1, "list": [1.5, {"c": 2}]}}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            b'{"error": {"code": "invalid_api_key", "type": "invalid_request_error", "message": "sk-..."}}',
            "invalid_api_key",
        ),
        (b'{"error": {"code": null, "type": "insufficient_quota"}}', "insufficient_quota"),
        (b'{"error": {"code": 404, "status": "NOT_FOUND"}}', "NOT_FOUND"),
        (b'{"error": {"code": "401", "message": "Access denied"}}', "401"),
        (b'{"object": "error", "type": "invalid_request_error", "code": "1500"}', "invalid_request_error"),
        (b'{"type": "error", "error": {"type": "overloaded_error"}}', "overloaded_error"),
        (b'{"error": "a sentence about the prompt"}', "418"),
        (b'{"error": {"code": "a sentence about the prompt", "type": 3}}', "418"),
        (b'{"error": {"code": "' + b"x" * 65 + b'"}}', "418"),
        (b'{"detail": "Not Found"}', "418"),
        (b"<html>", "418"),
        (b"", "418"),
        (b"[]", "418"),
    ],
)
def test_an_error_is_named_by_its_code_never_by_its_text(body: bytes, expected: str) -> None:
    reading = answer(body, status=418)
    assert (reading.status, reading.error_type, reading.model, reading.notes) == ("error", expected, "m", ())


def test_an_error_within_a_success() -> None:
    """Azure's content filter answers 200 with an error object; OpenRouter does so when its provider fails."""
    reading = answer(b'{"error": {"message": "filtered", "type": null, "code": "content_filter", "status": 400}}')
    assert (reading.status, reading.error_type, reading.usage_source) == ("error", "content_filter", "unknown")
    assert answer(b'{"error": "boom"}').error_type == "_OTHER"


@pytest.mark.parametrize(
    ("events", "url"),
    [
        ([{"choices": [{"finish_reason": None}], "usage": USAGE}, None], CHAT),
        ([{"choices": [{"finish_reason": "stop"}], "usage": USAGE}], CHAT),
        ([{"choices": [], "usage": USAGE}], CHAT),
        ([{"type": "response.completed", "response": {"usage": USAGE}}], RESPONSES),
        (
            [
                {"type": "message_start", "message": {"usage": {"input_tokens": 12}}},
                {"type": "message_delta", "usage": {"output_tokens": 3}},
            ],
            MESSAGES,
        ),
        (
            [
                {
                    "candidates": [{"finishReason": "STOP"}],
                    "usageMetadata": {"promptTokenCount": 12, "candidatesTokenCount": 3},
                }
            ],
            GEMINI,
        ),
    ],
)
def test_a_stream_that_says_it_is_over_is_whole_however_it_was_closed(events: list[object], url: str) -> None:
    reading = answer(sse(*events), url, complete=False)
    assert (reading.usage, reading.usage_source, reading.notes) == ({"input": 12, "output": 3}, "stream_final", ())


@pytest.mark.parametrize(
    ("events", "url", "usage"),
    [
        ([{"id": "c", "model": "m2", "choices": [{"delta": {"content": "x"}}]}], CHAT, {}),
        ([{"choices": [{"delta": {}}], "usage": USAGE}], CHAT, {"input": 12, "output": 3}),
        ([{"type": "response.created", "response": {"id": "resp_1", "usage": None}}], RESPONSES, {}),
        (
            [{"type": "message_start", "message": {"usage": {"input_tokens": 12, "output_tokens": 1}}}],
            MESSAGES,
            {"input": 12, "output": 1},
        ),
        ([{"usageMetadata": {"promptTokenCount": 12}}], GEMINI, {"input": 12}),
    ],
)
def test_a_stream_that_was_cut_off_says_what_is_known(events: list[object], url: str, usage: dict[str, int]) -> None:
    reading = answer(sse(*events) + b'data: {"choices": [{"de', url, complete=False)
    assert (reading.usage, reading.usage_source) == (usage, "partial" if usage else "unknown")
    assert (reading.stream, reading.status, reading.notes) == (True, "ok", (CUT_OFF,))


@pytest.mark.parametrize(
    ("event", "url"),
    [
        ({"id": "c", "choices": [{"delta": {"content": "x"}, "finish_reason": None}]}, CHAT),
        ({"type": "response.output_text.delta", "delta": "x"}, RESPONSES),
        ({"type": "content_block_delta", "delta": {"type": "text_delta", "text": "x"}}, MESSAGES),
        ({"candidates": [{"content": {"parts": [{"text": "x"}]}}], "usageMetadata": {"promptTokenCount": 12}}, GEMINI),
    ],
)
def test_a_stream_that_its_server_ended_too_soon_is_an_error_of_its_own(event: object, url: str) -> None:
    reading = answer(sse(event), url)
    assert (reading.status, reading.error_type, reading.notes) == ("error", "truncated", (CUT_OFF,))
    assert reading.usage_source in ("unknown", "partial")


@pytest.mark.parametrize("last", [{"choices": [{"delta": {}, "finish_reason": "stop"}]}, {"usage": USAGE}])
def test_a_host_may_leave_out_openais_done(last: object) -> None:
    reading = answer(sse({"id": "c", "choices": [{"delta": {"content": "x"}}]}, last), CHAT)
    assert (reading.status, reading.error_type) == ("ok", None)
    assert CUT_OFF not in reading.notes


@pytest.mark.parametrize("body", [b"", b"\n", b'{"id": "c", "mod'])
def test_a_stream_that_was_never_consumed(body: bytes) -> None:
    reading = answer(body, complete=False, request=b'{"model": "m", "stream": true}')
    assert (reading.model, reading.stream, reading.usage_source) == ("m", True, "unknown")
    assert CUT_OFF in reading.notes


def test_a_json_body_that_parses_is_whole() -> None:
    assert answer(json.dumps({"usage": USAGE}).encode(), complete=False).notes == ()


def test_a_gap_in_the_middle_of_a_stream() -> None:
    """Capture keeps head and tail of a long stream: the rest of a broken event stands before the next one."""
    head = sse({"id": "c", "model": "gpt-4o", "choices": [{"delta": {"content": "x"}}]})
    tail = b'ontent": "y"}}]}\n\n' + sse(
        {"choices": [{"finish_reason": "stop"}]}, {"choices": [], "usage": USAGE}, None
    )
    reading = answer(head + GAP + tail)
    assert (reading.provider_response_id, reading.model) == ("c", "gpt-4o")
    assert (reading.usage, reading.usage_source, reading.notes) == ({"input": 12, "output": 3}, "stream_final", ())


@pytest.mark.parametrize("spaces", [b"", b" ", b"\n  "])
def test_usage_is_recovered_from_a_last_event_cut_at_its_front(spaces: bytes) -> None:
    head = sse({"type": "response.created", "response": {"id": "resp_1", "model": "gpt-5", "usage": None}})
    usage = b'"usage":' + spaces + b'{"input_tokens":12,"input_tokens_details":{"cached_tokens":2},"output_tokens":3}'
    tail = rb'long text that says \"usage\":{\"input_tokens\":999}"}],' + usage + b',"user":null}}\n\n'
    reading = answer(head + GAP + tail, RESPONSES)
    assert (reading.provider_response_id, reading.model) == ("resp_1", "gpt-5")
    assert reading.usage == {"input": 10, "cache_read": 2, "output": 3}
    assert (reading.usage_source, reading.notes) == ("stream_final", ("recovered_usage",))


def test_usage_is_recovered_from_a_json_body_with_a_gap() -> None:
    body = (
        b'{"id": "c1", "model": "gpt-4o", "choices": [{"message": '
        + GAP
        + b'text"}}], "usage": '
        + json.dumps(USAGE).encode()
        + b"}"
    )
    reading = answer(body)
    assert (reading.provider_response_id, reading.model, reading.usage) == ("c1", "gpt-4o", {"input": 12, "output": 3})
    assert (reading.stream, reading.notes) == (False, ("unparsable_body", "recovered_usage"))


def embeddings(order: tuple[str, ...]) -> bytes:
    parts = {
        "data": [{"object": "embedding", "index": 0, "embedding": [0.0123456789] * 40_000}],
        "model": "text-embedding-3-small",
        "usage": {"prompt_tokens": 8, "total_tokens": 8},
        "id": "embd-1",
    }
    return json.dumps({name: parts[name] for name in order}).encode()


@pytest.mark.parametrize(
    "order",
    [
        ("id", "data", "model", "usage"),
        ("id", "model", "data", "usage"),
        ("data", "usage", "model", "id"),
        ("usage", "id", "model", "data"),
    ],
)
def test_a_long_embeddings_answer_is_read_like_a_short_one(order: tuple[str, ...]) -> None:
    """Skimmed from its ends, or parsed where the usage is at neither."""
    body = embeddings(order)
    assert len(body) > BIG
    reading = answer(body, EMBEDDINGS)
    assert (reading.model, reading.provider_response_id) == ("text-embedding-3-small", "embd-1")
    assert (reading.usage, reading.usage_source, reading.notes) == ({"input": 8}, "response", ())


def test_headers_are_of_no_consequence_to_what_a_body_is() -> None:
    """A stream labelled as JSON is read as a stream, and JSON labelled as a stream as JSON."""
    whole, streamed = json.dumps({"usage": USAGE}).encode(), sse({"choices": [], "usage": USAGE}, None)
    for headers in ({}, {"CONTENT-TYPE": "text/event-stream"}, {"content-type": "application/json"}):
        for body, stream in ((whole, False), (streamed, True), (b"\xef\xbb\xbf" + whole, False)):
            reading = read_exchange(url=CHAT, request_body=b"", status=200, headers=headers, body=body)
            assert reading is not None
            assert (reading.usage, reading.stream) == ({"input": 12, "output": 3}, stream)


def test_json_lines_are_a_stream() -> None:
    body = b'{"id": "c", "choices": [{}]}\n' + json.dumps({"choices": [], "usage": USAGE}).encode() + b"\n"
    reading = answer(body)
    assert (reading.usage, reading.stream, reading.usage_source) == ({"input": 12, "output": 3}, True, "stream_final")


def test_a_tail_without_any_count_recovers_nothing() -> None:
    tail = b'xx","usage": {"note": "text"}, "usage" 3, "usage": {"broken": }}\n\n'
    reading = answer(sse({"id": "c", "model": "gpt-4o", "choices": []}) + GAP + tail)
    assert (reading.usage, reading.usage_source, reading.notes) == ({}, "unknown", ("cut_off",))


def test_a_route_may_come_with_a_url_that_cannot_be_parsed() -> None:
    route = find_route("POST", "api.openai.com", None, "/v1/chat/completions")
    assert route is not None
    body = json.dumps({"usage": USAGE}).encode()
    reading = read(route, url="http://[::1", request_body=b"", status=200, headers={}, body=body)
    assert reading.usage == {"input": 12, "output": 3}


def test_a_failure_of_the_reader_itself_is_an_unknown_row() -> None:
    class Broken(bytes):
        def removeprefix(self, *_: object) -> bytes:
            raise RuntimeError

    reading = answer(Broken(b"{}"))
    assert (reading.model, reading.usage_source, reading.notes) == ("m", "unknown", ("unparsable_body",))
