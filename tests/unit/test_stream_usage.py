"""Asking a stream for its usage, and taking the traces out of the answer."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_llm_cost import ConfigurationError
from flask_llm_cost.providers import find_route
from flask_llm_cost.providers.stream_usage import (
    Unasked,
    asking,
    check_hosts,
    is_refusal,
    is_signed,
    is_unasked,
    may_be_asked,
)

CHAT = "/v1/chat/completions"


def asked(request: Any, **dumps: Any) -> Any:
    body = asking(json.dumps(request, **dumps).encode())
    return body if body is None else json.loads(body)


def test_a_body_keeps_every_byte_but_the_question() -> None:
    body = b'{ "stream" : true,\n "temperature": 1.00, "text": "\\u00e4 \xc3\xa4" \n}\n'
    assert asking(body) == (
        b'{ "stream" : true,\n "temperature": 1.00, "text": "\\u00e4 \xc3\xa4" \n,'
        b'"stream_options":{"include_usage":true}}\n'
    )


@pytest.mark.parametrize("options", [None, {}, {"include_obfuscation": False}])
def test_other_stream_options_are_kept(options: Any) -> None:
    request = {"model": "m", "stream": True, "stream_options": options, "text": "ä"}
    assert asked(request) == {**request, "stream_options": {**(options or {}), "include_usage": True}}


@pytest.mark.parametrize(
    "request_",
    [
        {"stream": True, "stream_options": {"include_usage": True}},
        {"stream": True, "stream_options": {"include_usage": False}},
        {"stream": True, "stream_options": "odd"},
        {"stream": False},
        {"stream": "true"},
        {},
        [],
        "stream",
        {"stream": True, "data_sources": [{"type": "azure_search"}]},
        {"stream": True, "dataSources": []},
    ],
    ids=str,
)
def test_what_asks_already_or_had_better_not_be_asked_is_left_alone(request_: Any) -> None:
    assert asked(request_) is None


@pytest.mark.parametrize("body", [b"", b"{", b'{"stream": true', b"\xff\xfe{\x00", '{"stream": true}'.encode("utf-16")])
def test_a_body_that_cannot_be_read_is_left_alone(body: bytes) -> None:
    assert asking(body) is None


@pytest.mark.parametrize(
    ("host", "path", "setting", "expected"),
    [
        ("api.openai.com", CHAT, True, True),
        ("API.openai.com", "/v1/completions", True, True),
        ("eu.api.openai.com", CHAT, (), False),
        ("api.openai.com", CHAT, False, False),
        ("api.openai.com", CHAT, ("llm.internal",), True),
        ("api.openai.com", "/v1/responses", True, False),
        ("llm.internal", CHAT, True, False),
        ("llm.internal", CHAT, ("llm.internal",), True),
        ("llm.internal", CHAT, ("llm.internal:8001",), True),
        ("llm.internal", CHAT, ("llm.internal:8002",), False),
        ("api.mistral.ai", CHAT, ("api.mistral.ai",), False),
        ("api.groq.com", "/openai/v1/chat/completions", ("api.groq.com",), False),
        ("api.anthropic.com", "/v1/messages", ("api.anthropic.com",), False),
    ],
)
def test_the_setting_decides_which_hosts_are_asked(host: str, path: str, setting: Any, expected: bool) -> None:
    route = find_route("POST", host, 8001, path, provider="openai")
    assert route is not None
    assert may_be_asked(route, host, 8001, setting) is expected


def test_a_host_that_speaks_as_one_that_refuses_is_not_asked() -> None:
    route = find_route("POST", "llm.internal", None, CHAT, compatible_hosts={"llm.internal": "mistral"})
    assert route is not None
    assert not may_be_asked(route, "llm.internal", None, ("llm.internal",))


def test_a_host_known_to_refuse_stops_start_up() -> None:
    with pytest.raises(ConfigurationError, match=r"LLM_COST_INJECT_STREAM_USAGE: 'api\.mistral\.ai' refuses"):
        check_hosts(("llm.internal", "api.mistral.ai"))
    check_hosts(True)
    check_hosts(("llm.internal", "api.openai.com:443"))


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Authorization": "Bearer x"}, False),
        ({"authorization": "AWS4-HMAC-SHA256 Credential=x"}, True),
        ({"Content-Digest": "sha-256=:x:"}, True),
        ({}, False),
    ],
)
def test_a_signed_body_is_known_by_its_headers(headers: dict[str, str], expected: bool) -> None:
    assert is_signed(headers) is expected


def test_only_a_complaint_about_the_option_is_a_refusal() -> None:
    assert is_refusal(422, b'{"loc":["body","stream_options","include_usage"]}')
    assert not is_refusal(400, b'{"error": "model not found"}')
    assert not is_refusal(200, b"stream_options")


def test_a_stream_that_nobody_asked_is_told_apart() -> None:
    route = find_route("POST", "api.openai.com", None, CHAT)
    other = find_route("POST", "api.anthropic.com", None, "/v1/messages")
    assert route is not None
    assert other is not None
    assert is_unasked(route, b'{"stream": true}')
    assert is_unasked(route, b'{"stream": true, "stream_options": {"include_usage": false}}')
    assert not is_unasked(route, b'{"stream": true, "stream_options": {"include_usage": true}}')
    assert not is_unasked(route, b'{"stream": false}')
    assert not is_unasked(other, b'{"stream": true}')


@pytest.mark.parametrize("host", ["api.mistral.ai", "api.groq.com"])
def test_one_that_reports_unasked_and_refuses_to_be_asked_is_not_told_apart(host: str) -> None:
    """Its stream broke: the advice to ask would be wrong, and stop start-up."""
    route = find_route("POST", host, None, "/openai/v1/chat/completions")
    assert route is not None
    assert not is_unasked(route, b'{"stream": true}')


def stream(*, with_usage: bool, end: str, tricky: str) -> bytes:
    """A chat stream as OpenAI sends it, asked for its usage or not."""
    null = ',"usage":null' if with_usage else ""
    text = json.dumps(tricky)
    events = [
        ": a comment",
        f'data: {{"id":"1","choices":[],"prompt_filter_results":[]{null}}}',
        f'data: {{"id":"1","choices":[{{"delta":{{"content":{text}}}}}]{null},"obfuscation":"x"}}',
        f'event: odd{end}data: {{"id":"1","choices":[{{"delta":{{}},"usage":null}}]{null}}}',
        'data: {"id":"1","choices":[{"delta":{}}],"usage":{"total_tokens":1}}',
        'data: {"choices":[],"usage":{"total_tokens":3},"id":"1"}' if with_usage else "",
        "data: [DONE]",
    ]
    return "".join(f"{event}{end}{end}" for event in events if event).encode()


TRICKY = ['plain "usage" text', '","usage":null', '\\","usage":null}', '{"choices":[],"usage":{"a":1}}', "\r\n\n"]


@pytest.mark.parametrize("tricky", TRICKY)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["lf", "crlf", "cr"])
def test_the_answer_is_that_of_a_stream_nobody_asked_wherever_it_is_cut(end: str, tricky: str) -> None:
    """At each byte boundary in turn, and byte by byte."""
    given_, expected = (stream(with_usage=each, end=end, tricky=tricky) for each in (True, False))
    for cut in range(len(given_) + 1):
        unasked = Unasked()
        assert unasked.feed(given_[:cut]) + unasked.feed(given_[cut:]) + unasked.end() == expected
    unasked = Unasked()
    assert b"".join(unasked.feed(given_[at : at + 1]) for at in range(len(given_))) + unasked.end() == expected


@given(st.text(), st.lists(st.integers(0, 2000)), st.sampled_from(["\n", "\r\n", "\r"]))
def test_any_text_passes_in_any_pieces(tricky: str, cuts: list[int], end: str) -> None:
    given_, expected = (stream(with_usage=each, end=end, tricky=tricky) for each in (True, False))
    bounds = [0, *sorted(min(cut, len(given_)) for cut in cuts), len(given_)]
    unasked = Unasked()
    pieces = [unasked.feed(given_[start:stop]) for start, stop in pairwise(bounds)]
    assert b"".join(pieces) + unasked.end() == expected


@given(st.binary(), st.lists(st.integers(0, 300)))
def test_what_is_no_stream_passes_to_the_byte(content: bytes, cuts: list[int]) -> None:
    content = content.replace(b'"usage"', b"")
    bounds = [0, *sorted(min(cut, len(content)) for cut in cuts), len(content)]
    unasked = Unasked()
    pieces = [unasked.feed(content[start:stop]) for start, stop in pairwise(bounds)]
    assert b"".join(pieces) + unasked.end() == content


def test_chunks_of_whole_events_stay_as_they_are_cut() -> None:
    events = [each + b"\n\n" for each in stream(with_usage=False, end="\n", tricky="x").split(b"\n\n")[:-1]]
    unasked = Unasked()
    assert [unasked.feed(event) for event in events] == events


def test_an_endless_event_is_not_held_for_ever() -> None:
    unasked = Unasked()
    handed_on = b"".join(unasked.feed(b"x" * 1000) for _ in range(100))
    assert len(handed_on) >= 65_000


def test_the_event_with_the_usage_goes_even_without_the_blank_line_after_it() -> None:
    unasked = Unasked()
    assert unasked.feed(b'data: {"choices":[],"usage":{"total_tokens":3}}') + unasked.end() == b""
