"""aiohttp: what a response's body is read through."""

from __future__ import annotations

from asyncio import IncompleteReadError
from collections.abc import Callable, Coroutine
from typing import Any

import wrapt

from flask_llm_cost.capture.exchange import Exchange


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
        self._self_put_back = 0
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

    def unread_data(self, data: bytes) -> None:
        self.__wrapped__.unread_data(data)
        self._self_put_back += len(data)

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
        self._self_exchange.drop(self._self_error, complete=self.__wrapped__.at_eof())

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
            again = min(self._self_put_back, len(data))
            self._self_put_back -= again
            self._self_exchange.copy(data[again:] if again else data)
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
