"""A form that is still to be sent: its short text fields, without reading a file or using up a stream."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

# What matters to a bill is short: a model, a size, a quality, a number. Prompts are not.
_LONGEST = 256

_NAME = re.compile(r'\bname="([^"]*)"')

Fields = Iterable[tuple[object, object]]


def of_httpx(stream: object) -> bytes:
    """The fields of httpx's and httpx2's ``MultipartStream``; empty for every other stream."""
    fields = getattr(stream, "fields", None)
    if not isinstance(fields, list):
        return b""
    return _as_json((getattr(field, "name", None), getattr(field, "value", None)) for field in fields)


def of_aiohttp(data: Any) -> bytes:
    """The fields of what aiohttp makes a form of: a mapping, pairs, a ``FormData`` or a ``MultipartWriter``."""
    if isinstance(data, Mapping):
        return _as_json(data.items())
    if isinstance(data, (list, tuple)):
        return _as_json(pair for pair in data if isinstance(pair, tuple) and len(pair) == 2)
    form = getattr(data, "_fields", None)
    if isinstance(form, list):
        return _as_json((options.get("name"), value) for options, _headers, value in form if "filename" not in options)
    parts = getattr(data, "_parts", None)
    return _as_json(_named(parts)) if isinstance(parts, list) else b""


def _named(parts: Iterable[Any]) -> Iterator[tuple[object, object]]:
    for part, *_encodings in parts:
        disposition = str(part.headers.get("Content-Disposition", ""))
        name = _NAME.search(disposition)
        if name is not None and "filename" not in disposition:
            yield name[1], part._value  # noqa: SLF001 - what the part was made of; a file is never read


def _as_json(fields: Fields) -> bytes:
    """The fields as the JSON body that says the same. A file is a tuple or an object with ``read``: no field."""
    kept: dict[str, str] = {}
    for name, value in fields:
        word = value.decode("utf-8", "replace") if isinstance(value, bytes) and len(value) <= _LONGEST else value
        if isinstance(name, str) and isinstance(word, str) and len(word) <= _LONGEST:
            kept.setdefault(name, word)
    return json.dumps(kept).encode() if kept else b""
