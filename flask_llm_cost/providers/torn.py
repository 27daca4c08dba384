"""What can be told of a JSON object whose middle is missing, as exactly as if it were all there.

Of a very long event only the two ends are kept. From the front its members are read one by one as far as they
are whole. From the back a member is read where everything from it to the end is well-formed and closes as many
objects as are open: a key of the same name within a text, or deeper down, does not. That holds where the gap is
in one long member, a text or a list say, which is what makes an event long.
"""

from __future__ import annotations

import json
import re

TORN = b"\0"  # no JSON text has it

_AFTER_GAP = ("usage", "service_tier", "tool_usage", "container_id", "status", "type", "model", "usageMetadata")
_CANDIDATES = 32
_COLON = re.compile(r"\s*:\s*")
_COMMA = re.compile(r"\s*,\s*")
_OPENING = re.compile(r"\s*\{\s*")

_decoder = json.JSONDecoder()


def torn_object(data: bytes) -> dict[str, object] | None:
    """The members of an object that are there, and those of the one object within it that the gap is in.

    ``None``: the data are no object with a gap.
    """
    front, gap, _ = data.partition(TORN)
    if not gap:
        return None
    found, inner = _front(front.decode("utf-8", "replace"))
    if found is None:
        return None
    back = data.rpartition(TORN)[2].decode("utf-8", "replace")
    for name in _AFTER_GAP:
        _add_back(found, inner, back, name)
    return found


def _front(text: str, depth: int = 4) -> tuple[dict[str, object] | None, dict[str, object] | None]:
    """The object that begins here, and the last one within it that begins and does not end."""
    opening = _OPENING.match(text) if depth else None
    if opening is None:
        return None, None
    members: dict[str, object] = {}
    at = opening.end()
    while True:
        try:
            name, at = _decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            return members, None
        colon = _COLON.match(text, at)
        if colon is None or not isinstance(name, str):
            return members, None
        at = colon.end()
        try:
            value, end = _decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            inner = _front(text[at:], depth - 1)[0]
            if inner is not None:
                members[name] = inner
            return members, inner
        comma = _COMMA.match(text, end)
        if comma is None:
            # A number may go on in the gap.
            return members, None
        members[name], at = value, comma.end()


def _add_back(found: dict[str, object], inner: dict[str, object] | None, text: str, name: str) -> None:
    """Add a member from behind the gap, with all those after it, to the object that it belongs to."""
    key, at = f'"{name}"', len(text)
    for _ in range(_CANDIDATES):
        at = text.rfind(key, 0, at)
        if at < 0:
            return
        closed = _closing(text[at:])
        if len(closed) == 1:
            found.update(closed[0])
            return
        if len(closed) == 2 and inner is not None:
            inner.update(closed[0])
            found.update(closed[1])
            return


def _closing(text: str) -> list[dict[str, object]]:
    """The members up to the end, by object, the innermost first; nothing where the text does not close that way."""
    closed: list[dict[str, object]] = []
    rest = text
    while len(closed) < 2:
        try:
            members, end = _decoder.raw_decode("{" + rest)
        except (ValueError, RecursionError):
            return []
        closed.append(members)
        rest = ("{" + rest)[end:].lstrip()
        if not rest:
            return closed
        if rest[0] == ",":
            rest = rest[1:]
    return []
