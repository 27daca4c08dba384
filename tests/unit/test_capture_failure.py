"""What a call that ended in an exception may have cost: the libraries' own exceptions, nested as they nest them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from http.client import RemoteDisconnected
from typing import Any

import aiohttp
import botocore.exceptions
import httpx
import httpx2
import pytest
import requests
from aiohttp.client_reqrep import ConnectionKey
from urllib3.connection import HTTPConnection
from urllib3.exceptions import (
    ConnectTimeoutError,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ProxyError,
    ReadTimeoutError,
)

from flask_llm_cost.capture.failure import may_be_charged

CONNECTION = HTTPConnection("api.openai.com")
POOL: Any = None
KEY = ConnectionKey("api.openai.com", 443, True, True, None, None, None)
REFUSED = ConnectionRefusedError(111, "Connection refused")
RESET = ConnectionResetError(104, "Connection reset by peer")
UNKNOWN_NAME = socket.gaierror(-2, "Name or service not known")
BROKEN = BrokenPipeError(32, "Broken pipe")
HUNG_UP = RemoteDisconnected("Remote end closed connection without response")


def caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


def given_up(reason: Exception) -> MaxRetryError:
    """urllib3's last word: requests hands it on as an argument."""
    return MaxRetryError(POOL, "/v1/chat/completions", reason)


def aiohttp_oserror(cause: OSError) -> BaseException:
    return caused(aiohttp.ClientOSError(cause.errno, cause.strerror), cause)


def hung_up() -> Iterator[Any]:
    yield "urllib3", ProtocolError("Connection aborted.", HUNG_UP)
    yield "requests", requests.ConnectionError(ProtocolError("Connection aborted.", HUNG_UP))
    # Through a proxy, to urllib3, all that breaks is the proxy's failure.
    proxy = ProxyError("Unable to connect to proxy", HUNG_UP)
    yield "requests, proxy", requests.exceptions.ProxyError(given_up(proxy))
    proxy = ProxyError("Unable to connect to proxy", RESET)
    yield "requests, proxy, reset", requests.exceptions.ProxyError(given_up(proxy))
    closed = botocore.exceptions.ConnectionClosedError(error=HUNG_UP, endpoint_url="https://host")
    yield "botocore", closed
    yield "aiohttp", aiohttp.ServerDisconnectedError()
    yield "aiohttp, reset", aiohttp_oserror(RESET)
    for name, family in (("httpx", httpx), ("httpx2", httpx2)):
        yield name, family.RemoteProtocolError("Server disconnected without sending a response.")
        yield f"{name}, reset", caused(family.ReadError(""), RESET)
        # On aiohttp, every loss of a connection is said to be a failure to make one.
        yield f"{name} on aiohttp", caused(family.ConnectTimeout(""), aiohttp.ServerDisconnectedError())
        yield f"{name} on aiohttp, reset", caused(family.ConnectTimeout(""), aiohttp_oserror(RESET))
        yield f"{name} on aiohttp, broken", caused(family.ConnectTimeout(""), aiohttp_oserror(BROKEN))


def waited_in_vain() -> Iterator[Any]:
    yield "requests", requests.ReadTimeout(ReadTimeoutError(POOL, "/", "Read timed out."))
    yield "httpx", httpx.ReadTimeout("")
    yield "aiohttp", aiohttp.SocketTimeoutError()
    yield "botocore", botocore.exceptions.ReadTimeoutError(endpoint_url="https://host")
    yield "wait_for()", TimeoutError()
    yield "cancelled", asyncio.CancelledError()
    yield "Ctrl-C", KeyboardInterrupt()


def never_connected() -> Iterator[Any]:
    yield "requests, refused", requests.ConnectionError(given_up(NewConnectionError(CONNECTION, str(REFUSED))))
    unknown = NameResolutionError("api.openai.com", CONNECTION, UNKNOWN_NAME)
    yield "requests, name", requests.ConnectionError(given_up(unknown))
    late = ConnectTimeoutError(CONNECTION, "Connection timed out.")
    yield "requests, late", requests.ConnectTimeout(given_up(late))
    proxy = ProxyError("Unable to connect to proxy", NewConnectionError(CONNECTION, str(REFUSED)))
    yield "requests, proxy refused", requests.exceptions.ProxyError(given_up(proxy))
    yield "botocore", botocore.exceptions.EndpointConnectionError(endpoint_url="https://host", error=REFUSED)
    for name, cause in (("refused", REFUSED), ("name", UNKNOWN_NAME), ("reset by it", RESET)):
        unconnected = caused(aiohttp.ClientConnectorError(KEY, cause), cause)
        yield f"aiohttp, {name}", unconnected
        yield f"httpx on aiohttp, {name}", caused(httpx.ConnectTimeout(""), unconnected)
        yield f"httpx, {name}", caused(httpx.ConnectError(""), cause)
        yield f"httpx2, {name}", caused(httpx2.ConnectError(""), cause)
    yield "aiohttp, late", aiohttp.ConnectionTimeoutError()
    yield "httpx, late", caused(httpx.ConnectTimeout(""), TimeoutError())
    yield "httpx, no free connection", httpx.PoolTimeout("")
    yield "httpx, proxy", httpx.ProxyError("407 Proxy Authentication Required")
    yield "httpx, not written", caused(httpx.WriteError(""), BrokenPipeError())
    yield "a bug", ValueError("a bug")


def cases(*named: Any) -> list[Any]:
    return [pytest.param(error, id=name) for name, error in named]


@pytest.mark.parametrize("error", cases(*hung_up()))
def test_a_connection_that_broke_under_a_request_may_have_cost(error: BaseException) -> None:
    """Whatever the library calls it."""
    assert may_be_charged(error)


@pytest.mark.parametrize("error", cases(*waited_in_vain()))
def test_an_answer_waited_for_in_vain_may_have_cost(error: BaseException) -> None:
    assert may_be_charged(error)


@pytest.mark.parametrize("error", cases(*never_connected()))
def test_what_never_got_a_connection_was_free(error: BaseException) -> None:
    assert not may_be_charged(error)


def test_causes_that_go_round_in_a_circle_come_to_an_end() -> None:
    first, second = httpx.ReadError(""), OSError("broken")
    first.__cause__, second.__cause__ = second, first
    assert may_be_charged(first)
