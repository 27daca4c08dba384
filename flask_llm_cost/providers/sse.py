"""Framing: a complete body into its events, be it server-sent events, JSON lines or one JSON array.

Not a client: the bytes are all there, so it is one pass over lines. The grammar is that of the WHATWG
HTML standard, section 9.2.6; the ``id`` and ``retry`` fields mean nothing here. Lines that are no field
at all, such as the rest of an event cut in two, are passed over.
"""

from __future__ import annotations

import json

from flask_llm_cost.providers.events import Event

_BOM = b"\xef\xbb\xbf"
_BLANKS = b" \t\r\n"
_ARRAY_SPACE = " \t\r\n,"

_LONG, _FIRST, _LAST = 4 * 1024, 2, 6  # bytes; events

_decoder = json.JSONDecoder()
_event = tuple.__new__


def events_of(body: bytes) -> list[Event]:
    """The events of a body, in order. ``[DONE]`` is one of them; comments and empty events without data are not."""
    content = body.removeprefix(_BOM).lstrip(_BLANKS)
    if content[:1] == b"[":
        return _array(content)
    if content[:1] == b"{":
        return [Event(data=line) for line in map(bytes.strip, content.splitlines()) if line]
    return _server_sent(content)


def ends_of(content: bytes, telling: tuple[bytes, ...] = ()) -> list[Event] | None:
    """The first and the last few of many server-sent events.

    Args:
        telling: what must not stand between them.

    ``None``: they are few, framed in another way, or something between them tells.
    """
    first, last = 0, len(content)
    for _ in range(_FIRST if len(content) > _LONG else 0):
        first = content.find(b"\n\n", first) + 2
    for _ in range(_LAST):
        last = content.rfind(b"\n\n", 0, max(last, 0))
    if first < 2 or last <= first or any(content.find(mark, first, last) >= 0 for mark in telling):
        return None
    return _server_sent(content[:first]) + _server_sent(content[last:])


def _server_sent(content: bytes) -> list[Event]:
    if b"\r" in content:
        content = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    events: list[Event] = []
    name: str | None = None
    data: list[bytes] = []
    # A final event is one even where no blank line follows it.
    for line in (*content.split(b"\n"), b""):
        if line.startswith(b"data: "):
            data.append(line[6:])
        elif not line:
            if data:
                events.append(_event(Event, (name, data[0] if len(data) == 1 else b"\n".join(data), None)))
                data = []
            name = None
        else:
            field, _, value = line.partition(b":")
            if field == b"data":
                data.append(value)
            elif field == b"event":
                name = value.removeprefix(b" ").decode("utf-8", "replace")
    return events


def _array(content: bytes) -> list[Event]:
    """The objects of an array, as far as it goes: a stream cut off has no closing bracket."""
    document = content.decode("utf-8", "replace")
    events: list[Event] = []
    at = 1
    while True:
        while at < len(document) and document[at] in _ARRAY_SPACE:
            at += 1
        try:
            value, at = _decoder.raw_decode(document, at)
        except (ValueError, RecursionError):
            return events
        if isinstance(value, dict):
            events.append(Event(value=value))
