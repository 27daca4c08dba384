"""Which HTTP calls are calls to Bedrock, Cohere and Ollama."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_llm_cost.providers import find_route
from flask_llm_cost.providers.endings import OPERATIONS, ending_of

RUNTIME = "bedrock-runtime.us-east-1.amazonaws.com"


def routed(
    url: str, *, provider: str | None = None, compatible: dict[str, str] | None = None
) -> tuple[str, str, str] | None:
    """Provider, format and operation of a URL without a scheme."""
    authority, slash, path = url.partition("/")
    host, _, port = authority.partition(":")
    route = find_route(
        "POST", host, int(port) if port else None, slash + path, compatible_hosts=compatible or {}, provider=provider
    )
    return None if route is None else (route.provider, type(route.wire).__name__, route.operation)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (f"{RUNTIME}/model/m/converse", ("bedrock", "BedrockConverse", "chat")),
        (f"{RUNTIME}/model/m/converse-stream", ("bedrock", "BedrockConverse", "chat")),
        (f"{RUNTIME}/model/m/invoke", ("bedrock", "BedrockInvoke", "chat")),
        (f"{RUNTIME}/model/m/invoke-with-response-stream", ("bedrock", "BedrockInvoke", "chat")),
        (f"{RUNTIME}/model/arn:aws:bedrock:r:1:inference-profile/m/invoke", ("bedrock", "BedrockInvoke", "chat")),
        (f"{RUNTIME}/model/amazon.titan-embed-text-v1/invoke", ("bedrock", "BedrockInvoke", "embeddings")),
        ("bedrock-runtime-fips.us-gov-west-1.amazonaws.com/model/m/converse", ("bedrock", "BedrockConverse", "chat")),
        ("bedrock-runtime.cn-north-1.amazonaws.com.cn/model/m/converse", ("bedrock", "BedrockConverse", "chat")),
        (f"{RUNTIME}/model/converse", None),
        (f"{RUNTIME}/model//converse", None),
        (f"{RUNTIME}/model/m/count-tokens", None),
        (f"{RUNTIME}/guardrail/g/version/1/apply", None),
        ("s3.us-east-1.amazonaws.com/model/m/converse", None),
        ("bucket.s3.amazonaws.com/v1/messages", None),
        ("api.cohere.com/v2/chat", ("cohere", "Cohere", "chat")),
        ("api.cohere.ai/v1/chat", ("cohere", "Cohere", "chat")),
        ("api.cohere.com/v1/embed", ("cohere", "Cohere", "embeddings")),
        ("api.cohere.com/v2/rerank", ("cohere", "Cohere", "rerank")),
        ("api.cohere.com/v1/tokenize", None),
        ("ollama.com/api/chat", ("ollama", "Ollama", "chat")),
        ("ollama.com/api/tags", None),
        ("localhost:11434/api/chat", None),
    ],
)
def test_bedrock_cohere_and_ollama(url: str, expected: tuple[str, str, str] | None) -> None:
    assert routed(url) == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("localhost:11434/api/chat", ("ollama", "Ollama", "chat")),
        ("localhost:11434/api/generate", ("ollama", "Ollama", "text_completion")),
        ("localhost:11434/api/embed", ("ollama", "Ollama", "embeddings")),
        ("localhost:11434/api/embeddings", ("ollama", "Ollama", "embeddings")),
        ("localhost:11434/v1/chat/completions", ("ollama", "OpenAIChat", "chat")),
        ("localhost:11434/api/pull", None),
    ],
)
def test_ollama_runs_wherever_the_setting_says(url: str, expected: tuple[str, str, str] | None) -> None:
    assert routed(url, compatible={"localhost:11434": "ollama"}) == expected


def test_an_explicit_bedrock_client_is_followed_to_a_private_endpoint() -> None:
    expected = ("bedrock", "BedrockInvoke", "chat")
    assert routed("vpce.example/model/m/invoke", provider="bedrock") == expected


@given(
    st.lists(st.sampled_from([*OPERATIONS, "model", "v1", "v2", "api", "chat", "invoke", "x:y", "%3A", ""]), max_size=5)
)
def test_any_path_has_an_ending_or_none(segments: list[str]) -> None:
    ending = ending_of("/" + "/".join(segments))
    assert ending is None or ending.partition("/")[0]


def test_what_precedes_an_ending_may_be_anything_but_for_bedrock() -> None:
    assert [ending_of(f"/openai/deployments/x/{name}") for name in ("audio/speech", "images/edits")] == [
        "audio/speech",
        "images/edits",
    ]
    assert ending_of("/x/model/m/invoke") is None
