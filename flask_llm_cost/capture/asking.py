"""``LLM_COST_INJECT_STREAM_USAGE``: the request that goes out instead of the app's, asking for the stream's usage.

The app's own request object stays as it is, so that one sent again is the app's again; answers and errors refer
to it. The answer is asked for uncompressed, since an event cannot be taken out of compressed bytes.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from flask_llm_cost.capture.exchange import Exchange
from flask_llm_cost.failures import report
from flask_llm_cost.providers import stream_usage

if TYPE_CHECKING:
    from flask_llm_cost.state import State

log = logging.getLogger(__name__)

# A request of httpx, httpx2 or requests.
Request = Any

_OURS = ("content-length", "accept-encoding")


class Asking:
    """While inside, ``request`` is what to send: the app's own, or its twin that asks for usage."""

    __slots__ = ("_own", "request")

    def __init__(self, exchange: Exchange, request: Request) -> None:
        self._own = self.request = request
        question = exchange.question
        if question is None:
            return
        try:
            self.request = _twin(request, question.body)
        except Exception as error:
            exchange.question = None
            report(log, error, "A request could not be made to ask for its usage; it goes out as it is.")

    def __enter__(self) -> Asking:
        return self

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if self.request is not self._own:
            self._keep_headers()
            if error is not None:
                self.disown(error)

    def disown(self, answer: object) -> None:
        """Let an answer or an error refer to the app's own request."""
        if self.request is self._own:
            return
        # httpx keeps it under a property that raises where there is none.
        for name in ("_request", "request"):
            if getattr(answer, "__dict__", {}).get(name) is self.request:
                setattr(answer, name, self._own)

    def _keep_headers(self) -> None:
        """What was put on the twin on its way (by an auth of the client, say), the app is used to find on its own."""
        own = self._own.headers
        for name, value in self.request.headers.items():
            if name.lower() not in _OURS and own.get(name) != value:
                own[name] = value


def args_with(
    request: Request, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a ``send``, with that request."""
    return ((request, *args[1:]), kwargs) if args else (args, {**kwargs, "request": request})


def question_for(state: State, exchange: Exchange) -> stream_usage.Question | None:
    """The question to put to a stream that the setting covers and that was not asked by the app itself."""
    headers = exchange.target.headers
    setting = state.settings.inject_stream_usage
    if headers is None or not setting or exchange.host.lower() in state.unaskable:
        return None
    if not stream_usage.may_be_asked(exchange.route, exchange.host, exchange.target.port, setting):
        return None
    if stream_usage.is_signed(headers):
        return None
    body = stream_usage.asking(exchange.target.body)
    return None if body is None else stream_usage.Question(body)


def _twin(request: Request, body: bytes) -> Request:
    """A second request like the first, with that body. The first stays as it is."""
    if hasattr(request, "stream"):
        stream = type(request.stream)
        if stream.__name__ != "ByteStream":
            raise TypeError(f"the body is a {stream.__name__}")
        # Neither family has a way to copy a request as it is; copy.copy() drops stream and extensions.
        twin = object.__new__(type(request))
        vars(twin).update(vars(request), headers=request.headers.copy(), stream=stream(body), _content=body)
    else:
        twin = request.copy()
        twin.body = body
    if "content-length" in twin.headers:
        twin.headers["Content-Length"] = str(len(body))
    twin.headers["Accept-Encoding"] = "identity"
    return twin


def stripped(unasked: stream_usage.Unasked, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The pieces as they come when nobody asks. Before an error comes what was held back."""
    try:
        for chunk in chunks:
            if kept := unasked.feed(chunk):
                yield kept
    except Exception:
        if rest := unasked.end():
            yield rest
        raise
    if rest := unasked.end():
        yield rest


async def stripped_async(unasked: stream_usage.Unasked, chunks: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """``stripped`` for an async stream; closes ``chunks`` in the task that read them."""
    async with aclosing(chunks):
        try:
            async for chunk in chunks:
                if kept := unasked.feed(chunk):
                    yield kept
        except Exception:
            if rest := unasked.end():
                yield rest
            raise
        if rest := unasked.end():
            yield rest
