"""A request to a provider, as far as anything here looks at it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """What a request asks, and of whom.

    Attributes:
        url: the whole URL; read for the model in its path, never stored.
        port: as in the URL; ``None`` where it names none.
        path: without the query string.
        body: the request's body as far as it is in memory.
        captured_by: which HTTP library sends it.
        headers: of the request, where another body could be sent with it (see ``asking``).
    """

    url: str
    port: int | None
    path: str
    body: bytes
    captured_by: str
    headers: Mapping[str, str] | None = None
