"""Gemini's generateContent, on Google's own host and on Vertex AI."""

from __future__ import annotations

import json

import pytest

from flask_llm_cost.providers import read_exchange
from flask_llm_cost.usage import Reading

BASE = "https://generativelanguage.googleapis.com/v1beta/models/"
ONCE, STREAM = BASE + "gemini-2.5-flash:generateContent", BASE + "gemini-2.5-flash:streamGenerateContent?alt=sse"


def read(body: object, url: str = ONCE, request: object = None, status: int = 200) -> Reading:
    encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
    reading = read_exchange(
        url=url, request_body=json.dumps(request or {}).encode(), status=status, headers={}, body=encoded
    )
    assert reading is not None
    return reading


def stream(*chunks: object, array: bool = False) -> Reading:
    if array:
        return read(b"[" + b"\n,\r\n".join(json.dumps(chunk).encode() for chunk in chunks) + b"\n]", STREAM)
    return read("".join(f"data: {json.dumps(chunk)}\r\n\r\n" for chunk in chunks).encode(), STREAM)


def usage(prompt: int | None, candidates: int | None = None, **more: object) -> dict[str, object]:
    counted = {"promptTokenCount": prompt, "candidatesTokenCount": candidates}
    return {"usageMetadata": {**{name: count for name, count in counted.items() if count is not None}, **more}}


def test_the_model_is_in_the_path() -> None:
    """Covers P-PARSE-GEM-03."""
    assert read(usage(1, 1)).model == "gemini-2.5-flash"
    assert read(usage(1, 1), BASE + ":generateContent").model == "unknown"


def test_the_model_that_answered_goes_before_the_one_in_the_path() -> None:
    """Covers P-PARSE-GEM-04, where design 02 goes further: an alias in the path has no price of its own."""
    reading = read({**usage(1, 1), "modelVersion": "gemini-3-flash"}, BASE + "gemini-flash-latest:generateContent")
    assert (reading.model, reading.request_model) == ("gemini-3-flash", "gemini-flash-latest")


def test_thoughts_are_output_on_top_of_the_candidates() -> None:
    """Covers P-PARSE-GEM-05."""
    body = {**usage(100, 25, thoughtsTokenCount=50, totalTokenCount=175, serviceTier="standard"), "responseId": "r1"}
    reading = read(body)
    assert reading == Reading(
        provider="gemini",
        model="gemini-2.5-flash",
        usage={"input": 100, "output": 25, "output.reasoning": 50},
        request_model="gemini-2.5-flash",
        operation="generate_content",
        provider_response_id="r1",
        usage_source="response",
        raw_usage={
            "promptTokenCount": 100,
            "candidatesTokenCount": 25,
            "thoughtsTokenCount": 50,
            "totalTokenCount": 175,
        },
    )
    assert (reading.output_tokens, reading.total_tokens) == (75, 175)


def test_cached_content_is_taken_out_of_the_prompt() -> None:
    """Covers P-PARSE-GEM-06."""
    reading = read(usage(100, 20, cachedContentTokenCount=25, thoughtsTokenCount=5))
    assert reading.usage == {"input": 75, "cache_read": 25, "output": 20, "output.reasoning": 5}
    assert (reading.output_tokens, reading.total_tokens) == (25, 125)


@pytest.mark.parametrize(
    ("url", "request_body", "expected"),
    [(STREAM, b"", True), (ONCE, b"", False), (ONCE, b'{"stream": true}', True), (ONCE, b"{}", False)],
)
def test_the_verb_tells_a_stream(url: str, request_body: bytes, expected: bool) -> None:
    """Covers P-PARSE-GEM-07."""
    reading = read_exchange(url=url, request_body=request_body, status=503, headers={}, body=b"")
    assert reading is not None
    assert reading.stream is expected


@pytest.mark.parametrize("array", [False, True])
def test_stream_the_last_usage_wins(array: bool) -> None:
    """Covers P-PARSE-GEM-08."""
    reading = stream(
        {**usage(80, 5), "responseId": "r1"},
        {
            **usage(80, 42, thoughtsTokenCount=10, totalTokenCount=132),
            "responseId": "r2",
            "candidates": [{"finishReason": "STOP"}],
        },
        array=array,
    )
    assert reading.usage == {"input": 80, "output": 42, "output.reasoning": 10}
    assert (reading.output_tokens, reading.total_tokens, reading.provider_response_id) == (52, 132, "r2")
    assert (reading.stream, reading.usage_source) == (True, "stream_final")


def test_stream_with_cached_content_and_no_total() -> None:
    """Covers P-PARSE-GEM-09."""
    reading = stream(usage(80, 42, cachedContentTokenCount=10, thoughtsTokenCount=8))
    assert reading.usage == {"input": 70, "cache_read": 10, "output": 42, "output.reasoning": 8}
    assert (reading.output_tokens, reading.total_tokens) == (50, 130)


def test_stream_without_usage() -> None:
    """Covers P-PARSE-GEM-10."""
    reading = stream({"candidates": [], "responseId": "r1"})
    assert (reading.model, reading.provider_response_id) == ("gemini-2.5-flash", "r1")
    assert (reading.usage, reading.usage_source) == ({}, "unknown")


def test_fresh_input_is_never_negative() -> None:
    """Covers P-PARSE-GEM-11."""
    reading = read(usage(10, 1, cachedContentTokenCount=25))
    assert (reading.usage, reading.notes) == ({"input": 0, "cache_read": 25, "output": 1}, ("inconsistent",))


def test_results_of_tools_are_input() -> None:
    """Covers P-PARSE-GEM-12, where the gem drops them: they are billed as input."""
    reading = read(usage(100, 25, toolUsePromptTokenCount=30, totalTokenCount=155))
    assert (reading.usage, reading.notes) == ({"input": 130, "output": 25}, ())


def test_what_the_total_has_beyond_its_parts_is_output() -> None:
    reading = read(usage(100, 25, toolUsePromptTokenCount=30, thoughtsTokenCount=5, totalTokenCount=180))
    assert reading.usage == {"input": 130, "output": 45, "output.reasoning": 5}
    assert reading.notes == ("remainder_is_output",)


def test_thoughts_within_the_candidates_are_counted_once() -> None:
    reading = read(usage(10, 30, thoughtsTokenCount=20, totalTokenCount=40))
    assert (reading.usage, reading.notes) == ({"input": 10, "output": 10, "output.reasoning": 20}, ())


def test_a_total_smaller_than_its_parts_is_noted() -> None:
    reading = read(usage(10, 30, totalTokenCount=35))
    assert (reading.usage, reading.notes) == ({"input": 10, "output": 30}, ("inconsistent",))


def test_a_missing_prompt_count() -> None:
    """What the total leaves; not said at all where there is no total either: unknown is not zero."""
    assert read(usage(None, 30, totalTokenCount=40)).usage == {"input": 10, "output": 30}
    assert read(usage(None, 23, thoughtsTokenCount=67)).usage == {"output": 23, "output.reasoning": 67}
    assert read(usage(5, None)).usage == {"input": 5}


def details(**modalities: int) -> list[dict[str, object]]:
    return [{"modality": name, "tokenCount": count} for name, count in modalities.items()]


@pytest.mark.parametrize("as_numbers", [False, True])
def test_modalities(as_numbers: bool) -> None:
    """Cached audio is priced as such; documents are text here. Vertex may answer with numbers for names."""
    body = usage(
        1000,
        100,
        cachedContentTokenCount=300,
        promptTokensDetails=details(TEXT=300, AUDIO=400, IMAGE=200, VIDEO=50, DOCUMENT=50),
        cacheTokensDetails=details(TEXT=200, AUDIO=100),
        toolUsePromptTokenCount=60,
        toolUsePromptTokensDetails=details(TEXT=50, IMAGE=10),
        candidatesTokensDetails=details(TEXT=20, IMAGE=70, AUDIO=10),
    )
    if as_numbers:
        numbers = {"TEXT": 1, "IMAGE": 2, "VIDEO": 3, "AUDIO": 4, "DOCUMENT": 5}
        text = json.dumps(body)
        for name, number in numbers.items():
            text = text.replace(f'"{name}"', str(number))
        body = json.loads(text)
    assert read(body).usage == {
        "input": 200,
        "input.audio": 300,
        "input.image": 210,
        "input.video": 50,
        "cache_read": 200,
        "cache_read.audio": 100,
        "output": 20,
        "output.audio": 10,
        "output.image": 70,
    }


@pytest.mark.parametrize(
    ("reported", "asked", "expected"),
    [
        ({"serviceTier": "flex"}, None, "flex"),
        ({"serviceTier": "standard"}, "priority", None),
        ({}, "flex", "flex"),
        ({"trafficType": "ON_DEMAND"}, "flex", None),
        ({"trafficType": "ON_DEMAND_PRIORITY"}, None, "priority"),
        ({"trafficType": "ON_DEMAND_FLEX"}, None, "flex"),
        ({"trafficType": "PROVISIONED_THROUGHPUT"}, None, "provisioned_throughput"),
        ({"trafficType": 1}, None, None),
        ({"trafficType": 2}, None, "provisioned_throughput"),
        ({"trafficType": 9}, None, "traffic_9"),
        ({"trafficType": "NOVEL"}, None, "traffic_novel"),
        ({}, None, None),
    ],
)
def test_the_served_tier_wins(reported: dict[str, object], asked: str | None, expected: str | None) -> None:
    request = {} if asked is None else {"serviceTier": asked}
    assert read(usage(1, 1, **reported), request=request).pricing_mode == expected


def grounded(*queries: str) -> dict[str, object]:
    return {"candidates": [{"groundingMetadata": {"webSearchQueries": list(queries)}, "finishReason": "STOP"}]}


@pytest.mark.parametrize(
    ("model", "queries", "expected"),
    [
        ("gemini-2.5-flash", ("a", "b"), 1),
        ("gemini-3-flash-preview", ("a", "", "b", "a"), 2),
        ("gemini-3.5-pro", ("a",), 1),
        ("gemini-3.5-pro", (), None),
        ("gemini-2.5-flash", ("",), None),
        ("gemini-flash-latest", ("a",), None),
    ],
)
def test_grounding_is_billed_by_prompt_and_from_generation_3_by_query(
    model: str, queries: tuple[str, ...], expected: int | None
) -> None:
    body = {**usage(1, 1), **grounded(*queries), "modelVersion": model}
    assert read(body).usage.get("tool.grounding") == expected
    split = [{**usage(1, 1), **grounded(query), "modelVersion": model} for query in queries] or [body]
    assert stream(*split).usage.get("tool.grounding") == expected


def test_a_blocked_prompt_ends_the_stream() -> None:
    reading = stream({"promptFeedback": {"blockReason": "SAFETY"}, **usage(7, None, totalTokenCount=7)})
    assert (reading.usage, reading.usage_source) == ({"input": 7, "output": 0}, "stream_final")


def test_a_refused_request() -> None:
    body = {"error": {"code": 429, "message": "Quota exceeded for ...", "status": "RESOURCE_EXHAUSTED"}}
    for answered in (body, [body]):
        reading = read(answered, STREAM, status=429)
        assert (reading.status, reading.error_type, reading.model) == (
            "error",
            "RESOURCE_EXHAUSTED",
            "gemini-2.5-flash",
        )


def test_an_error_in_the_midst_of_a_stream() -> None:
    reading = stream(usage(7, 1), {"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}})
    assert (reading.status, reading.error_type, reading.input_tokens) == ("error", "UNAVAILABLE", 7)
