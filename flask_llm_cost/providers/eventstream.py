"""Framing of AWS event streams (``application/vnd.amazon.eventstream``): a complete body into its messages.

A message is a prelude (total length, length of the headers, CRC of both), headers, a payload and a CRC over
all of it; numbers are big-endian (Smithy specification, "Amazon Event Stream"). Both CRCs are checked: of a
long stream only head and tail are kept, and the checksum is what tells the next true message from chance.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

_PRELUDE = struct.Struct(">III")
_CRC = struct.Struct(">I")
_LEAST = _PRELUDE.size + _CRC.size
# The limits of the specification; the first byte of a message is therefore 0 or 1.
_MOST_HEADERS, _MOST_PAYLOAD = 128 * 1024, 24 * 1024 * 1024
_TEXT, _BYTES = 7, 6
_FIXED = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}


@dataclass(frozen=True, slots=True)
class Message:
    """One message.

    Attributes:
        headers: those that are text (":event-type", ":message-type", ":exception-type").
        payload: its bytes.
    """

    headers: Mapping[str, str]
    payload: bytes


def messages_of(body: bytes) -> list[Message]:
    """The whole messages of a body, in order. What is damaged or cut off is passed over."""
    messages: list[Message] = []
    at = 0
    while at + _LEAST <= len(body):
        end = _message_end(body, at)
        if end is None:
            at = _next_start(body, at + 1)
            continue
        message = _message(body[at:end])
        if message is not None:
            messages.append(message)
        at = end
    return messages


def _message_end(body: bytes, at: int) -> int | None:
    """Where the message that starts here ends; ``None`` where none starts, or not all of it is there."""
    total, headers, crc = _PRELUDE.unpack_from(body, at)
    if not _LEAST + headers <= total <= _LEAST + headers + _MOST_PAYLOAD or headers > _MOST_HEADERS:
        return None
    end = at + total
    if end > len(body) or zlib.crc32(body[at : at + 8]) != crc:
        return None
    (whole_crc,) = _CRC.unpack_from(body, end - _CRC.size)
    return end if zlib.crc32(body[at : end - _CRC.size]) == whole_crc else None


def _next_start(body: bytes, at: int) -> int:
    """Where a message may start next: no length is so long that its first byte is more than 1."""
    found = [place for place in (body.find(b"\0", at), body.find(b"\1", at)) if place >= 0]
    return min(found, default=len(body))


def _message(frame: bytes) -> Message | None:
    _, length, _ = _PRELUDE.unpack_from(frame)
    start = _PRELUDE.size + length
    headers = _headers(frame[_PRELUDE.size : start])
    return None if headers is None else Message(headers, frame[start : -_CRC.size])


def _headers(block: bytes) -> dict[str, str] | None:
    """The headers that are text; ``None`` where the block is not made of headers."""
    headers: dict[str, str] = {}
    at = 0
    while at < len(block):
        name_end = at + 1 + block[at]
        if name_end >= len(block):
            return None
        kind, start = block[name_end], name_end + 1
        if kind in (_TEXT, _BYTES):
            start += 2
            length = int.from_bytes(block[start - 2 : start], "big")
        elif kind in _FIXED:
            length = _FIXED[kind]
        else:
            return None
        if start + length > len(block):
            return None
        if kind == _TEXT:
            name, value = block[at + 1 : name_end], block[start : start + length]
            headers[name.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
        at = start + length
    return headers
