"""httpx and httpx2: ``Client.send``, one client's ``send``, and a delegating transport.

The two families have unrelated classes with the same shape, so everything here goes by shape and no
Response is ever built. ``Client.send`` is where to watch: it sees each attempt once, whatever
transport, proxy or pool lies beneath, and a redirect chain as one call.
"""

from __future__ import annotations

import importlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from types import TracebackType
from typing import Any

import wrapt

from flask_llm_cost.capture import form
from flask_llm_cost.capture.asking import Asking, args_with, stripped, stripped_async
from flask_llm_cost.capture.exchange import Exchange
from flask_llm_cost.capture.guards import body_in_memory, guarded, never_raising
from flask_llm_cost.capture.layers import sending
from flask_llm_cost.capture.target import Target
from flask_llm_cost.capture.watch import Watch
from flask_llm_cost.tagging import TagsArgument

# Requests and responses of either family; their classes share no base.
HttpxRequest = Any
HttpxResponse = Any

FAMILIES = ("httpx", "httpx2")


class Send:
    """The wrapper around a ``send``: of a client class (``instrument``) or of one client (``wrap``)."""

    def __init__(self, watch: Watch, *, provider: str | None = None, tags: TagsArgument = None) -> None:
        self.watch = watch
        self.provider = provider
        self.tags = tags

    def sync(
        self, send: Callable[..., HttpxResponse], _client: object, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> HttpxResponse:
        request = _request_of(args, kwargs)
        exchange = self._begin(request)
        if exchange is None:
            return send(*args, **kwargs)
        with Asking(exchange, request) as asking, sending(exchange):
            args, kwargs = args_with(asking.request, args, kwargs)
            response = send(*args, **kwargs)
        asking.disown(response)
        return _follow(exchange, response, StreamTee)

    async def asynchronous(
        self,
        send: Callable[..., Awaitable[HttpxResponse]],
        _client: object,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> HttpxResponse:
        request = _request_of(args, kwargs)
        exchange = self._begin(request)
        if exchange is None:
            return await send(*args, **kwargs)
        with Asking(exchange, request) as asking, sending(exchange):
            args, kwargs = args_with(asking.request, args, kwargs)
            response = await send(*args, **kwargs)
        asking.disown(response)
        return _follow(exchange, response, AsyncStreamTee)

    def _begin(self, request: HttpxRequest | None) -> Exchange | None:
        return None if request is None else begin(self.watch, request, self.provider, self.tags)


def _request_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> HttpxRequest | None:
    return args[0] if args else kwargs.get("request")


@never_raising
def begin(watch: Watch, request: HttpxRequest, provider: str | None, tags: TagsArgument) -> Exchange | None:
    """Follow an httpx or httpx2 request, if it is a call to a model."""
    return watch.begin(
        request.method,
        request.url.host,
        lambda: str(request.url.path),
        lambda: _target(request),
        provider=provider,
        tags=tags,
        request=request,
    )


def _target(request: HttpxRequest) -> Target:
    url = request.url
    # A body that is still to be streamed up is not there to be read; it must not be read on the app's behalf.
    # A form's short fields are: they are kept beside the files.
    body = body_in_memory(
        lambda: request._content if hasattr(request, "_content") else form.of_httpx(request.stream)  # noqa: SLF001
    )
    library = type(request).__module__.partition(".")[0]
    return Target(str(url), url.port, url.path, body, captured_by=library, headers=request.headers)


def _follow(exchange: Exchange, response: HttpxResponse, tee: Callable[[Any, Exchange], Any]) -> HttpxResponse:
    with guarded(exchange):
        exchange.answered(response.status_code, response.headers)
        if hasattr(response, "_content"):
            content = response._content  # noqa: SLF001
            response._content = exchange.handed_on(content)  # noqa: SLF001
            exchange.finish(content)
        elif (body := exchange.streams()) is not None:
            if body.encoded and exchange.question is not None:
                exchange.cannot_be_asked()
            response.stream = tee(response.stream, exchange)
    return response


class StreamTee(wrapt.ObjectProxy[Any]):
    """A response's byte stream that copies what passes. Everything else of the stream shines through.

    ``Response.elapsed`` and Anthropic's observer live on the stream as attributes.
    """

    def __init__(self, stream: object, exchange: Exchange) -> None:
        super().__init__(stream)
        self._self_exchange = exchange

    def __iter__(self) -> Iterator[bytes]:
        chunks, unasked = self._self_exchange.follow(self.__wrapped__), self._self_exchange.unasked
        return chunks if unasked is None else stripped(unasked, chunks)

    def close(self) -> None:
        try:
            self.__wrapped__.close()
        finally:
            self._self_exchange.finish_stream(complete=False)

    def __del__(self) -> None:
        # Dropped without being read or closed: the provider was paid all the same.
        self._self_exchange.drop()


class AsyncStreamTee(wrapt.ObjectProxy[Any]):
    """``StreamTee`` for an async response."""

    def __init__(self, stream: object, exchange: Exchange) -> None:
        super().__init__(stream)
        self._self_exchange = exchange

    def __aiter__(self) -> AsyncIterator[bytes]:
        unasked = self._self_exchange.unasked
        return self._pieces() if unasked is None else stripped_async(unasked, self._pieces())

    async def _pieces(self) -> AsyncGenerator[bytes]:
        exchange = self._self_exchange
        chunks = self.__wrapped__.__aiter__()
        try:
            async for chunk in chunks:
                exchange.copy(chunk)
                yield chunk
        except GeneratorExit:
            raise
        except BaseException as error:
            exchange.finish_stream(error=error)
            raise
        finally:
            # Close a generator that was read in part here, in the task that read it.
            aclose = getattr(chunks, "aclose", None)
            if aclose is not None:
                await aclose()
        exchange.finish_stream()

    async def aclose(self) -> None:
        try:
            await self.__wrapped__.aclose()
        finally:
            self._self_exchange.finish_stream(complete=False)

    def __del__(self) -> None:
        self._self_exchange.drop()


class Transport:
    """A transport for ``httpx.Client`` or ``httpx2.Client`` that records the calls passing through it.

    Args:
        inner: the transport that does the work; by default a fresh ``HTTPTransport`` of the family of
            the first request. Options of the client that belong to a transport (``verify``, ``http2``,
            ``limits``, proxies from the environment) go to ``inner``.
    """

    def __init__(self, watch: Watch, inner: Any = None, *, provider: str = "", tags: TagsArgument = None) -> None:
        self._watch = watch
        self._inner = inner
        self._provider = provider
        self._tags = tags

    def handle_request(self, request: HttpxRequest) -> HttpxResponse:
        inner = self._transport(request)
        exchange = begin(self._watch, request, self._provider, self._tags)
        if exchange is None:
            return inner.handle_request(request)
        with Asking(exchange, request) as asking, sending(exchange):
            response = inner.handle_request(asking.request)
        return _follow(exchange, response, StreamTee)

    def close(self) -> None:
        if self._inner is not None:
            self._inner.close()

    def __enter__(self) -> Transport:
        if self._inner is not None:
            self._inner.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._inner is not None:
            self._inner.__exit__(kind, error, traceback)

    def _transport(self, request: HttpxRequest) -> Any:
        if self._inner is None:
            self._inner = _family_of(request).HTTPTransport()
        return self._inner


class AsyncTransport:
    """``Transport`` for the async clients of either family."""

    def __init__(self, watch: Watch, inner: Any = None, *, provider: str = "", tags: TagsArgument = None) -> None:
        self._watch = watch
        self._inner = inner
        self._provider = provider
        self._tags = tags

    async def handle_async_request(self, request: HttpxRequest) -> HttpxResponse:
        if self._inner is None:
            self._inner = _family_of(request).AsyncHTTPTransport()
        exchange = begin(self._watch, request, self._provider, self._tags)
        if exchange is None:
            return await self._inner.handle_async_request(request)
        with Asking(exchange, request) as asking, sending(exchange):
            response = await self._inner.handle_async_request(asking.request)
        return _follow(exchange, response, AsyncStreamTee)

    async def aclose(self) -> None:
        if self._inner is not None:
            await self._inner.aclose()

    async def __aenter__(self) -> AsyncTransport:
        if self._inner is not None:
            await self._inner.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._inner is not None:
            await self._inner.__aexit__(kind, error, traceback)


def _family_of(request: HttpxRequest) -> Any:
    for base in type(request).__mro__:
        family = base.__module__.partition(".")[0]
        if family in FAMILIES:
            return importlib.import_module(family)
    raise TypeError(f"{type(request)!r} is a request of neither httpx nor httpx2; give the transport an inner one")
