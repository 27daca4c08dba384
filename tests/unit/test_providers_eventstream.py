"""AWS event streams: framing, damage and cuts."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_llm_cost.providers.eventstream import Message, messages_of

NAMES = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=20)
VALUES = st.text(max_size=30)
MESSAGES = st.lists(st.tuples(st.dictionaries(NAMES, VALUES, max_size=3), st.binary(max_size=60)), max_size=5)


def header(name: str, value: str) -> bytes:
    encoded = value.encode()
    return bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(encoded)) + encoded


def framed(headers: bytes, payload: bytes) -> bytes:
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    front = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + payload
    return front + struct.pack(">I", zlib.crc32(front))


def message(headers: dict[str, str], payload: bytes) -> bytes:
    return framed(b"".join(header(name, value) for name, value in headers.items()), payload)


@given(MESSAGES)
def test_what_was_framed_comes_back(messages: list[tuple[dict[str, str], bytes]]) -> None:
    body = b"".join(message(headers, payload) for headers, payload in messages)
    assert messages_of(body) == [Message(headers, payload) for headers, payload in messages]


@given(MESSAGES, st.data())
def test_a_cut_costs_the_messages_it_goes_through_and_no_others(
    messages: list[tuple[dict[str, str], bytes]], data: st.DataObject
) -> None:
    frames = [message(headers, payload) for headers, payload in messages]
    body = b"".join(frames)
    cut = data.draw(st.integers(0, len(body)))
    ends = [sum(map(len, frames[: number + 1])) for number in range(len(frames))]
    whole = [Message(*each) for each, end in zip(messages, ends, strict=True) if end <= cut]
    assert messages_of(body[:cut]) == whole
    starts = [end - len(frame) for end, frame in zip(ends, frames, strict=True)]
    rest = [Message(*each) for each, start in zip(messages, starts, strict=True) if start >= cut]
    assert messages_of(body[cut:]) == rest


@given(st.binary(max_size=300))
def test_any_bytes_are_read(body: bytes) -> None:
    assert all(isinstance(each.payload, bytes) for each in messages_of(body))


@given(st.binary(max_size=40), st.binary(max_size=20))
def test_any_headers_are_read_or_their_message_is_passed_over(headers: bytes, payload: bytes) -> None:
    after = message({":event-type": "chunk"}, b"{}")
    found = messages_of(framed(headers, payload) + after)
    assert found[-1] == Message({":event-type": "chunk"}, b"{}")
    assert [each.payload for each in found[:-1]] in ([], [payload])


def test_a_damaged_message_is_passed_over() -> None:
    first, second, third = (message({":event-type": name}, b'{"n": 0}') for name in ("a", "b", "c"))
    for at in range(len(second)):
        damaged = second[:at] + bytes([second[at] ^ 0x40]) + second[at + 1 :]
        found = messages_of(first + damaged + third)
        assert [each.headers[":event-type"] for each in found] == ["a", "c"]


def test_headers_that_are_no_text_are_skipped_by_their_length() -> None:
    kinds = b"\x01a\x00" + b"\x01b\x02\x01" + b"\x01c\x04\x00\x00\x00\x01"
    kinds += b"\x01d\x06\x00\x02xy" + b"\x01e\x09" + bytes(16)
    assert messages_of(framed(kinds + header(":event-type", "z"), b"p")) == [Message({":event-type": "z"}, b"p")]


@pytest.mark.parametrize(
    "headers", [b"\x05ab", b"\x01a\x0c\x00", b"\x01a\x07\x00", b"\x01a\x07\x00\x09x", b"\x01a", b"\x00"]
)
def test_headers_that_do_not_add_up_are_no_headers(headers: bytes) -> None:
    assert messages_of(framed(headers, b"p")) == []


def test_lengths_beyond_the_specification_are_no_message() -> None:
    prelude = struct.pack(">II", 2**32 - 1, 0)
    assert messages_of(prelude + struct.pack(">I", zlib.crc32(prelude)) + bytes(100)) == []
