"""aiohttp's answer to a stream that was asked for its usage (see ``asking``)."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from flask_llm_cost.capture.aiohttp_content import ContentTee
from flask_llm_cost.capture.exchange import Exchange
from flask_llm_cost.failures import report

log = logging.getLogger(__name__)


def asking_options(exchange: Exchange, options: dict[str, Any]) -> dict[str, Any]:
    """The options of a request, with the question in its body. The app's own objects stay as they are."""
    question = exchange.question
    if question is None:
        return options
    try:
        return {**options, **_asking_body(question.body, options.get("data"), options.get("json"))}
    except Exception as error:
        exchange.question = None
        report(log, error, "A request could not be made to ask for its usage; it goes out as it is.")
        return options


def _asking_body(body: bytes, data: object, document: object) -> dict[str, object]:
    """The body in the form in which the app gave it."""
    if document is None:
        return {"data": body.decode() if isinstance(data, str) else body}
    if not isinstance(document, Mapping):
        raise TypeError(f"the body is a {type(document).__name__}")
    return {"json": {**document, "stream_options": json.loads(body)["stream_options"]}}


class AskedContent(ContentTee):
    """``ContentTee`` that takes out of what is read what only the asking put in."""

    def __init__(self, content: object, exchange: Exchange) -> None:
        super().__init__(content, exchange)
        self._self_kept = bytearray()

    async def read(self, n: int = -1) -> bytes:
        if n < 0:
            while await self._pull():
                """Until there is no more."""
            return self._taken()
        while n and not self._self_kept and await self._pull():
            """Until there is something to hand on."""
        return self._taken(n)

    async def readany(self) -> bytes:
        while not self._self_kept and await self._pull():
            """Until there is something to hand on."""
        return self._taken()

    async def readline(self, **options: Any) -> bytes:
        return await self.readuntil(b"\n", **options)

    async def readuntil(self, separator: bytes = b"\n", **options: Any) -> bytes:
        if not separator:
            return await super().readuntil(separator, **options)
        while (at := self._self_kept.find(separator)) < 0 and await self._pull():
            """Until there is a whole line."""
        return self._taken(None if at < 0 else at + len(separator))

    async def readchunk(self) -> tuple[bytes, bool]:
        while True:
            data, ends_chunk = await super().readchunk()
            self._keep(data)
            if not data and not ends_chunk:
                self._keep_rest()
            if self._self_kept or not (data or ends_chunk):
                return self._taken(), ends_chunk

    def read_nowait(self, n: int = -1) -> bytes:
        self._keep(super().read_nowait())
        return self._taken(None if n < 0 else n)

    def at_eof(self) -> bool:
        ended = super().at_eof()
        if ended:
            self._keep_rest()
        return ended and not self._self_kept

    async def _pull(self) -> bool:
        """Read what there is. Returns whether there may be more."""
        data = await super().readany()
        self._keep(data)
        if not data:
            self._keep_rest()
        return bool(data)

    def _keep(self, data: bytes) -> None:
        unasked = self._self_exchange.unasked
        self._self_kept += data if unasked is None else unasked.feed(data)

    def _keep_rest(self) -> None:
        unasked = self._self_exchange.unasked
        self._self_kept += b"" if unasked is None else unasked.end()

    def _taken(self, n: int | None = None) -> bytes:
        size = len(self._self_kept) if n is None else n
        taken = bytes(self._self_kept[:size])
        del self._self_kept[:size]
        return taken
