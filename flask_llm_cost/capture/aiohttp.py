"""aiohttp: ``ClientSession._request``, of the class (``instrument``) or of one session (``wrap``).

Every verb of a session, the module's own ``request()`` and google-genai's async path end there; a
redirect chain passes it once. The body is read later, through ``response.content``: that reader is
what is proxied, since aiohttp's own tracing hooks do not see an ``async for`` over it.
"""

from __future__ import annotations

from asyncio import IncompleteReadError
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import wrapt

from flask_llm_cost.capture import form
from flask_llm_cost.capture.exchange import Exchange, Target, guarded, sending
from flask_llm_cost.capture.watch import Watch
from flask_llm_cost.tagging import TagsArgument

# aiohttp is no dependency and is never imported from here: its objects go by their shape.
AiohttpSession = Any
AiohttpResponse = Any


class SessionRequest:
    """The wrapper around ``ClientSession._request``."""

    def __init__(self, watch: Watch, *, provider: str | None = None, tags: TagsArgument = None) -> None:
        self.watch = watch
        self.provider = provider
        self.tags = tags

    async def __call__(
        self,
        request: Callable[..., Awaitable[AiohttpResponse]],
        session: AiohttpSession,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> AiohttpResponse:
        exchange = self._begin(session, *args, **kwargs)
        if exchange is None:
            return await request(*args, **kwargs)
        with sending(exchange):
            try:
                response = await request(*args, **kwargs)
            except Exception as error:
                with guarded(exchange):
                    _refused(exchange, error)
                raise
        with guarded(exchange):
            _follow(exchange, response, decoded=_inflates(session, kwargs))
        return response

    def _begin(
        self, session: AiohttpSession, method: object = "", str_or_url: object = "", **options: Any
    ) -> Exchange | None:
        try:
            url = session._build_url(str_or_url)  # noqa: SLF001 - joins the session's base URL, as the request will
            host, port = url.host or "", url.explicit_port
        except (AttributeError, TypeError, ValueError):
            return None
        return self.watch.begin(
            str(method),
            host,
            lambda: Target(str(url), port, url.path, _body(session, options), captured_by="aiohttp"),
            provider=self.provider,
            tags=self.tags,
            request=url,
        )


def _body(session: AiohttpSession, options: dict[str, Any]) -> bytes:
    """The request's body as far as it is in memory; a file or a generator is read once, and not by us."""
    data = options.get("data")
    if options.get("json") is not None:
        try:
            to_bytes = getattr(session, "_json_serialize_bytes", None)  # where the session has one, it goes first
            data = (to_bytes or session.json_serialize)(options["json"])
        except (TypeError, ValueError):
            return b""  # aiohttp is about to say so itself
    if isinstance(data, str):
        return data.encode()
    return bytes(data) if isinstance(data, (bytes, bytearray, memoryview)) else form.of_aiohttp(data)


def _inflates(session: AiohttpSession, options: dict[str, Any]) -> bool:
    asked = options.get("auto_decompress")
    return bool(session.auto_decompress if asked is None else asked)


def _refused(exchange: Exchange, error: Exception) -> None:
    """With ``raise_for_status`` aiohttp turns an answer into an error: there was an answer all the same."""
    status = getattr(error, "status", None)
    # One with a cause is about an answer that could not be parsed; its status is made up.
    if isinstance(status, int) and status >= 400 and error.__cause__ is None:
        exchange.answered(status, {})
        exchange.finish(b"")


def _follow(exchange: Exchange, response: AiohttpResponse, *, decoded: bool) -> None:
    exchange.answered(response.status, response.headers)
    body = exchange.streams()
    if decoded:
        body.already_decoded()
    # A middleware may have read the answer already.
    if isinstance(getattr(response, "_body", None), bytes):
        exchange.copy(response._body)  # noqa: SLF001
        exchange.finish_stream()
    else:
        response.content = ContentTee(response.content, exchange)


class ContentTee(wrapt.ObjectProxy[Any]):
    """aiohttp's ``StreamReader`` with its reading methods copying what they return.

    Its iterators are made by its own class on top of this proxy, so they are the same objects with
    the same chunk boundaries. What was cancelled may be read on (a time-out around one line, say):
    only an error that stays, the end, or the response's release finishes the exchange.
    """

    def __init__(self, content: object, exchange: Exchange) -> None:
        super().__init__(content)
        self._self_exchange = exchange
        self._self_error: BaseException | None = None
        self._self_started = False
        self._self_blocks: list[bytes] | None = None

    async def read(self, n: int = -1) -> bytes:
        return await self._piece(self.__wrapped__.read(n)) if n >= 0 else await self._whole(n)

    async def readany(self) -> bytes:
        if self._self_blocks is None:
            return await self._piece(self.__wrapped__.readany())
        block: bytes = await self.__wrapped__.readany()
        self._self_blocks.append(block)
        return block

    async def readline(self, **options: Any) -> bytes:
        return await self._piece(self.__wrapped__.readline(**options))

    async def readuntil(self, separator: bytes = b"\n", **options: Any) -> bytes:
        return await self._piece(self.__wrapped__.readuntil(separator, **options))

    async def readchunk(self) -> tuple[bytes, bool]:
        try:
            data, ends_chunk = await self.__wrapped__.readchunk()
        except BaseException as error:
            self._failed(error)
            raise
        self._passed(data)
        return data, ends_chunk

    async def readexactly(self, n: int) -> bytes:
        # On top of this proxy: it reads by read(n), and those pieces are copied.
        data: bytes = await self._own("readexactly")(n)
        return data

    def read_nowait(self, n: int = -1) -> bytes:
        data: bytes = self.__wrapped__.read_nowait(n)
        self._passed(data)
        return data

    def __aiter__(self) -> Any:
        return self._own("__aiter__")()

    def iter_chunked(self, n: int) -> Any:
        return self._own("iter_chunked")(n)

    def iter_any(self) -> Any:
        return self._own("iter_any")()

    def iter_chunks(self) -> Any:
        return self._own("iter_chunks")()

    def at_eof(self) -> bool:
        ended = bool(self.__wrapped__.at_eof())
        if ended:
            self._self_exchange.finish_stream()
        return ended

    def set_exception(self, *args: Any) -> None:
        """What closing and releasing a response come to."""
        try:
            self._left()
        finally:
            self.__wrapped__.set_exception(*args)

    def __del__(self) -> None:
        self._left()

    def _own(self, name: str) -> Callable[..., Any]:
        """A method of the reader's own class, with this proxy for ``self``."""
        method: Callable[..., Any] = getattr(type(self.__wrapped__), name)
        return lambda *args: method(self, *args)

    async def _piece(self, reading: Coroutine[Any, Any, bytes]) -> bytes:
        try:
            data = await reading
        except BaseException as error:
            self._failed(error)
            raise
        self._passed(data)
        return data

    async def _whole(self, n: int) -> bytes:
        """Read to the end. The blocks are kept beside: after a broken connection the reader has none of them."""
        blocks = self._self_blocks = []
        try:
            data: bytes = await self._own("read")(n)
        except BaseException as error:
            self._self_exchange.copy(b"".join(blocks))
            self._failed(error)
            raise
        finally:
            self._self_blocks = None
        body = self._self_exchange.body
        if self._self_started or body is None or body.encoded:
            self._passed(data)
            self._self_exchange.finish_stream()
        else:
            self._self_exchange.finish(data)
        return data

    def _passed(self, data: bytes) -> None:
        self._self_error = None
        if data:
            self._self_started = True
            self._self_exchange.copy(data)
        elif self.__wrapped__.at_eof():
            self._self_exchange.finish_stream()

    def _failed(self, error: BaseException) -> None:
        if isinstance(error, IncompleteReadError):
            return
        self._self_error = error
        if self.__wrapped__.exception() is not None:
            self._self_exchange.finish_stream(error=error)

    def _left(self) -> None:
        self._self_exchange.finish_stream(complete=self.__wrapped__.at_eof(), error=self._self_error)
