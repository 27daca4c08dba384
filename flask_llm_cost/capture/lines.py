"""Where the lines of a result file come from: a path, bytes, an open file, an SDK's download, any iterable."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

Lines = str | PathLike[str] | bytes | Iterable[object] | object

_CHUNK = 1 << 16


def lines_of(source: Lines) -> Iterator[tuple[int, object]]:
    """The lines that are not blank with their numbers, from 1, one at a time.

    Args:
        source: a path (``str`` or ``PathLike``); the content (``bytes``); an HTTP answer or an SDK's download
            (anything with ``iter_bytes()`` or ``iter_content()``); else any iterable of lines.

    Raises:
        OSError: the file cannot be read.
        TypeError: it is none of these.
    """
    if isinstance(source, str | PathLike):
        with Path(source).open("rb") as file:
            yield from _numbered(file)
        return
    if isinstance(source, Mapping) or not any(hasattr(source, way) for way in ("__iter__", "iter_bytes")):
        raise TypeError(f"{type(source).__name__}: a path, bytes, an open file, a download or an iterable of lines")
    yield from _numbered(_split(source))


def decoded(line: object) -> Mapping[str, Any]:
    """One line as a mapping: JSON text, a mapping already, or an SDK's object.

    Raises:
        ValueError: it is no JSON object.
    """
    dump = getattr(line, "model_dump", None)
    if callable(dump):
        line = dump(mode="json", by_alias=True, warnings=False)
    if isinstance(line, str | bytes | bytearray):
        try:
            line = json.loads(line if isinstance(line, str) else line.decode("utf-8-sig"))
        except RecursionError:
            raise ValueError("nested too deeply") from None
    if not isinstance(line, Mapping):
        raise ValueError(f"a JSON object was expected, not {type(line).__name__}")  # noqa: TRY004
    return line


def _numbered(lines: Iterable[object]) -> Iterator[tuple[int, object]]:
    for number, line in enumerate(lines, 1):
        if not isinstance(line, str | bytes) or line.strip():
            yield number, line


def _split(source: Any) -> Iterable[object]:
    """Lines end at a line feed and nowhere else: JSON may hold what httpx's ``iter_lines`` takes for line ends."""
    if isinstance(source, bytes):
        return source.split(b"\n")
    if hasattr(source, "iter_bytes"):
        return _lines(source.iter_bytes())
    if hasattr(source, "iter_content"):
        return _lines(source.iter_content(_CHUNK))
    return source if isinstance(source, Iterable) else ()


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest: list[bytes] = []
    for chunk in chunks:
        first, *more = chunk.split(b"\n")
        rest.append(first)
        for part in more:
            yield b"".join(rest)
            rest = [part]
    yield b"".join(rest)
