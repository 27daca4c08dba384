"""HTTP clients of either httpx family that send what is meant for a provider's own host to a local server.

The detour lies below the client, in its transport: the URL that the client sees stays the real one.
"""

from __future__ import annotations

from typing import Any

import httpx
import httpx2
import openai

from sdk_calls.site import Site

# What the installed openai package is made of.
OPENAI_FAMILY: Any = httpx2 if int(openai.__version__.partition(".")[0]) >= 3 else httpx


def http_client(family: Any, site: Site) -> Any:
    """A ``Client`` of a family, httpx or httpx2, with a detour where the site has real host names."""
    if not site.real_hosts:
        return family.Client()
    target = family.URL(site.url)

    class Detour(family.HTTPTransport):  # type: ignore[misc]
        def handle_request(self, request: Any) -> Any:
            return super().handle_request(_redirected(family, request, target))

    return family.Client(transport=Detour())


def async_http_client(family: Any, site: Site) -> Any:
    """``http_client``'s ``AsyncClient``."""
    if not site.real_hosts:
        return family.AsyncClient()
    target = family.URL(site.url)

    class Detour(family.AsyncHTTPTransport):  # type: ignore[misc]
        async def handle_async_request(self, request: Any) -> Any:
            return await super().handle_async_request(_redirected(family, request, target))

    return family.AsyncClient(transport=Detour())


def _redirected(family: Any, request: Any, target: Any) -> Any:
    url = request.url.copy_with(scheme=target.scheme, host=target.host, port=target.port)
    return family.Request(
        request.method, url, headers=request.headers, stream=request.stream, extensions=request.extensions
    )
