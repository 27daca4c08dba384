"""Short fields of a multipart form (RFC 7578), found without touching the file that is sent beside them."""

from __future__ import annotations

import re

from flask_llm_cost.providers.fields import JSON

_NAME = re.compile(rb';[ \t]*name="([^"\r\n]{1,64})"', re.IGNORECASE)
_HEAD, _VALUE, _PARTS = 1024, 256, 64


def form_fields(body: bytes) -> JSON:
    """The text fields of a form. Longer values, files and whatever is no form are left out.

    The boundary is the form's first line. Searching for it takes about a millisecond for 25 MB.
    """
    boundary, newline, _ = body[:_HEAD].partition(b"\r\n")
    fields: dict[str, object] = {}
    if not newline or not boundary.startswith(b"--") or len(boundary) < 3:
        return fields
    start = len(boundary)
    for _ in range(_PARTS):
        end = body.find(b"\r\n" + boundary, start)
        if end < 0:
            return fields
        head, blank, _ = body[start : start + _HEAD].partition(b"\r\n\r\n")
        value_start = start + len(head) + len(blank)
        name = _NAME.search(head)
        short = value_start <= end <= value_start + _VALUE
        if blank and name and short and b"filename" not in head.lower():
            fields.setdefault(name[1].decode("utf-8", "replace"), body[value_start:end].decode("utf-8", "replace"))
        start = end + 2 + len(boundary)
    return fields
