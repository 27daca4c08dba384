"""``wrap(client)``: watch one client object, by the HTTP client it holds."""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from typing import Any

import requests
import wrapt

from flask_llm_cost.capture import http
from flask_llm_cost.capture.exchange import Watch
from flask_llm_cost.capture.httpx import FAMILIES, Send
from flask_llm_cost.errors import LLMCostError
from flask_llm_cost.tagging import TagsArgument

# Where SDK clients keep their HTTP clients. A path that a client has not is passed over.
_HOLDERS = tuple(
    map(
        attrgetter,
        (
            "_client",  # openai, anthropic, groq
            "_api_client._httpx_client",  # google-genai
            "_api_client._async_httpx_client",
            "sdk_configuration.client",  # mistralai
            "sdk_configuration.async_client",
            "_client_wrapper.httpx_client.httpx_client",  # cohere
        ),
    )
)

# The top-level package of a client's class → the provider it talks to, where its host is in no table.
_PROVIDERS = {
    "openai": "openai",
    "anthropic": "anthropic",
    "google": "gemini",
    "mistralai": "mistral",
    "groq": "groq",
    "cohere": "cohere",
}


class UnknownClientError(LLMCostError, TypeError):
    """``wrap()`` was given something that holds no HTTP client it knows."""


def wrap(client: object, watch: Watch, tags: TagsArgument = None) -> None:
    """Watch every call of the client, whatever host it goes to.

    Raises:
        UnknownClientError: no HTTP client was found in it.
    """
    if isinstance(client, requests.Session):
        http.mount(client, watch, tags=tags)
        return
    provider = provider_of(client)
    found = False
    for http_client in _http_clients(client):
        found = True
        _wrap_send(http_client, Send(watch, provider=provider, tags=tags))
    if not found:
        raise UnknownClientError(
            f"wrap() found no httpx, httpx2 or requests client in "
            f"{type(client).__module__}.{type(client).__qualname__}. "
            f"Use llm_cost.instrument(…), or llm_cost.track(…) for calls that go another way."
        )


def provider_of(client: object) -> str:
    """The provider an SDK client talks to, from its class; "" where that is not known."""
    for base in type(client).__mro__:
        provider = _PROVIDERS.get(base.__module__.partition(".")[0])
        if provider == "openai" and "Azure" in type(client).__name__:
            return "azure"
        if provider == "gemini" and getattr(client, "vertexai", False):
            return "vertex"
        if provider is not None:
            return provider
    return ""


def _http_clients(client: object) -> Iterator[Any]:
    if _is_http_client(client):
        yield client
        return
    for holder in _HOLDERS:
        try:
            held = holder(client)
        except AttributeError:
            continue
        if _is_http_client(held):
            yield held


def _is_http_client(candidate: object) -> bool:
    return any(
        base.__module__.partition(".")[0] in FAMILIES and base.__name__ in ("Client", "AsyncClient")
        for base in type(candidate).__mro__
    )


def _wrap_send(http_client: Any, send: Send) -> None:
    current = http_client.send
    if isinstance(current, _WrappedSend):
        # Wrapped before: the newer provider and tags hold, and one layer is enough.
        watching = current._self_watching  # noqa: SLF001 - wrapt's prefix for a proxy's own attributes
        watching.watch, watching.provider, watching.tags = send.watch, send.provider, send.tags
        return
    is_async = any(base.__name__ == "AsyncClient" for base in type(http_client).__mro__)
    http_client.send = _WrappedSend(current, send, is_async)


class _WrappedSend(wrapt.FunctionWrapper[Any, Any]):
    def __init__(self, send: Any, watching: Send, is_async: bool) -> None:
        super().__init__(send, watching.asynchronous if is_async else watching.sync)
        self._self_watching = watching
