"""Which HTTP calls are calls to a model: method, host and path decide together.

A host costs one line in ``_SERVICES``. Looking up a host that is in no table takes a dictionary look-up
and one comparison of endings: this runs on every HTTP call of the app.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import unquote

from flask_llm_cost.providers.anthropic import AnthropicMessages
from flask_llm_cost.providers.deepseek import DeepSeekChat
from flask_llm_cost.providers.gemini import GeminiContent
from flask_llm_cost.providers.groq import GroqChat
from flask_llm_cost.providers.openai_chat import OpenAIChat
from flask_llm_cost.providers.openai_embeddings import OpenAIEmbeddings
from flask_llm_cost.providers.openai_responses import OpenAIResponses
from flask_llm_cost.providers.openrouter import OpenRouterChat
from flask_llm_cost.providers.together import TogetherChat
from flask_llm_cost.providers.wire import WireFormat
from flask_llm_cost.providers.xai import XAIChat


@dataclass(frozen=True, slots=True)
class Route:
    """Where a call goes.

    Attributes:
        provider: our name of who answers.
        wire: how it answers.
        operation: OpenTelemetry's ``gen_ai.operation.name``.
    """

    provider: str
    wire: WireFormat
    operation: str


# What a path ends in → the operation it is. The names are those of ``ending_of``.
CHAT, COMPLETIONS, RESPONSES, EMBEDDINGS = "chat/completions", "completions", "responses", "embeddings"
MESSAGES, GENERATE, RAW_PREDICT = "v1/messages", "generateContent", "rawPredict"
_OPERATIONS = {COMPLETIONS: "text_completion", EMBEDDINGS: "embeddings", GENERATE: "generate_content"}

Formats = Mapping[str, WireFormat]

_OPENAI: Formats = MappingProxyType(
    {CHAT: OpenAIChat(), COMPLETIONS: OpenAIChat(), RESPONSES: OpenAIResponses(), EMBEDDINGS: OpenAIEmbeddings()}
)
_ANTHROPIC: Formats = MappingProxyType({MESSAGES: AnthropicMessages()})
_GEMINI: Formats = MappingProxyType({GENERATE: GeminiContent()})
_EVERY: Formats = MappingProxyType({**_OPENAI, **_ANTHROPIC, **_GEMINI, RAW_PREDICT: _ANTHROPIC[MESSAGES]})


@dataclass(frozen=True, slots=True)
class Service:
    """What a host offers.

    Attributes:
        provider: our name of who answers there.
        formats: by what the path ends in.
        paths: the only paths that count, where an ending is too little to go by.
    """

    provider: str
    formats: Formats
    paths: frozenset[str] | None = None


def _like_openai(provider: str, chat: WireFormat | None = None, others: Formats = _OPENAI) -> Service:
    own = {} if chat is None else {CHAT: chat, COMPLETIONS: chat}
    return Service(provider, MappingProxyType({**others, **own}))


_OPENAI_ITSELF = Service(
    "openai",
    _OPENAI,
    frozenset({"/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings"}),
)
_AZURE = Service("azure", MappingProxyType({**_OPENAI, **_ANTHROPIC}))
_VERTEX = Service("vertex", MappingProxyType({**_OPENAI, **_GEMINI, RAW_PREDICT: _ANTHROPIC[MESSAGES]}))
_TOGETHER = _like_openai("together", TogetherChat())

_SERVICES: Mapping[str, Service] = MappingProxyType(
    {
        "api.openai.com": _OPENAI_ITSELF,
        "us.api.openai.com": _OPENAI_ITSELF,
        "eu.api.openai.com": _OPENAI_ITSELF,
        "api.anthropic.com": Service("anthropic", _ANTHROPIC),
        "generativelanguage.googleapis.com": Service("gemini", MappingProxyType({**_OPENAI, **_GEMINI})),
        "aiplatform.googleapis.com": _VERTEX,
        "openrouter.ai": _like_openai("openrouter", OpenRouterChat(), MappingProxyType({**_OPENAI, **_ANTHROPIC})),
        "api.deepseek.com": _like_openai("deepseek", DeepSeekChat()),
        "api.groq.com": _like_openai("groq", GroqChat()),
        "api.mistral.ai": _like_openai("mistral"),
        "api.together.xyz": _TOGETHER,
        "api.together.ai": _TOGETHER,
        "api.fireworks.ai": _like_openai("fireworks"),
        "api.x.ai": _like_openai("xai", XAIChat()),
        "api.perplexity.ai": _like_openai("perplexity"),
        "api.cerebras.ai": _like_openai("cerebras"),
        "api.voyageai.com": _like_openai("voyage"),
    }
)
_ENDINGS: Mapping[str, Service] = MappingProxyType(
    {
        ".openai.azure.com": _AZURE,
        ".cognitiveservices.azure.com": _AZURE,
        ".services.ai.azure.com": _AZURE,
        "-aiplatform.googleapis.com": _VERTEX,
    }
)
_ENDING_TUPLE = tuple(_ENDINGS)
_BY_PROVIDER: Mapping[str, Service] = MappingProxyType(
    {service.provider: service for service in (*_SERVICES.values(), *_ENDINGS.values())}
)
_NO_HOSTS: Mapping[str, str] = MappingProxyType({})


def is_known(host: str, compatible_hosts: Mapping[str, str] = _NO_HOSTS) -> bool:
    """Whether a host may be in a table: the quick look that every HTTP call of the app pays for.

    Says yes rather too often than too seldom; ``find_route`` decides.
    """
    host = host.lower()
    if host in _SERVICES or host.endswith(_ENDING_TUPLE):
        return True
    return bool(compatible_hosts) and any(host in name for name in compatible_hosts)


def find_route(
    method: str,
    host: str,
    port: int | None,
    path: str,
    *,
    compatible_hosts: Mapping[str, str] = _NO_HOSTS,
    provider: str | None = None,
) -> Route | None:
    """Where a request goes, ``None`` where it is no call to a model. Never raises.

    Args:
        port: as in the URL; ``None`` where it names none.
        path: without the query string.
        compatible_hosts: host, or "host:port", in lower case → provider name; goes before the table.
        provider: the client was given to us explicitly, and this is who its SDK talks to ("": not known).
            Then a host that is in no table is matched by its path alone.
    """
    if method != "POST" and method.upper() != "POST":
        return None
    host = host.lower()
    if compatible_hosts:
        configured = _configured(compatible_hosts, host, port)
        if configured is not None:
            return _route(configured, _anywhere(configured), path)
    service = _SERVICES.get(host)
    if service is None and host.endswith(_ENDING_TUPLE):
        service = next(service for ending, service in _ENDINGS.items() if host.endswith(ending))
    if service is None:
        return None if provider is None else _route(provider, _anywhere(provider), path)
    if service.paths is not None and path not in service.paths:
        return None
    return _route(service.provider, service.formats, path)


def format_for(provider: str, ending: str) -> WireFormat:
    """The wire format a provider uses on paths of that ending; names are compared case-insensitively."""
    return _anywhere(provider)[ending]


def ending_of(path: str) -> str | None:
    """What a path ends in, as far as it matters here."""
    head, _, last = path.rpartition("/")
    if last == "completions":
        return CHAT if head.endswith("/chat") else COMPLETIONS
    if last in (RESPONSES, EMBEDDINGS):
        return last
    if last == "messages":
        return MESSAGES if head.endswith("/v1") else None
    return _verb(head, last)


def _verb(head: str, last: str) -> str | None:
    """Google's paths: …/models/<model>:<verb>."""
    verb = unquote(last).rpartition(":")[2] if ":" in last or "%" in last else ""
    if verb in ("generateContent", "streamGenerateContent"):
        return GENERATE if head.endswith("/models") else None
    if verb in ("rawPredict", "streamRawPredict"):
        return RAW_PREDICT if head.endswith("/publishers/anthropic/models") else None
    return None


def _configured(compatible_hosts: Mapping[str, str], host: str, port: int | None) -> str | None:
    if ":" in host:
        host = f"[{host.strip('[]')}]"
    with_port = None if port is None else compatible_hosts.get(f"{host}:{port}")
    return with_port if with_port is not None else compatible_hosts.get(host)


def _anywhere(provider: str) -> Formats:
    """Every format, with the provider's own ways where it has any."""
    service = _BY_PROVIDER.get(provider.lower())
    return _EVERY if service is None else {**_EVERY, **service.formats}


def _route(provider: str, formats: Formats, path: str) -> Route | None:
    ending = ending_of(path)
    wire = formats.get(ending) if ending is not None else None
    if wire is None or ending is None:
        return None
    return Route(provider or wire.name, wire, _OPERATIONS.get(ending, "chat"))
