"""``wrap(client)``: watch one client object, by the HTTP client it holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any

import requests
import wrapt

from flask_llm_cost.capture import http
from flask_llm_cost.capture.aiohttp import SessionRequest
from flask_llm_cost.capture.botocore import APICall, BotocoreClient, is_bedrock
from flask_llm_cost.capture.httpx import FAMILIES, Send
from flask_llm_cost.capture.sessions import Wrapped, is_one, wrap_coming_sessions, wrap_session
from flask_llm_cost.capture.watch import Watch
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

# Where the objects of frameworks keep the SDK clients they call through: ``wrap`` goes through to those.
_SDK_HOLDERS = tuple(
    map(
        attrgetter,
        (
            "root_client",  # langchain-openai: chat models
            "root_async_client",
            "client",  # instructor, pydantic-ai's providers, chat models of other LangChain packages
            "async_client",
            "client._client",  # langchain-openai's embeddings keep a part of the SDK client
            "async_client._client",
            "_client",  # langchain-anthropic
            "_async_client",
            "model._provider.client",  # pydantic-ai: agents
        ),
    )
)
# pydantic-ai's providers, which change their HTTP client with the event loop.
_PROVIDER_HOLDERS = tuple(map(attrgetter, ("_provider", "model._provider")))

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
    if is_one(client, ("aiohttp",), ("ClientSession",)):
        wrap_session(client, SessionRequest(watch, provider="", tags=tags))
        return
    found = False
    sends: dict[int, tuple[Any, Send]] = {}
    for each in _sdk_clients(client):
        found = _wrap_whole(each, watch, tags) or found
        provider = provider_of(each)
        for http_client in _http_clients(each):
            if provider or id(http_client) not in sends:
                sends[id(http_client)] = (http_client, Send(watch, provider=provider, tags=tags))
    for http_client, send in sends.values():
        _wrap_send(http_client, send)
        _wrap_coming_clients(client, send)
    if not (found or sends):
        raise UnknownClientError(
            f"wrap() found no httpx, httpx2, requests, aiohttp or bedrock-runtime client in "
            f"{type(client).__module__}.{type(client).__qualname__}. "
            f"Use llm_cost.instrument(…), or llm_cost.track(…) for calls that go another way."
        )


def _wrap_whole(client: Any, watch: Watch, tags: TagsArgument) -> bool:
    """Watch what is no HTTP client of httpx's kind. Returns whether the client is or has such a thing."""
    if is_bedrock(client):
        _wrap_api_call(client, APICall(watch, tags=tags))
        return True
    return wrap_coming_sessions(client, SessionRequest(watch, provider=provider_of(client), tags=tags))


def _sdk_clients(client: object) -> Iterator[object]:
    """The client itself and, where it is a framework's object, what it calls through."""
    yield client
    for holder in _SDK_HOLDERS:
        held = _held(client, holder)
        if held is not None:
            yield held


def _held(client: object, holder: Callable[[object], Any]) -> Any:
    try:
        return holder(client)
    except AttributeError:
        return None


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
        held = _held(client, holder)
        if _is_http_client(held):
            yield held


def _is_http_client(candidate: object) -> bool:
    return is_one(candidate, FAMILIES, ("Client", "AsyncClient"))


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


def _wrap_coming_clients(client: object, send: Send) -> None:
    """pydantic-ai's providers make a new HTTP client when they are used on another event loop."""
    for provider in (client, *(_held(client, holder) for holder in _PROVIDER_HOLDERS)):
        current = getattr(provider, "_http_client_factory", None)
        if provider is None or not callable(current):
            continue
        if isinstance(current, Wrapped):
            current = current.__wrapped__

        def make(inner: Any, _holder: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            http_client = inner(*args, **kwargs)
            _wrap_send(http_client, send)
            return http_client

        provider._http_client_factory = Wrapped(current, make)  # noqa: SLF001


def _wrap_api_call(client: BotocoreClient, call: APICall) -> None:
    current = client._make_api_call  # noqa: SLF001 - where every method of a client ends
    if isinstance(current, Wrapped):
        current = current.__wrapped__
    client._make_api_call = Wrapped(current, call)  # noqa: SLF001
