"""Whether a call that ended in an exception instead of an answer may have been charged.

It may have been where the request can have reached the provider: the answer was waited for in vain, or the
connection broke while it was. Where there was no connection, or the request could not be written to it, nothing
was asked. The HTTP libraries' exceptions go by their names: none of them is imported for this.
"""

from __future__ import annotations

from collections.abc import Iterator

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
    return names.isdisjoint(_NEVER_SENT) and not names.isdisjoint(_PERHAPS_ANSWERED)


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
