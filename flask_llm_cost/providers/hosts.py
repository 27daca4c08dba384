"""Which HTTP calls are calls to a model: method, host and path decide together.

A host costs one line in ``_SERVICES``. Looking up a host that is in no table takes a dictionary look-up
and one comparison of endings: this runs on every HTTP call of the app.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from flask_llm_cost.providers import endings as at
from flask_llm_cost.providers.anthropic import AnthropicMessages
from flask_llm_cost.providers.bedrock import BedrockConverse
from flask_llm_cost.providers.bedrock_invoke import BedrockInvoke
from flask_llm_cost.providers.cohere import Cohere
from flask_llm_cost.providers.deepseek import DeepSeekChat
from flask_llm_cost.providers.gemini import GeminiContent
from flask_llm_cost.providers.gemini_embeddings import GeminiEmbeddings
from flask_llm_cost.providers.groq import GroqChat
from flask_llm_cost.providers.mistral import MistralChat
from flask_llm_cost.providers.ollama import Ollama
from flask_llm_cost.providers.openai_audio import OpenAISpeech, OpenAITranscription
from flask_llm_cost.providers.openai_chat import OpenAIChat
from flask_llm_cost.providers.openai_embeddings import OpenAIEmbeddings
from flask_llm_cost.providers.openai_images import OpenAIImages
from flask_llm_cost.providers.openai_moderations import OpenAIModerations
from flask_llm_cost.providers.openai_responses import OpenAIResponses
from flask_llm_cost.providers.openrouter import OpenRouterChat
from flask_llm_cost.providers.perplexity import PerplexityChat, PerplexityResponses
from flask_llm_cost.providers.registry import Registry
from flask_llm_cost.providers.route import Route
from flask_llm_cost.providers.together import TogetherChat
from flask_llm_cost.providers.wire import WireFormat
from flask_llm_cost.providers.xai import XAIChat

Formats = Mapping[str, WireFormat]

_CHAT, _IMAGES, _TRANSCRIPTION = OpenAIChat(), OpenAIImages(), OpenAITranscription()
_OPENAI: Formats = MappingProxyType(
    {
        at.CHAT: _CHAT,
        at.COMPLETIONS: _CHAT,
        at.RESPONSES: OpenAIResponses(),
        at.EMBEDDINGS: OpenAIEmbeddings(),
        at.TRANSCRIPTIONS: _TRANSCRIPTION,
        at.TRANSLATIONS: _TRANSCRIPTION,
        at.SPEECH: OpenAISpeech(),
        at.GENERATIONS: _IMAGES,
        at.EDITS: _IMAGES,
        at.VARIATIONS: _IMAGES,
        at.MODERATIONS: OpenAIModerations(),
    }
)
_ANTHROPIC: Formats = MappingProxyType({at.MESSAGES: AnthropicMessages()})
_GEMINI_EMBEDDINGS = GeminiEmbeddings()
_GEMINI: Formats = MappingProxyType({at.GENERATE: GeminiContent(), at.GEMINI_EMBED: _GEMINI_EMBEDDINGS})
_OLLAMA: Formats = MappingProxyType(dict.fromkeys((at.OLLAMA_CHAT, at.OLLAMA_GENERATE, at.OLLAMA_EMBED), Ollama()))
_COHERE: Formats = MappingProxyType(dict.fromkeys((at.COHERE_CHAT, at.COHERE_EMBED, at.COHERE_RERANK), Cohere()))
_INVOKE = BedrockInvoke()
_BEDROCK: Formats = MappingProxyType({at.CONVERSE: BedrockConverse(), at.INVOKE: _INVOKE, at.INVOKE_EMBEDDING: _INVOKE})
_EVERY: Formats = MappingProxyType(
    {
        **_OPENAI,
        **_ANTHROPIC,
        **_GEMINI,
        **_OLLAMA,
        **_COHERE,
        **_BEDROCK,
        at.PREDICT_EMBEDDING: _GEMINI_EMBEDDINGS,
        at.RAW_PREDICT: _ANTHROPIC[at.MESSAGES],
    }
)


@dataclass(frozen=True, slots=True)
class Service:
    """What a host offers.

    Attributes:
        provider: our name of who answers there.
        formats: by what the path ends in.
        paths: the only paths that count, where an ending is too little to go by.
        within: what the host's name must contain, where its ending is too little to go by.
        region: from the host's name to the region whose prices hold there.
    """

    provider: str
    formats: Formats
    paths: frozenset[str] | None = None
    within: str = ""
    region: Callable[[str], str | None] | None = None


def _first_label(host: str) -> str:
    """Data residency costs more: https://developers.openai.com/api/docs/guides/data-residency."""
    return host.partition(".")[0]


def _regional(_host: str) -> str:
    """Every endpoint of Vertex but the global one: some models cost more there."""
    return "regional"


def _government(host: str) -> str | None:
    """AWS's list prices are those of its commercial regions; a profile's region stands in the model's name."""
    return "us-gov" if ".us-gov-" in host else None


def _like_openai(provider: str, chat: WireFormat | None = None, others: Formats = _OPENAI) -> Service:
    own = {} if chat is None else {at.CHAT: chat, at.COMPLETIONS: chat}
    return Service(provider, MappingProxyType({**others, **own}))


_OPENAI_ITSELF = Service(
    "openai",
    _OPENAI,
    frozenset(f"/v1/{ending}" for ending in _OPENAI),
)
_AZURE = Service("azure", MappingProxyType({**_OPENAI, **_ANTHROPIC}))
_VERTEX = Service(
    "vertex",
    MappingProxyType(
        {
            **_OPENAI,
            **_GEMINI,
            at.PREDICT_EMBEDDING: _GEMINI_EMBEDDINGS,
            at.RAW_PREDICT: _ANTHROPIC[at.MESSAGES],
        }
    ),
)
_COHERE_ITSELF = _like_openai("cohere", others=MappingProxyType({**_OPENAI, **_COHERE}))
_RUNTIME = Service("bedrock", _BEDROCK, within="bedrock-runtime", region=_government)
_PERPLEXITY = _like_openai(
    "perplexity", PerplexityChat(), MappingProxyType({**_OPENAI, at.RESPONSES: PerplexityResponses()})
)
_TOGETHER = _like_openai("together", TogetherChat())

_SERVICES: Mapping[str, Service] = MappingProxyType(
    {
        "api.openai.com": _OPENAI_ITSELF,
        "api.anthropic.com": Service("anthropic", _ANTHROPIC),
        "generativelanguage.googleapis.com": Service("gemini", MappingProxyType({**_OPENAI, **_GEMINI})),
        "aiplatform.googleapis.com": _VERTEX,
        "openrouter.ai": _like_openai("openrouter", OpenRouterChat(), MappingProxyType({**_OPENAI, **_ANTHROPIC})),
        "api.deepseek.com": _like_openai("deepseek", DeepSeekChat()),
        "api.groq.com": _like_openai("groq", GroqChat()),
        "api.mistral.ai": _like_openai("mistral", MistralChat()),
        "api.together.xyz": _TOGETHER,
        "api.together.ai": _TOGETHER,
        "api.fireworks.ai": _like_openai("fireworks"),
        "api.x.ai": _like_openai("xai", XAIChat()),
        "api.perplexity.ai": _PERPLEXITY,
        "api.cerebras.ai": _like_openai("cerebras"),
        "api.voyageai.com": _like_openai("voyage"),
        "api.cohere.com": _COHERE_ITSELF,
        "api.cohere.ai": _COHERE_ITSELF,
        "ollama.com": Service("ollama", MappingProxyType({**_OPENAI, **_OLLAMA})),
    }
)
_ENDINGS: Mapping[str, Service] = MappingProxyType(
    {
        ".api.openai.com": replace(_OPENAI_ITSELF, region=_first_label),
        ".openai.azure.com": _AZURE,
        ".cognitiveservices.azure.com": _AZURE,
        ".services.ai.azure.com": _AZURE,
        "-aiplatform.googleapis.com": replace(_VERTEX, region=_regional),
        # Of the United States and of the European Union: "aiplatform.eu.rep.googleapis.com".
        ".rep.googleapis.com": replace(_VERTEX, within="aiplatform.", region=_regional),
        ".amazonaws.com": _RUNTIME,
        ".amazonaws.com.cn": _RUNTIME,
    }
)
_ENDING_TUPLE = tuple(_ENDINGS)
_BY_PROVIDER: Mapping[str, Service] = MappingProxyType(
    {service.provider: service for service in (*_ENDINGS.values(), *_SERVICES.values())}
)
_NO_HOSTS: Mapping[str, str] = MappingProxyType({})


def is_known(host: str, compatible_hosts: Mapping[str, str] = _NO_HOSTS, own: Registry | None = None) -> bool:
    """Whether a host may be in a table: the quick look that every HTTP call of the app pays for.

    Says yes rather too often than too seldom; ``find_route`` decides.
    """
    host = host.lower()
    if host in _SERVICES or host.endswith(_ENDING_TUPLE):
        return True
    if own is not None and own.knows(host):
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
    own: Registry | None = None,
) -> Route | None:
    """Where a request goes, ``None`` where it is no call to a model. Never raises.

    Args:
        port: as in the URL; ``None`` where it names none.
        path: without the query string.
        compatible_hosts: host, or "host:port", in lower case → provider name; goes before the table.
        provider: the client was given to us explicitly, and this is who its SDK talks to ("": not known).
            Then a host that is in no table is matched by its path alone.
        own: the app's own providers; on the paths they name they go before everything else.
    """
    fetched = _fetched(method, path)
    if fetched is not None:
        route = _asked(host, port, fetched, compatible_hosts, provider, own)
        return None if route is None else replace(route, fetches=True)
    if method != "POST" and method.upper() != "POST":
        return None
    return _asked(host, port, path, compatible_hosts, provider, own)


def format_for(provider: str, ending: str) -> WireFormat:
    """The wire format a provider uses on paths of that ending; names are compared case-insensitively."""
    return _anywhere(provider)[ending]


def _asked(
    host: str,
    port: int | None,
    path: str,
    compatible_hosts: Mapping[str, str],
    provider: str | None,
    own: Registry | None,
) -> Route | None:
    host = host.lower()
    route = own.find(host, port, path, provider) if own is not None else None
    if route is not None:
        return route
    if compatible_hosts:
        configured = _configured(compatible_hosts, host, port)
        if configured is not None:
            return _route(configured, _anywhere(configured), path)
    service = service_of(host)
    if service is None:
        return None if provider is None else _route(provider, _anywhere(provider), path)
    if service.paths is not None and path not in service.paths:
        return None
    route = _route(service.provider, service.formats, path)
    if route is None or service.region is None:
        return route
    return replace(route, geo=service.region(host))


def _fetched(method: str, path: str) -> str | None:
    """Where the answer was asked for that ``GET …/responses/<id>`` or ``POST …/responses/<id>/cancel`` is about."""
    head, _, last = path.rpartition("/")
    if last == "cancel" and method.upper() == "POST":
        head = head.rpartition("/")[0]
    elif method.upper() != "GET" or not last:
        return None
    return head if head.endswith("/responses") else None


def service_of(host: str) -> Service | None:
    """What a host (in lower case) offers, where it is in the table."""
    service = _SERVICES.get(host)
    if service is None and host.endswith(_ENDING_TUPLE):
        service = next(service for ending, service in _ENDINGS.items() if host.endswith(ending))
    return service if service is not None and service.within in host else None


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
    ending = at.ending_of(path)
    wire = formats.get(ending) if ending is not None else None
    if wire is None or ending is None:
        return None
    return Route(provider or wire.name, wire, at.OPERATIONS.get(ending, "chat"))
