"""Where an SDK asks, and what an app sees of its answers."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import httpx2

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]

# What differs between any two calls, with us or without: padding, item ids, the clock, addresses in memory.
_RANDOM = re.compile(
    r'"obfuscation": ?"[^"]*"|"(?:rs|msg|fc|ws)_[0-9a-f]{20,}"'
    r'|"(?:date|x-request-id|server-timing)": ?"[^"]*"'
    r"|'(?:date|x-request-id)': ?'[^']*'|'id': '[0-9a-f-]{36}'"
    r"|req_[0-9a-z]{20,}|0x[0-9a-f]{6,}",
    re.IGNORECASE,
)
# How a stream's last word on the answer looks, whoever streams; OpenAI's usage comes after it.
_LAST = re.compile(
    r'"finish_reason": ?"|"finishReason": ?"|"stop_reason": ?"|"stopReason": ?"|"response\.completed"'
    r'|"type": "message_stop"'
)
_PATIENCE_S = 30.0

Taking = Literal["all", "break", "close", "drop", "forget", "cancel", "cancel early"]


def seen(answer: Any) -> Any:
    """What the app sees of an SDK's answer, as plain data, without what differs between any two calls."""
    if hasattr(answer, "model_dump"):
        answer = answer.model_dump(mode="json", warnings=False)
    if isinstance(answer, (bytes, str)):
        return _RANDOM.sub("", answer.decode() if isinstance(answer, bytes) else answer)
    return json.loads(_RANDOM.sub(_masked, json.dumps(answer, default=_plain)))


def raised(error: BaseException) -> list[str]:
    """What the app sees of an exception: its class and what it says."""
    return ["raised", f"{type(error).__module__}.{type(error).__qualname__}", _RANDOM.sub("", str(error))]


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json", warnings=False) if hasattr(value, "model_dump") else repr(value)


def _masked(match: re.Match[str]) -> str:
    name, colon, _ = match.group().partition(": ")
    return f'{name}: ""' if colon else '""'


def _is_last(event: Any) -> bool:
    return bool(_LAST.search(event if isinstance(event, str) else json.dumps(event)))


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
    """Where to ask, and how the app takes the answer.

    Attributes:
        url: the local server, or a provider's address that a proxy leads to one.
        real_hosts: ask api.openai.com and so on, with a detour below the client.
        wrap: what to do with each SDK client made.
        taking: how a stream is taken: "all" of it; "break" after its finish reason; "close" or "forget" after one
            event; "drop" without reading any; "cancel" the task after one event; "cancel early", before any answer.
        timeout_s: how long clients wait; ``None`` leaves them their own time-out.
        retries: how often clients ask again.
        asked: whether the request has arrived at the server.
    """

    url: str
    real_hosts: bool = False
    wrap: Callable[[Any], Any] = lambda client: client
    taking: Taking = "all"
    timeout_s: float | None = None
    retries: int = 0
    asked: Callable[[], bool] = lambda: True

    def options(self, asynchronous: bool = False, path: str = "") -> dict[str, Any]:
        options: dict[str, Any] = {"api_key": "test", **self.patience()}
        if not self.real_hosts:
            return {**options, "base_url": self.url + path}
        client = httpx2.AsyncClient if asynchronous else httpx2.Client
        return {**options, "http_client": client(transport=(AsyncDetour if asynchronous else Detour)(self.url))}

    def patience(self) -> dict[str, Any]:
        """A client's time-out and retries, as the SDKs of OpenAI and Anthropic take them."""
        return {"max_retries": self.retries} | ({} if self.timeout_s is None else {"timeout": self.timeout_s})

    def take(self, stream: Any) -> Any:
        """Read a stream the way this site does. What the app saw: the events, then the error if there was one."""
        if self.taking == "drop":
            return []
        got: list[Any] = []
        try:
            for event in stream:
                got.append(seen(event))
                if self._leaves(got):
                    break
            if self.taking == "close":
                stream.close()
        except Exception as error:
            got.append(raised(error))
        return got

    async def take_async(self, stream: Any) -> Any:
        """``take`` for an async stream."""
        if self.taking == "drop":
            return []
        got: list[Any] = []
        if self.taking == "cancel":
            return await self._cancelled(stream, got)
        try:
            await self._read(stream, got)
            if self.taking == "close":
                await (stream.aclose if hasattr(stream, "aclose") else stream.close)()
        except Exception as error:
            got.append(raised(error))
        return got

    def run(self, asking: Coroutine[Any, Any, Any]) -> Any:
        """Run an async call: to its end, or until the request is at the server where it is to be cancelled early."""

        async def run() -> Any:
            task = asyncio.ensure_future(asking)
            if self.taking == "cancel early":
                while not (self.asked() or task.done()):
                    await asyncio.sleep(0.001)
                task.cancel()
            try:
                return await task
            except asyncio.CancelledError as error:
                return raised(error)

        return asyncio.run(run())

    def _leaves(self, got: list[Any]) -> bool:
        return self.taking in ("close", "forget") or (self.taking == "break" and _is_last(got[-1]))

    async def _read(self, stream: Any, got: list[Any]) -> None:
        async for event in stream:
            got.append(seen(event))
            if self._leaves(got):
                break

    async def _cancelled(self, stream: Any, got: list[Any]) -> list[Any]:
        task = asyncio.ensure_future(self._read(stream, got))
        while not got:
            await asyncio.sleep(0.001)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.wait_for(task, _PATIENCE_S)
        return [*got, "cancelled" if task.cancelled() else "not cancelled"]


HOSTS = {
    "openai": "api.openai.com",
    "azure": "anything.openai.azure.com",
    "anthropic": "api.anthropic.com",
    "gemini": "generativelanguage.googleapis.com",
    "vertex": "us-central1-aiplatform.googleapis.com",
    "bedrock": "bedrock-runtime.us-east-1.amazonaws.com",
    "mistral": "api.mistral.ai",
    "groq": "api.groq.com",
    "cohere": "api.cohere.com",
}

Tokens = tuple[int, int, int, int]
# Fresh input, cache reads, output and hidden output of the programmed answer: no more input than the question may be.
TOKENS: Tokens = (10, 4, 50, 10)
EMBEDDED: Tokens = (10, 0, 0, 0)
NOTHING: Tokens = (0, 0, 0, 0)


@dataclass(frozen=True)
class SDKCall:
    """One way of asking.

    Attributes:
        provider, model: as the ledger is to name them.
        stream: whether the answer is streamed.
        ask: asks a site and returns what the app saw.
        tokens: fresh input, cache reads, output and hidden output, as the ledger is to have them.
        recorded: whether it is a call to a model at all.
        takes: its stream is read by ``site.take`` or ``site.take_async``, so it can be left half-way.
        asynchronous: it runs in ``site.run``, so it can be cancelled.
        patient: its client minds the site's ``timeout_s`` and ``retries``. Such a call also stands for its way over
            the wire in endings that concern nothing else.
        early_usage: its stream reports usage from its first event on.
        lazy: its stream asks the server when its first event is read.
        whole_only: it does not take compressed answers.
        wraps: its client goes through ``site.wrap``.
        thorough: it runs through every ending; any other is read to its end and no more.
    """

    name: str
    provider: str
    model: str
    stream: bool
    ask: Callable[[Site], Any]
    tokens: Tokens = TOKENS
    recorded: bool = True
    takes: bool = False
    asynchronous: bool = False
    patient: bool = False
    early_usage: bool = False
    lazy: bool = False
    whole_only: bool = False
    wraps: bool = True
    thorough: bool = True

    @property
    def host(self) -> str:
        return HOSTS[self.provider]
