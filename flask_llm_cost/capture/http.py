"""requests: ``Session.send`` (``instrument``) and an adapter (``mount``)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import requests
import wrapt
from requests.adapters import BaseAdapter, HTTPAdapter

from flask_llm_cost.capture.asking import Asking, args_with, stripped
from flask_llm_cost.capture.exchange import Exchange
from flask_llm_cost.capture.guards import body_in_memory, guarded, never_raising
from flask_llm_cost.capture.layers import sending
from flask_llm_cost.capture.target import Target
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
        with Asking(exchange, request) as asking, sending(exchange):
            args, kwargs = args_with(asking.request, args, kwargs)
            response = send(*args, **kwargs)
        asking.disown(response)
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
        with Asking(exchange, request) as asking, sending(exchange):
            response = self.inner.send(asking.request, *args, **kwargs)
        asking.disown(response)
        return _follow(exchange, response)

    def close(self) -> None:
        self.inner.close()


def mount(session: requests.Session, watch: Watch, *, provider: str = "", tags: TagsArgument = None) -> None:
    """Put an ``LLMCostAdapter`` around each adapter the session has."""
    for prefix, adapter in list(session.adapters.items()):
        if not isinstance(adapter, LLMCostAdapter):
            session.mount(prefix, LLMCostAdapter(adapter, provider=provider, tags=tags, watch=watch))


@never_raising
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
        lambda: parts.path,
        lambda: Target(
            url,
            port,
            parts.path,
            body_in_memory(lambda: _body(request)),
            captured_by="requests",
            headers=request.headers,
        ),
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
        content = vars(response).get("_content", unread)
        if isinstance(content, bytes):
            response._content = exchange.handed_on(content)  # noqa: SLF001
            exchange.finish(content)
        elif content is not unread or response.raw is None:
            exchange.finish(response.content or b"")
        elif exchange.streams() is not None:
            # An answer that is a plain file came from no provider that was asked.
            tee = AskedRaw if exchange.unasked is not None and hasattr(response.raw, "stream") else RawTee
            response.raw = tee(response.raw, exchange)
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
        with guarded(self._self_exchange):
            # A plain file, as adapters for tests and local files hand out, decodes nothing.
            asked = getattr(self.__wrapped__, "decode_content", False) if decoded is None else decoded
            body = self._self_exchange.body
            if asked and body is not None and body.is_in(getattr(self.__wrapped__, "CONTENT_DECODERS", ())):
                body.already_decoded()

    def _reading(self, read: Callable[[], bytes]) -> bytes:
        try:
            return read()
        except BaseException as error:
            self._self_exchange.finish_stream(error=error)
            raise

    # What a plain file in urllib3's place has not, the proxy has not either: requests asks with ``hasattr``.

    def read(self, *args: Any, **kwargs: Any) -> bytes:
        data = self._reading(lambda: self.__wrapped__.read(*args, **kwargs))
        amount, decoded = _amount_and_decoded(*args, **kwargs)
        return self._copied(data, decoded=decoded, ended=amount is None or amount < 0 or (not data and amount > 0))

    @property
    def read1(self) -> Callable[..., bytes]:
        return self._partly(self.__wrapped__.read1)

    @property
    def readline(self) -> Callable[..., bytes]:
        return self._partly(self.__wrapped__.readline)

    @property
    def readinto(self) -> Callable[[bytearray], int]:
        _ = self.__wrapped__.readinto
        return self._readinto

    @property
    def stream(self) -> Callable[..., Iterator[bytes]]:
        return self._in_pieces(self.__wrapped__.stream)

    @property
    def read_chunked(self) -> Callable[..., Iterator[bytes]]:
        return self._in_pieces(self.__wrapped__.read_chunked)

    @property
    def data(self) -> bytes:
        return self._copied(self._reading(lambda: self.__wrapped__.data), decoded=None, ended=True)

    @property
    def json(self) -> Callable[[], Any]:
        _ = self.__wrapped__.json
        return lambda: json.loads(self.data)

    @property
    def release_conn(self) -> Callable[[], None]:
        release: Callable[[], None] = self.__wrapped__.release_conn
        return lambda: self._ending(release)

    def _partly(self, read: Callable[..., bytes]) -> Callable[..., bytes]:
        def part(*args: Any, **kwargs: Any) -> bytes:
            data = self._reading(lambda: read(*args, **kwargs))
            amount, decoded = _amount_and_decoded(*args, **kwargs)
            return self._copied(data, decoded=decoded, ended=not data and amount != 0)

        return part

    def _readinto(self, buffer: bytearray) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _in_pieces(self, read: Callable[..., Iterator[bytes]]) -> Callable[..., Iterator[bytes]]:
        def pieces(*args: Any, **kwargs: Any) -> Iterator[bytes]:
            return self._pieces(read(*args, **kwargs), _amount_and_decoded(*args, **kwargs)[1])

        return pieces

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces(iter(self.__wrapped__), True)  # urllib3 inflates here whatever was asked

    def _pieces(self, pieces: Iterator[bytes], decoded: bool | None) -> Iterator[bytes]:
        self._expect(decoded)
        return self._self_exchange.follow(pieces)

    def close(self) -> None:
        self._ending(self.__wrapped__.close)

    def _ending(self, end: Callable[[], None]) -> None:
        try:
            end()
        finally:
            self._self_exchange.finish_stream(complete=False)

    def __del__(self) -> None:
        self._self_exchange.drop()


class AskedRaw(RawTee):
    """``RawTee`` of a stream that was asked for its usage: what only the asking put in is taken out of what is read.

    Bytes read undecoded from an answer that is compressed, though asked not to be, pass as they are.
    """

    def __init__(self, raw: object, exchange: Exchange) -> None:
        super().__init__(raw, exchange)
        self._self_kept = bytearray()
        self._self_ended = False

    def read(self, amt: int | None = None, decode_content: bool | None = None, cache_content: bool = False) -> bytes:
        if self._is_opaque(decode_content):
            return super().read(amt, decode_content, cache_content)
        while not self._self_ended and (amt is None or len(self._self_kept) < amt):
            self._keep(super().read(amt, decode_content), ended=amt is None)
        return self._taken(amt)

    def read1(self, amt: int | None = None, decode_content: bool | None = None) -> bytes:
        if self._is_opaque(decode_content):
            return super().read1(amt, decode_content)
        while not self._self_ended and not self._self_kept and amt != 0:
            self._keep(super().read1(amt, decode_content))
        return self._taken(amt)

    def stream(self, amt: int | None = 2**16, decode_content: bool | None = None) -> Iterator[bytes]:
        return self._stripped(super().stream(amt, decode_content), amt, decode_content)

    def read_chunked(self, amt: int | None = None, decode_content: bool | None = None) -> Iterator[bytes]:
        return self._stripped(super().read_chunked(amt, decode_content), amt, decode_content)

    def __iter__(self) -> Iterator[bytes]:
        # On top of this proxy: its lines are cut from stream().
        lines: Iterator[bytes] = type(self.__wrapped__).__iter__(self)
        return lines

    def _is_opaque(self, decode_content: bool | None) -> bool:
        decoded = self.__wrapped__.decode_content if decode_content is None else decode_content
        return not decoded and self.headers.get("content-encoding", "identity") != "identity"

    def _stripped(self, pieces: Iterator[bytes], amt: int | None, decode_content: bool | None) -> Iterator[bytes]:
        unasked = self._self_exchange.unasked
        if unasked is None or self._is_opaque(decode_content):
            yield from pieces
            return
        for piece in stripped(unasked, pieces):
            for start in range(0, len(piece), amt or len(piece)):
                yield piece[start : start + (amt or len(piece))]

    def _keep(self, data: bytes, *, ended: bool = False) -> None:
        unasked = self._self_exchange.unasked
        self._self_kept += data if unasked is None else unasked.feed(data)
        if ended or not data:
            self._self_ended = True
            self._self_kept += b"" if unasked is None else unasked.end()

    def _taken(self, amt: int | None) -> bytes:
        size = len(self._self_kept) if amt is None else amt
        taken = bytes(self._self_kept[:size])
        del self._self_kept[:size]
        return taken


def _amount_and_decoded(
    amt: int | None = None, decode_content: bool | None = None, *_: object, **__: object
) -> tuple[int | None, bool | None]:
    """What urllib3's reading methods are asked for."""
    return amt, decode_content
