"""Which HTTP calls are calls to a model."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_llm_cost.providers import find_route, read_exchange
from flask_llm_cost.providers.hosts import is_known

VERTEX = "/v1/projects/p/locations/l/publishers"


def routed(url: str, *, method: str = "POST", provider: str | None = None, **hosts: str) -> tuple[str, str, str] | None:
    """Provider, format and operation of a URL without a scheme; keys of ``hosts`` spell dots as underscores."""
    authority, slash, path = url.partition("/")
    host, _, port = authority.partition(":")
    compatible = {name.replace("_", "."): who for name, who in hosts.items()}
    route = find_route(
        method, host, int(port) if port else None, slash + path, compatible_hosts=compatible, provider=provider
    )
    return None if route is None else (route.provider, type(route.wire).__name__, route.operation)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("api.openai.com/v1/chat/completions", ("openai", "OpenAIChat", "chat")),
        ("api.openai.com/v1/completions", ("openai", "OpenAIChat", "text_completion")),
        ("api.openai.com/v1/responses", ("openai", "OpenAIResponses", "chat")),
        ("api.openai.com/v1/embeddings", ("openai", "OpenAIEmbeddings", "embeddings")),
        ("eu.api.openai.com/v1/responses", ("openai", "OpenAIResponses", "chat")),
        ("us.api.openai.com/v1/responses", ("openai", "OpenAIResponses", "chat")),
        ("api.openai.com/v1/audio/transcriptions", ("openai", "OpenAITranscription", "transcription")),
        ("api.openai.com/v1/audio/translations", ("openai", "OpenAITranscription", "translation")),
        ("api.openai.com/v1/audio/speech", ("openai", "OpenAISpeech", "speech")),
        ("api.openai.com/v1/images/generations", ("openai", "OpenAIImages", "image_generation")),
        ("api.openai.com/v1/images/edits", ("openai", "OpenAIImages", "image_generation")),
        ("api.openai.com/v1/images/variations", ("openai", "OpenAIImages", "image_generation")),
        ("api.openai.com/v1/moderations", ("openai", "OpenAIModerations", "moderation")),
    ],
)
def test_openai_paths(url: str, expected: tuple[str, str, str]) -> None:
    """Covers P-PARSE-OAI-01, P-PARSE-GEN-16 (a table takes the place of an order of parsers)."""
    assert routed(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "api.openai.com/v1/responses/resp_1",
        "api.openai.com/v1/responses/resp_1/input_items",
        "api.openai.com/v1/models",
        "api.openai.com/v1/moderations/",
        "api.openai.com/v1/audio/voices",
        "api.openai.com/v1/images",
        "api.openai.com/audio/speech",
        "api.openai.com/v1/batches",
        "api.openai.com/v1/chat/completions/",
        "api.openai.com/chat/completions",
        "api.openai.com/",
        "api.openai.com",
        "openai.com/v1/chat/completions",
        "api.openai.com.evil.example/v1/chat/completions",
    ],
)
def test_what_is_no_call_to_openai(url: str) -> None:
    """Covers P-PARSE-OAI-02, P-PARSE-OAI-03 (regional hosts, images, audio and moderations match: design 02)."""
    assert routed(url) is None


@pytest.mark.parametrize("path", ["/v1/messages"])
def test_anthropic_path(path: str) -> None:
    """Covers P-PARSE-ANT-01."""
    assert routed("api.anthropic.com" + path) == ("anthropic", "AnthropicMessages", "chat")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/messages/count_tokens",
        "/v1/messages/batches",
        "/v1/messages/batches/b/results",
        "/v1/models",
        "/v1/complete",
    ],
)
def test_anthropic_counting_and_batches_are_no_calls(path: str) -> None:
    """Covers P-PARSE-ANT-02, whose substring rule the gem gets wrong."""
    assert routed("api.anthropic.com" + path) is None


@pytest.mark.parametrize(
    "url",
    [
        "generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:generateContent",
        "GenerativeLanguage.GoogleApis.com/v1/models/gemini-2.5-flash:streamGenerateContent",
        "generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash%3AgenerateContent",
    ],
)
def test_gemini_paths(url: str) -> None:
    """Covers P-PARSE-GEM-01."""
    assert routed(url) == ("gemini", "GeminiContent", "generate_content")


@pytest.mark.parametrize(
    "path",
    [
        "/v1beta/models",
        "/v1beta/models/gemini-2.5-flash:countTokens",
        "/v1beta/models/gemini-2.5-flash",
        "/v1beta/tunedModels/mine:generateContent",
        "/v1beta/cachedContents",
    ],
)
def test_what_is_no_call_to_gemini(path: str) -> None:
    """Covers P-PARSE-GEM-02. Vertex, embeddings and the OpenAI-compatible path, which the gem leaves out, match."""
    assert routed("generativelanguage.googleapis.com" + path) is None


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            f"aiplatform.googleapis.com{VERTEX}/google/models/g:generateContent",
            ("vertex", "GeminiContent", "generate_content"),
        ),
        (
            f"eu-aiplatform.googleapis.com{VERTEX}/google/models/g:streamGenerateContent",
            ("vertex", "GeminiContent", "generate_content"),
        ),
        (
            f"us-east5-aiplatform.googleapis.com{VERTEX}/anthropic/models/c@1:rawPredict",
            ("vertex", "AnthropicMessages", "chat"),
        ),
        (
            f"us-east5-aiplatform.googleapis.com{VERTEX}/anthropic/models/c:streamRawPredict",
            ("vertex", "AnthropicMessages", "chat"),
        ),
        (f"us-east5-aiplatform.googleapis.com{VERTEX}/mistralai/models/m:rawPredict", None),
        (f"us-east5-aiplatform.googleapis.com{VERTEX}/anthropic/models/count-tokens:other", None),
        ("generativelanguage.googleapis.com/v1beta/openai/chat/completions", ("gemini", "OpenAIChat", "chat")),
        ("generativelanguage.googleapis.com/v1beta/openai/embeddings", ("gemini", "OpenAIEmbeddings", "embeddings")),
        ("r.openai.azure.com/openai/deployments/d/chat/completions", ("azure", "OpenAIChat", "chat")),
        ("r.openai.azure.com/openai/v1/responses", ("azure", "OpenAIResponses", "chat")),
        ("r.cognitiveservices.azure.com/openai/deployments/d/embeddings", ("azure", "OpenAIEmbeddings", "embeddings")),
        ("r.services.ai.azure.com/models/chat/completions", ("azure", "OpenAIChat", "chat")),
        ("r.services.ai.azure.com/anthropic/v1/messages", ("azure", "AnthropicMessages", "chat")),
        ("openrouter.ai/api/v1/chat/completions", ("openrouter", "OpenRouterChat", "chat")),
        ("api.deepseek.com/chat/completions", ("deepseek", "DeepSeekChat", "chat")),
        ("api.deepseek.com/beta/completions", ("deepseek", "DeepSeekChat", "text_completion")),
        ("api.groq.com/openai/v1/chat/completions", ("groq", "GroqChat", "chat")),
        ("api.mistral.ai/v1/chat/completions", ("mistral", "MistralChat", "chat")),
        ("api.together.xyz/v1/chat/completions", ("together", "TogetherChat", "chat")),
        ("api.together.ai/v1/chat/completions", ("together", "TogetherChat", "chat")),
        ("api.fireworks.ai/inference/v1/chat/completions", ("fireworks", "OpenAIChat", "chat")),
        ("api.x.ai/v1/chat/completions", ("xai", "XAIChat", "chat")),
        ("api.perplexity.ai/chat/completions", ("perplexity", "PerplexityChat", "chat")),
        ("api.perplexity.ai/v1/responses", ("perplexity", "PerplexityResponses", "chat")),
        ("api.cerebras.ai/v1/chat/completions", ("cerebras", "OpenAIChat", "chat")),
        ("api.voyageai.com/v1/embeddings", ("voyage", "OpenAIEmbeddings", "embeddings")),
    ],
)
def test_other_hosts(url: str, expected: tuple[str, str, str] | None) -> None:
    """Covers P-CFG-04."""
    assert routed(url) == expected


@pytest.mark.parametrize("method", ["GET", "DELETE", "HEAD", "get"])
def test_only_posts_are_calls(method: str) -> None:
    assert routed("api.openai.com/v1/responses", method=method) is None
    assert routed("api.openai.com/v1/responses", method="post") is not None


@pytest.mark.parametrize(
    "path",
    [
        "/chat/completions",
        "/completions",
        "/embeddings",
        "/responses",
        "/a/b/c/v9/chat/completions",
        "/openai/embeddings",
    ],
)
def test_configured_hosts_match_at_any_depth(path: str) -> None:
    """Covers P-PARSE-CMP-02, P-PARSE-GEN-15 (configuration is read at every call)."""
    assert routed("llm.internal" + path) is None
    found = routed("llm.internal" + path, llm_internal="gateway")
    assert found is not None
    assert found[0] == "gateway"


def test_configured_hosts_compare_case_insensitively_and_need_a_known_path() -> None:
    """Covers P-PARSE-CMP-03, P-PARSE-GEN-18 (of a host given without a port)."""
    assert routed("LLM.Internal:8443/v1/chat/completions", llm_internal="gateway") == ("gateway", "OpenAIChat", "chat")
    assert routed("other.internal/v1/chat/completions", llm_internal="gateway") is None
    assert routed("llm.internal/v1/models", llm_internal="gateway") is None


def test_an_entry_with_a_port_matches_that_port_only_and_goes_first() -> None:
    hosts = {"127.0.0.1:8001": "one", "127.0.0.1": "any"}
    ports = [8001, 8002, None]
    routes = [find_route("POST", "127.0.0.1", port, "/v1/embeddings", compatible_hosts=hosts) for port in ports]
    assert [route and route.provider for route in routes] == ["one", "any", "any"]
    del hosts["127.0.0.1"]
    assert find_route("POST", "127.0.0.1", 8002, "/v1/embeddings", compatible_hosts=hosts) is None
    six = find_route("POST", "::1", 8001, "/v1/embeddings", compatible_hosts={"[::1]:8001": "six"})
    assert six is not None
    assert six.provider == "six"


def test_a_configured_host_goes_before_the_table_and_speaks_as_its_provider_does() -> None:
    assert routed("api.openai.com/v1/chat/completions", api_openai_com="mine") == ("mine", "OpenAIChat", "chat")
    assert routed("proxy.internal/v1/chat/completions", proxy_internal="groq") == ("groq", "GroqChat", "chat")
    assert routed("proxy.internal/v1/messages", proxy_internal="gateway") == ("gateway", "AnthropicMessages", "chat")


@pytest.mark.parametrize(
    ("url", "provider", "expected"),
    [
        ("gw.example/any/v1/messages", "anthropic", ("anthropic", "AnthropicMessages", "chat")),
        ("gw.example/v1/messages", "", ("anthropic", "AnthropicMessages", "chat")),
        ("gw.example/x/chat/completions", "", ("openai", "OpenAIChat", "chat")),
        ("gw.example/x/chat/completions", "xai", ("xai", "XAIChat", "chat")),
        ("gw.example/x/chat/completions", "house", ("house", "OpenAIChat", "chat")),
        ("gw.example/v1beta/models/g:generateContent", "", ("gemini", "GeminiContent", "generate_content")),
        (f"gw.example{VERTEX}/anthropic/models/c:rawPredict", "vertex", ("vertex", "AnthropicMessages", "chat")),
        ("api.groq.com/openai/v1/chat/completions", "openai", ("groq", "GroqChat", "chat")),
        ("gw.example/v1/models", "openai", None),
        ("gw.example/v1/messages/count_tokens", "anthropic", None),
        ("api.openai.com/v1/batches", "openai", None),
    ],
)
def test_an_explicit_client_is_followed_whatever_its_host(
    url: str, provider: str, expected: tuple[str, str, str] | None
) -> None:
    assert routed(url, provider=provider) == expected
    if "gw.example" in url:
        assert routed(url) is None


@pytest.mark.parametrize(
    "url", ["http://[::1", "https://api.openai.com:port/v1/responses", "", "::", "https://", "\x00"]
)
def test_an_unparsable_url_is_no_call(url: str) -> None:
    """Covers P-PARSE-GEN-02."""
    assert read_exchange(url=url, request_body=b"", status=200, headers={}, body=b"{}") is None


@pytest.mark.parametrize(
    "url",
    [
        "https://API.OpenAI.com:8443/v1/embeddings?x=1",
        "http://api.openai.com/v1/embeddings#f",
        "https://u:p@api.openai.com/v1/embeddings",
    ],
)
def test_case_port_scheme_and_query_do_not_matter(url: str) -> None:
    """Covers P-PARSE-GEN-18."""
    reading = read_exchange(url=url, request_body=b"", status=200, headers={}, body=b'{"usage": {"prompt_tokens": 8}}')
    assert reading is not None
    assert (reading.provider, reading.input_tokens) == ("openai", 8)


def test_read_exchange_takes_configured_hosts_in_any_case() -> None:
    reading = read_exchange(
        url="http://llm.internal:9000/v1/embeddings",
        request_body=b"",
        status=200,
        headers={},
        body=b'{"usage": {"prompt_tokens": 8}}',
        compatible_hosts={"LLM.Internal:9000": "Gateway"},
    )
    assert reading is not None
    assert reading.provider == "Gateway"


@given(st.text(), st.text(), st.none() | st.integers(), st.text(), st.none() | st.text())
def test_routing_never_raises(method: str, host: str, port: int | None, path: str, provider: str | None) -> None:
    find_route(method, host, port, path, compatible_hosts={"a": "b"}, provider=provider)
    find_route("POST", "api.openai.com", port, path, provider=provider)


@given(
    st.sampled_from(
        ["api.openai.com", "API.GROQ.com", "r.openai.azure.com", "us-aiplatform.googleapis.com", "LLM.internal"]
    )
    | st.sampled_from(["127.0.0.1", "::1", "example.com", "com", ""])
    | st.text(max_size=12),
    st.sampled_from([None, 443, 8001]),
    st.sampled_from(["/v1/chat/completions", "/v1/messages", "/openai/v1/responses", "/v1/embeddings"]),
)
def test_the_quick_look_never_misses_a_host_that_has_a_route(host: str, port: int | None, path: str) -> None:
    hosts = {"llm.internal": "a", "127.0.0.1:8001": "b", "[::1]:8001": "c"}
    if find_route("POST", host, port, path, compatible_hosts=hosts) is not None:
        assert is_known(host, hosts)


@pytest.mark.parametrize("host", ["example.com", "api.github.com", "openai.com", "api.openai.com.evil.example"])
def test_the_quick_look_passes_over_other_hosts(host: str) -> None:
    assert not is_known(host)
    assert not is_known(host, {"llm.internal:8001": "gateway"})


@pytest.mark.parametrize(
    ("method", "url", "provider"),
    [
        ("GET", "api.openai.com/v1/responses/resp_1", "openai"),
        ("get", "api.openai.com/v1/responses/resp_1", "openai"),
        ("POST", "api.openai.com/v1/responses/resp_1/cancel", "openai"),
        ("GET", "my.openai.azure.com/openai/v1/responses/resp_1", "azure"),
        ("POST", "my.openai.azure.com/openai/responses/resp_1/cancel", "azure"),
        ("DELETE", "api.openai.com/v1/responses/resp_1", None),
        ("GET", "api.openai.com/v1/responses/", None),
        ("GET", "api.openai.com/v1/responses/resp_1/input_items", None),
        ("GET", "api.openai.com/proxy/v1/responses/resp_1", None),
        ("GET", "api.openai.com/v1/responses/resp_1/cancel", None),
        ("GET", "api.openai.com/v1/files/file-1/content", None),
        ("GET", "api.openai.com/v1/batches/batch_1", None),
        ("GET", "api.anthropic.com/v1/messages/batches/msgbatch_1/results", None),
        ("POST", "api.openai.com/v1/batches/batch_1/cancel", None),
        ("GET", "example.com/v1/responses/resp_1", None),
    ],
)
def test_a_response_fetched_by_its_id_is_looked_at_too(method: str, url: str, provider: str | None) -> None:
    """Polling and calling off, and nothing else: neither files nor results of batches."""
    host, _, path = url.partition("/")
    route = find_route(method, host, None, f"/{path}")
    found = None if route is None else (route.provider, type(route.wire).__name__, route.operation, route.fetches)
    assert found == (None if provider is None else (provider, "OpenAIResponses", "chat", True))
