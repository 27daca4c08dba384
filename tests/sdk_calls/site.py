"""Where an SDK asks, and what an app sees of its answers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx2

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]

# What differs between any two calls, with us or without: padding, item ids, the clock.
_RANDOM = re.compile(
    r'"obfuscation": "[^"]*"|"(?:rs|msg|fc|ws)_[0-9a-f]{20,}"|"(?:date|x-request-id|server-timing)": "[^"]*"',
    re.IGNORECASE,
)


def seen(answer: Any) -> Any:
    """What the app sees of an SDK object, as plain data, without what differs between any two calls."""
    return json.loads(_RANDOM.sub(_masked, json.dumps(answer.model_dump(mode="json", warnings=False))))


def _masked(match: re.Match[str]) -> str:
    name, colon, _ = match.group().partition(": ")
    return f'{name}: ""' if colon else '""'


class Detour(httpx2.HTTPTransport):
    """Sends what is meant for a provider's own host to a local server, below the client: the URL stays the real one."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._target = httpx2.URL(url)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        return super().handle_request(_redirected(request, self._target))


class AsyncDetour(httpx2.AsyncHTTPTransport):
    def __init__(self, url: str) -> None:
        super().__init__()
        self._target = httpx2.URL(url)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        return await super().handle_async_request(_redirected(request, self._target))


def _redirected(request: httpx2.Request, target: httpx2.URL) -> httpx2.Request:
    url = request.url.copy_with(scheme=target.scheme, host=target.host, port=target.port)
    return httpx2.Request(
        request.method, url, headers=request.headers, stream=request.stream, extensions=request.extensions
    )


@dataclass(frozen=True)
class Site:
    """Where to ask: a local server under its own address, or under the providers' own host names.

    Attributes:
        url: the local server.
        real_hosts: ask api.openai.com and so on, with a detour below the client.
        wrap: what to do with each SDK client made.
    """

    url: str
    real_hosts: bool = False
    wrap: Callable[[Any], Any] = lambda client: client

    def options(self, asynchronous: bool = False, path: str = "") -> dict[str, Any]:
        options: dict[str, Any] = {"api_key": "test", "max_retries": 0}
        if not self.real_hosts:
            return {**options, "base_url": self.url + path}
        client = httpx2.AsyncClient if asynchronous else httpx2.Client
        return {**options, "http_client": client(transport=(AsyncDetour if asynchronous else Detour)(self.url))}


@dataclass(frozen=True)
class SDKCall:
    """One way of asking.

    Attributes:
        provider, model: as the ledger is to name them.
        stream: whether the answer is streamed.
        ask: asks a site and returns what the app saw.
    """

    name: str
    provider: str
    model: str
    stream: bool
    ask: Callable[[Site], Any]
