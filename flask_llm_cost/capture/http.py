"""requests: ``Session.send`` (``instrument``) and an adapter (``mount``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import requests
import wrapt
from requests.adapters import BaseAdapter, HTTPAdapter

from flask_llm_cost.capture.exchange import Exchange, Target, guarded, sending
from flask_llm_cost.capture.watch import Watch
from flask_llm_cost.state import state_of_current_app
from flask_llm_cost.tagging import TagsArgument


class SessionSend:
    """The wrapper around ``requests.Session.send``."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def __call__(
        self,
        send: Callable[..., requests.Response],
        _session: object,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> requests.Response:
        request = args[0] if args else kwargs.get("request")
        exchange = begin(self.watch, request, None, None) if isinstance(request, requests.PreparedRequest) else None
        if exchange is None:
            return send(*args, **kwargs)
        with sending(exchange):
            response = send(*args, **kwargs)
        return _follow(exchange, response)


class LLMCostAdapter(BaseAdapter):
    """A requests adapter that records the calls passing through it. Composes with any other, a retrying one say.

    Args:
        inner: the adapter that does the work; a plain ``HTTPAdapter`` by default.
        provider: who is asked, where the host is in no table.
        tags: a mapping, or a callable that gets the prepared request.
        watch: whose calls these are; by default those of the current Flask app. ``LLMCost.adapter()`` makes one
            that also works outside an app context.
    """

    def __init__(
        self,
        inner: BaseAdapter | None = None,
        *,
        provider: str = "",
        tags: TagsArgument = None,
        watch: Watch | None = None,
    ) -> None:
        super().__init__()
        self.inner = inner if inner is not None else HTTPAdapter()
        self._watch = watch if watch is not None else Watch(state_of_current_app)
        self._provider = provider
        self._tags = tags

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        exchange = begin(self._watch, request, self._provider, self._tags)
        if exchange is None:
            return self.inner.send(request, *args, **kwargs)
        with sending(exchange):
            response = self.inner.send(request, *args, **kwargs)
        return _follow(exchange, response)

    def close(self) -> None:
        self.inner.close()


def mount(session: requests.Session, watch: Watch, *, provider: str = "", tags: TagsArgument = None) -> None:
    """Put an ``LLMCostAdapter`` around each adapter the session has."""
    for prefix, adapter in list(session.adapters.items()):
        if not isinstance(adapter, LLMCostAdapter):
            session.mount(prefix, LLMCostAdapter(adapter, provider=provider, tags=tags, watch=watch))


def begin(watch: Watch, request: requests.PreparedRequest, provider: str | None, tags: TagsArgument) -> Exchange | None:
    """Follow a prepared request, if it is a call to a model."""
    url = request.url or ""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return None
    return watch.begin(
        request.method or "GET",
        host,
        lambda: Target(url, port, parts.path, _body(request), captured_by="requests"),
        provider=provider,
        tags=tags,
        request=request,
    )


def _body(request: requests.PreparedRequest) -> bytes:
    body = request.body
    if isinstance(body, str):
        return body.encode()
    # A file or a generator is read once, by requests, and not by us.
    return bytes(body) if isinstance(body, (bytes, bytearray)) else b""


def _follow(exchange: Exchange, response: requests.Response) -> requests.Response:
    unread: object = False  # what requests itself keeps in place of a content that is not read yet
    with guarded(exchange):
        exchange.answered(response.status_code, response.headers)
        if vars(response).get("_content", unread) is unread:
            exchange.streams()
            response.raw = RawTee(response.raw, exchange)
        else:
            exchange.finish(response.content)
    return response


class RawTee(wrapt.ObjectProxy[Any]):
    """urllib3's response with its reading methods copying what they return.

    Finishing waits for the reader, not for ``release_conn()``: urllib3 calls that within its last
    ``read()``, before the last bytes are handed out.
    """

    def __init__(self, raw: object, exchange: Exchange) -> None:
        super().__init__(raw)
        self._self_exchange = exchange

    def _copied(self, data: bytes, *, decoded: bool | None, ended: bool) -> bytes:
        exchange = self._self_exchange
        if data:
            self._expect(decoded)
            exchange.copy(data)
        if ended:
            exchange.finish_stream()
        return data

    def _expect(self, decoded: bool | None) -> None:
        """urllib3 inflates while it reads, if asked to: then the copy must not be inflated again."""
        body = self._self_exchange.body
        if body is not None and (self.__wrapped__.decode_content if decoded is None else decoded):
            body.already_decoded()

    def _reading(self, read: Callable[[], bytes]) -> bytes:
        try:
            return read()
        except BaseException as error:
            self._self_exchange.finish_stream(error=error)
            raise

    def read(self, amt: int | None = None, decode_content: bool | None = None, cache_content: bool = False) -> bytes:
        data = self._reading(lambda: self.__wrapped__.read(amt, decode_content, cache_content))
        return self._copied(data, decoded=decode_content, ended=amt is None or (not data and amt > 0))

    def read1(self, amt: int | None = None, decode_content: bool | None = None) -> bytes:
        data = self._reading(lambda: self.__wrapped__.read1(amt, decode_content))
        return self._copied(data, decoded=decode_content, ended=not data and amt != 0)

    def readinto(self, buffer: bytearray) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def stream(self, amt: int | None = 2**16, decode_content: bool | None = None) -> Iterator[bytes]:
        return self._pieces(self.__wrapped__.stream(amt, decode_content), decode_content)

    def read_chunked(self, amt: int | None = None, decode_content: bool | None = None) -> Iterator[bytes]:
        return self._pieces(self.__wrapped__.read_chunked(amt, decode_content), decode_content)

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces(iter(self.__wrapped__), None)

    def _pieces(self, pieces: Iterator[bytes], decoded: bool | None) -> Iterator[bytes]:
        self._expect(decoded)
        return self._self_exchange.follow(pieces)

    def close(self) -> None:
        try:
            self.__wrapped__.close()
        finally:
            self._self_exchange.finish_stream(complete=False)

    def release_conn(self) -> None:
        try:
            self.__wrapped__.release_conn()
        finally:
            self._self_exchange.finish_stream(complete=False)

    def __del__(self) -> None:
        self._self_exchange.finish_stream(complete=False)
