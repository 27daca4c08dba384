"""Framing: a complete body into its events."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_llm_cost.providers.events import Event
from flask_llm_cost.providers.sse import ends_of, events_of


def test_no_input_means_no_events() -> None:
    """Covers P-PARSE-SSE-01."""
    assert events_of(b"") == []
    assert events_of(b"\n\n\r\n") == []


def test_data_only_events_are_split_at_blank_lines_and_decoded() -> None:
    """Covers P-PARSE-SSE-02."""
    events = events_of(b'data: {"a": 1}\n\ndata: {"b": 2}\n\n')
    assert [event.decoded() for event in events] == [{"a": 1}, {"b": 2}]


def test_named_events_keep_their_name() -> None:
    """Covers P-PARSE-SSE-03."""
    assert events_of(b'event: message_start\ndata: {"a": 1}\n\n') == [Event("message_start", b'{"a": 1}')]


def test_the_done_sentinel_is_an_end_and_no_payload() -> None:
    """Covers P-PARSE-SSE-04. As an event it tells that the stream is whole; it decodes to nothing."""
    events = events_of(b'data: {"a": 1}\n\ndata: [DONE]\n\n')
    assert [event.done for event in events] == [False, True]
    assert [event.decoded() for event in events] == [{"a": 1}, None]


def test_comments_are_ignored() -> None:
    """Covers P-PARSE-SSE-05."""
    assert events_of(b": OPENROUTER PROCESSING\n\n:\ndata: {}\n: in between\n\n") == [Event(None, b"{}")]


def test_several_data_lines_are_joined_with_newlines_before_decoding() -> None:
    """Covers P-PARSE-SSE-06."""
    (event,) = events_of(b'data: {"a":\ndata: 1}\n\n')
    assert event.data == b'{"a":\n1}'
    assert event.decoded() == {"a": 1}


def test_data_that_are_no_json_stay_text() -> None:
    """Covers P-PARSE-SSE-07."""
    (event,) = events_of("data: übung\n\n".encode())
    assert (event.decoded(), event.text()) == (None, "übung")


@pytest.mark.parametrize("body", [b'[{"a": 1}, {"b": 2}]', b' \r\n\t[\n{"a": 1}\n,\r\n{"b": 2}]\n'])
def test_a_json_array_is_read_as_events(body: bytes) -> None:
    """Covers P-PARSE-SSE-08 (the array)."""
    assert [event.decoded() for event in events_of(body)] == [{"a": 1}, {"b": 2}]


@pytest.mark.parametrize("body", [b"[", b"[oops]", b'[{"a": ', b"[1, 2]", b"[" * 100_000])
def test_a_malformed_array_yields_no_events(body: bytes) -> None:
    """Covers P-PARSE-SSE-08 (malformed)."""
    assert events_of(body) == []


def test_an_array_that_was_cut_off_keeps_its_whole_elements() -> None:
    assert [event.decoded() for event in events_of(b'[{"a": 1}\n,\n{"b": 2}\n,\n{"c": ')] == [{"a": 1}, {"b": 2}]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"event: x\r\ndata: 1\r\n\r\ndata: 2\r\n\r\n", [Event("x", b"1"), Event(None, b"2")]),
        (b"data:1\n\n", [Event(None, b"1")]),
        (b"data:  two spaces\n\n", [Event(None, b" two spaces")]),
        (b"event:x\ndata: last", [Event("x", b"last")]),
    ],
    ids=["crlf", "no space", "one space is stripped", "no blank line at the end"],
)
def test_line_endings_spaces_and_a_final_event(body: bytes, expected: list[Event]) -> None:
    """Covers P-PARSE-SSE-09."""
    assert events_of(body) == expected


def test_empty_data_names_and_ignored_fields() -> None:
    """Covers P-PARSE-SSE-10: empty data make an event, the name ends with it, ``id`` and ``retry`` mean nothing."""
    body = b"event: first\nid: 7\nretry: 10\ndata:\n\ndata: second\n\nevent: without data\n\ndata\n\n"
    assert events_of(body) == [Event("first", b""), Event(None, b"second"), Event(None, b"")]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"\xef\xbb\xbfdata: 1\n\ndata: 2\n\n", [b"1", b"2"]),
        (b"data: 1\r\rdata: 2\r\r", [b"1", b"2"]),
        (b'{"a": 1}\n{"b": 2}\n\n{"c": 3}', [b'{"a": 1}', b'{"b": 2}', b'{"c": 3}']),
        (b'{"a": 1}', [b'{"a": 1}']),
    ],
    ids=["byte-order mark", "lone CR", "JSON lines", "one JSON object"],
)
def test_what_the_gem_could_not_frame(body: bytes, expected: list[bytes]) -> None:
    """Covers P-PARSE-SSE-11, where the gem is weak."""
    assert [event.data for event in events_of(body)] == expected


def test_the_rest_of_an_event_cut_in_two_is_passed_over() -> None:
    assert events_of(b'data: {"a": 1}\n\n"usage":{"x": 1}}\n\ndata: {"b": 2}\n\n') == [
        Event(None, b'{"a": 1}'),
        Event(None, b'{"b": 2}'),
    ]


_payloads = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=10), max_size=3)
_names = st.none() | st.sampled_from(["message_start", "response.completed", "x"])


@given(
    st.lists(st.tuples(_names, _payloads), max_size=6),
    st.sampled_from([b"\n", b"\r\n", b"\r"]),
    st.booleans(),
    st.sampled_from([b"", b" "]),
)
def test_newline_style_comments_and_spaces_change_nothing(
    sent: list[tuple[str | None, dict[str, object]]], newline: bytes, comments: bool, space: bytes
) -> None:
    lines: list[bytes] = []
    for name, payload in sent:
        lines += [b": keep-alive"] if comments else []
        lines += [b"event:" + space + name.encode()] if name else []
        lines += [b"data:" + space + json.dumps(payload).encode(), b""]
    events = events_of(newline.join([*lines, b""]))
    assert [(event.name, event.decoded()) for event in events] == sent


@given(st.binary(max_size=300))
def test_framing_never_raises(body: bytes) -> None:
    for event in events_of(body):
        event.decoded()
        event.text()


@pytest.mark.parametrize("events", [1, 6, 9, 200])
def test_the_ends_of_a_long_stream_are_its_first_two_and_last_six_events(events: int) -> None:
    body = b"\n\n".join(b'data: {"number": %d, "text": "%s"}' % (number, b"x" * 700) for number in range(events))
    ends = ends_of(body)
    if len(body) <= 4096 or events <= 8:
        assert ends is None
    else:
        assert ends == events_of(body)[:2] + events_of(body)[-6:]


def test_a_long_stream_has_no_ends_where_something_between_them_tells_or_lines_end_otherwise() -> None:
    body = b"".join(b'data: {"number": %d, "text": "%s"}\n\n' % (number, b"x" * 700) for number in range(20))
    assert ends_of(body.strip(), (b'"number": 19,', b'"number": 0,')) is not None
    assert ends_of(body.strip(), (b'"number": 19,', b'"number": 9,')) is None
    assert ends_of(body.replace(b"\n", b"\r\n")) is None
