"""aiohttp: ``ClientSession._request``, of the class (``instrument``) or of one session (``wrap``).

Every verb of a session, the module's own ``request()`` and google-genai's async path end there; a
redirect chain passes it once. The body is read later, through ``response.content``: that reader is
what is proxied, since aiohttp's own tracing hooks do not see an ``async for`` over it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from flask_llm_cost.capture import form
from flask_llm_cost.capture.aiohttp_asked import AskedContent, asking_options
from flask_llm_cost.capture.aiohttp_content import ContentTee
from flask_llm_cost.capture.exchange import Exchange
from flask_llm_cost.capture.guards import body_in_memory, guarded, never_raising
from flask_llm_cost.capture.layers import sending
from flask_llm_cost.capture.target import Target
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
                response = await request(*args, **asking_options(exchange, kwargs))
            except Exception as error:
                with guarded(exchange):
                    _refused(exchange, error)
                raise
        with guarded(exchange):
            _follow(exchange, response, decoded=_inflates(session, kwargs))
        return response

    @never_raising
    def _begin(
        self, session: AiohttpSession, method: object = "", str_or_url: object = "", **options: Any
    ) -> Exchange | None:
        try:
            url = session._build_url(str_or_url)  # noqa: SLF001 - joins the session's base URL, as the request will
            host, port = url.host or "", url.explicit_port
        except (AttributeError, TypeError, ValueError):
            return None
        return self.watch.begin(
            str(method).upper(),
            host,
            lambda: str(url.path),
            lambda: Target(
                str(url),
                port,
                url.path,
                body_in_memory(lambda: _body(session, options)),
                captured_by="aiohttp",
                headers=_changeable(session, options),
            ),
            provider=self.provider,
            tags=self.tags,
            request=url,
        )


def _changeable(session: AiohttpSession, options: dict[str, Any]) -> Mapping[str, str] | None:
    """The headers of a request whose body may be another one; ``None`` where it may not.

    That takes a length which aiohttp counts, and an answer which aiohttp inflates.
    """
    if not _inflates(session, options):
        return None
    try:
        headers: Mapping[str, str] = session._prepare_headers(options.get("headers"))  # noqa: SLF001
    except (AttributeError, TypeError, ValueError):
        return None  # aiohttp is about to say so itself
    return None if "Content-Length" in headers else headers


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
    if body is None:
        return
    if decoded:
        body.already_decoded()
    # A middleware may have read the answer already.
    if isinstance(getattr(response, "_body", None), bytes):
        content = response._body  # noqa: SLF001
        response._body = exchange.handed_on(content)  # noqa: SLF001
        exchange.copy(content)
        exchange.finish_stream()
    else:
        tee = ContentTee if exchange.unasked is None else AskedContent
        response.content = tee(response.content, exchange)
