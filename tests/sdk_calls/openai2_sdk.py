"""The openai package in version 2, on httpx. Version 3 and later, on httpx2, is what ``openai_sdk`` finds elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sdk_calls import openai_sdk
from sdk_calls.detours import OPENAI_FAMILY, async_http_client, http_client
from sdk_calls.optional import OptionalCall
from sdk_calls.site import SDKCall, Site

if OPENAI_FAMILY.__name__ != "httpx":
    raise ImportError("openai is installed in version 3 or later")


@dataclass(frozen=True)
class HttpxSite(Site):
    """A site whose detours are of httpx."""

    def options(self, asynchronous: bool = False, path: str = "") -> dict[str, Any]:
        client = async_http_client if asynchronous else http_client
        url = {} if self.real_hosts else {"base_url": self.url + path}
        return {"api_key": "test", "max_retries": 0, "http_client": client(OPENAI_FAMILY, self), **url}


def _asking(call: SDKCall) -> Callable[[Site], Any]:
    return lambda site: call.ask(HttpxSite(site.url, site.real_hosts, site.wrap))


CALLS = tuple(
    OptionalCall(
        name=call.name.replace("openai", "openai 2"),
        provider=call.provider,
        model=call.model,
        stream=call.stream,
        ask=_asking(call),
        sdk="openai",
        asked=openai_sdk.OPENAI_MODEL,
        http="httpx",
    )
    for call in openai_sdk.CALLS
)
