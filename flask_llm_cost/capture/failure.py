"""Whether a call that ended in an exception instead of an answer may have been charged.

It may have been where the request can have reached the provider: the answer was waited for in vain, or the
connection broke while it was. Where there was no connection, or the request could not be written to it, nothing
was asked. The HTTP libraries' exceptions go by their names: none of them is imported for this.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from flask_llm_cost.capture.target import Target
from flask_llm_cost.providers import Route, unanswered
from flask_llm_cost.usage import Reading

_NEVER_SENT = frozenset(
    {
        # httpx and httpx2
        "ConnectError",
        "ConnectTimeout",
        "PoolTimeout",
        "WriteError",
        "WriteTimeout",
        "UnsupportedProtocol",
        "LocalProtocolError",
        "ProxyError",
        # requests and urllib3, botocore
        "NewConnectionError",
        "NameResolutionError",
        "ConnectTimeoutError",
        "SSLError",
        "InvalidURL",
        "MissingSchema",
        "EndpointConnectionError",
        "ProxyConnectionError",
        # aiohttp
        "ClientConnectorError",
        "ConnectionTimeoutError",
        # the operating system's
        "gaierror",
        "ConnectionRefusedError",
    }
)
# The connection was there, whatever another library makes of it: urllib3 calls it the proxy's failure, and aiohttp's
# adapters for httpx a failure to connect.
_WAS_SENT = frozenset({"RemoteDisconnected", "ServerDisconnectedError"})
# So too where it is one of these that they call so.
_BROKE = frozenset({"ConnectionResetError", "BrokenPipeError", "ClientOSError"})
_CALLED_SO = frozenset({"ProxyError", "ConnectTimeout"})
_PERHAPS_ANSWERED = frozenset(
    {
        "ReadTimeout",
        "ReadError",
        "RemoteProtocolError",
        "ReadTimeoutError",
        "ProtocolError",
        "RemoteDisconnected",
        "IncompleteRead",
        "ConnectionClosedError",
        "ServerDisconnectedError",
        "ServerTimeoutError",
        "SocketTimeoutError",
        "ClientOSError",
        "ClientPayloadError",
        "ConnectionResetError",
        "TimeoutError",
        # The app gave up waiting.
        "CancelledError",
        "KeyboardInterrupt",
        "GeneratorExit",
        "SystemExit",
    }
)
_MOST_CAUSES = 12


def may_be_charged(error: BaseException) -> bool:
    """Whether the provider may have worked on the request before it failed like this."""
    names = {kind.__name__ for each in _causes(error) for kind in type(each).__mro__}
    if not names.isdisjoint(_WAS_SENT):
        return True
    never_sent = _NEVER_SENT if names.isdisjoint(_BROKE) else _NEVER_SENT - _CALLED_SO
    return names.isdisjoint(never_sent) and not names.isdisjoint(_PERHAPS_ANSWERED)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from: requests and urllib3 hand the cause on as an argument or as ``reason``."""
    pending: list[object] = [error]
    for _ in range(_MOST_CAUSES):
        if not pending:
            return
        each = pending.pop()
        if isinstance(each, BaseException):
            yield each
            kept = getattr(each, "kwargs", None) or {}  # botocore's
            pending += [each.__cause__, getattr(each, "reason", None), kept.get("error"), *each.args[:2]]


def is_cancellation(error: BaseException) -> bool:
    """Whether the app called the call off, or is being called off itself."""
    return not isinstance(error, Exception)


def without_answer(route: Route, target: Target, error: BaseException) -> Reading:
    """The reading of a request that ended in an exception instead of an answer."""
    asked = unanswered(route, url=target.url, request_body=target.body)
    return replace(
        asked,
        status="cancelled" if is_cancellation(error) else "error",
        error_type=type(error).__name__[:64],
        notes=(),
        bounds=asked.bounds if may_be_charged(error) else None,
    )
