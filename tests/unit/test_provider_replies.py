"""``reply``: an answer written in each wire format, without a server."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_llm_cost.providers import read_exchange
from flask_llm_cost.testing import Answer, Received, reply
from flask_llm_cost.usage import Reading

CHAT = ("https://api.openai.com", "/v1/chat/completions", "openai")
RESPONSES = ("https://api.openai.com", "/v1/responses", "openai")
MESSAGES = ("https://api.anthropic.com", "/v1/messages", "anthropic")
GEMINI = ("https://generativelanguage.googleapis.com", "/v1beta/models/gemini-2.5-flash:generateContent", "gemini")
SSE = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
ARRAY = "/v1beta/models/gemini-2.5-flash:streamGenerateContent"
ASK: dict[str, object] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}], "input": "Hi"}
STREAM = ASK | {"stream": True, "stream_options": {"include_usage": True}}
WAYS = [
    (*CHAT, ASK),
    (*CHAT, STREAM),
    (*RESPONSES, ASK),
    (*RESPONSES, STREAM),
    (*MESSAGES, ASK),
    (*MESSAGES, STREAM),
    (*GEMINI, {}),
    (GEMINI[0], SSE, "gemini", {}),
    (GEMINI[0], ARRAY, "gemini", {}),
]
IDS = ["chat", "chat sse", "responses", "responses sse", "messages", "messages sse", "gemini", "gemini sse", "array"]


def read(host: str, path: str, body: dict[str, object], answer: Answer | None) -> Reading:
    request = Received.post(path, body)
    written = reply(request, answer)
    reading = read_exchange(
        url=host + path, request_body=request.body, status=written.status, headers=written.headers, body=written.body
    )
    assert reading is not None
    return reading


counts = st.integers(0, 10**6)


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    """Any counts, parts never larger than their wholes."""
    written, hidden = draw(counts), draw(counts)
    return Answer(
        text=draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=40)),
        input_tokens=draw(counts),
        cache_read_input_tokens=draw(counts),
        cache_write_input_tokens=written,
        cache_write_1h_input_tokens=draw(st.integers(0, written)),
        output_tokens=hidden + draw(counts),
        hidden_output_tokens=hidden,
        chunks=draw(st.none() | st.integers(1, 9)),
        response_id=draw(st.none() | st.just("id-of-ours")),
    )


@pytest.mark.parametrize(("host", "path", "provider", "body"), WAYS, ids=IDS)
@given(answer=answers())
def test_the_reading_has_exactly_the_programmed_counts(
    host: str, path: str, provider: str, body: dict[str, object], answer: Answer
) -> None:
    """Written in the provider's words and read back through the real parser, every count is the same again."""
    reading = read(host, path, body, answer)
    written, hour = answer.cache_write_input_tokens, answer.cache_write_1h_input_tokens
    fresh = answer.input_tokens or 0
    assert (
        reading.provider,
        reading.status,
        reading.input_tokens,
        reading.cache_read_input_tokens,
        reading.cache_write_input_tokens,
        reading.cache_write_1h_input_tokens,
        reading.output_tokens,
        reading.hidden_output_tokens,
    ) == (
        provider,
        "ok",
        fresh + (written if provider == "gemini" else 0),
        answer.cache_read_input_tokens,
        0 if provider == "gemini" else written,
        hour if provider == "anthropic" else 0,
        answer.output_tokens,
        answer.hidden_output_tokens,
    )
    if answer.response_id:
        assert reading.provider_response_id == "id-of-ours"


@pytest.mark.parametrize(("host", "path", "provider", "body"), WAYS, ids=IDS)
def test_an_answer_without_usage_reads_as_unknown(host: str, path: str, provider: str, body: dict[str, object]) -> None:
    reading = read(host, path, body, Answer(text="Hello there", usage=False))
    assert (reading.provider, reading.usage_source, reading.total_tokens) == (provider, "unknown", 0)


@pytest.mark.parametrize(("host", "path", "provider", "body"), WAYS, ids=IDS)
@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503, 529])
def test_errors_read_as_errors_without_usage(
    host: str, path: str, provider: str, body: dict[str, object], status: int
) -> None:
    reading = read(host, path, body, Answer(status=status))
    assert (reading.provider, reading.status, dict(reading.usage)) == (provider, "error", {})


def test_a_chat_stream_reports_usage_only_when_asked() -> None:
    """Then, and only then: a null on every event, and one more event with empty choices."""

    def events(body: dict[str, object]) -> list[dict[str, object]]:
        text = reply(Received.post("/v1/chat/completions", body), Answer(text="a b")).body.decode()
        assert text.endswith("data: [DONE]\n\n")
        return [json.loads(line[6:]) for line in text.split("\n\n") if line.startswith("data: {")]

    silent = events(ASK | {"stream": True})
    assert [len(event["choices"]) for event in silent] == [1, 1, 1, 1]  # type: ignore[arg-type]
    assert not any("usage" in event for event in silent)
    for options in ({}, {"include_usage": False}, None):
        assert len(events(STREAM | {"stream_options": options})) == 4
    told = events(STREAM)
    assert [len(event["choices"]) for event in told] == [1, 1, 1, 1, 0]  # type: ignore[arg-type]
    assert [event["usage"] for event in told[:-1]] == [None] * 4
    assert isinstance(told[-1]["usage"], dict)


def test_a_gemini_stream_without_sse_is_one_json_array() -> None:
    request = Received.post(ARRAY, {})
    parts = json.loads(reply(request, Answer(text="abcdef", chunks=3, output_tokens=6)).body)
    assert [part["candidates"][0]["content"]["parts"][0]["text"] for part in parts] == ["ab", "cd", "ef"]
    assert [part["usageMetadata"]["candidatesTokenCount"] for part in parts] == [2, 3, 6]
    refused = json.loads(reply(request, Answer(status=429)).body)
    assert [part["error"]["status"] for part in refused] == ["RESOURCE_EXHAUSTED"]


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=200), chunks=st.none() | st.integers(1, 50))
def test_the_pieces_of_a_stream_are_the_text(text: str, chunks: int | None) -> None:
    """However it is cut, nothing is lost, and no more pieces come than were asked for."""
    request = Received.post("/v1/chat/completions", ASK | {"stream": True})
    lines = reply(request, Answer(text=text, chunks=chunks)).body.decode().split("\n\n")
    events = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    pieces = [event["choices"][0]["delta"].get("content") for event in events[1:-1]]
    assert "".join(pieces) == text
    assert chunks is None or len(pieces) <= chunks


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("gpt-4o-mini", "gpt-4o-mini-2024-07-18"),
        ("claude-haiku-4-5", "claude-haiku-4-5-20251001"),
        ("gpt-4o-2024-05-13", "gpt-4o-2024-05-13"),
        ("our-own-model", "our-own-model"),
    ],
)
def test_the_dated_snapshot_of_the_model_answers(asked: str, answered: str) -> None:
    for path in ("/v1/chat/completions", "/v1/responses", "/v1/messages"):
        body = json.loads(reply(Received.post(path, ASK | {"model": asked}), Answer()).body)
        assert body["model"] == answered


def test_long_prompts_are_cached_as_each_provider_caches() -> None:
    """OpenAI from 1,024 tokens in steps of 128; Anthropic where the request marks it; reasoning models reason."""
    long = "word " * 2000
    chat = read(CHAT[0], CHAT[1], ASK | {"model": "o3", "messages": [{"role": "user", "content": long}]}, None)
    assert chat.cache_read_input_tokens >= 1024
    assert chat.cache_read_input_tokens % 128 == 0
    assert 0 < chat.hidden_output_tokens < chat.output_tokens
    block = {"type": "text", "text": long}
    unmarked = read(MESSAGES[0], MESSAGES[1], ASK | {"system": [block]}, None)
    marked = read(MESSAGES[0], MESSAGES[1], ASK | {"system": [block | {"cache_control": {"type": "ephemeral"}}]}, None)
    assert unmarked.cache_read_input_tokens == 0
    assert marked.cache_read_input_tokens > marked.input_tokens > 0
    assert marked.total_tokens == unmarked.total_tokens


@pytest.mark.parametrize(
    "wrong",
    [
        {"input_tokens": -1},
        {"delay_s": -0.5},
        {"chunks": 0},
        {"chunk_bytes": 0},
        {"cache_write_1h_input_tokens": 1},
        {"output_tokens": 5, "hidden_output_tokens": 6},
        {"input_tokens": 5, "input_audio_tokens": 3, "input_image_tokens": 3},
    ],
)
def test_an_answer_that_cannot_be_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"Answer.*{next(reversed(wrong)).split('_')[0]}|at least|part of"):
        Answer(**wrong)  # type: ignore[arg-type]


ANSWER = Answer(
    input_tokens=100, cache_read_input_tokens=20, output_tokens=30, hidden_output_tokens=5, response_id="id-of-ours"
)
OTHERS = [
    ("https://api.mistral.ai", "/v1/chat/completions", "ministral-8b-2512", {}, (100, 20, 30, 0)),
    ("https://api.mistral.ai", "/v1/chat/completions", "ministral-8b-2512", {"stream": True}, (100, 20, 30, 0)),
    ("https://api.mistral.ai", "/v1/embeddings", "mistral-embed", {"input": ["Hi"]}, (100, 0, 0, 0)),
    ("https://api.groq.com", "/openai/v1/chat/completions", "openai/gpt-oss-20b", {}, (100, 20, 30, 5)),
    ("https://api.groq.com", "/openai/v1/chat/completions", "openai/gpt-oss-20b", {"stream": True}, (100, 20, 30, 5)),
    ("https://api.cohere.com", "/v2/chat", "command-a-03-2025", {}, (120, 0, 30, 0)),
    ("https://api.cohere.com", "/v2/chat", "command-a-03-2025", {"stream": True}, (120, 0, 30, 0)),
    ("https://api.cohere.com", "/v2/embed", "embed-v4.0", {"texts": ["Hi"]}, (100, 0, 0, 0)),
]


@pytest.mark.parametrize(("host", "path", "model", "more", "wanted"), OTHERS)
def test_mistral_groq_and_cohere_answer_the_programmed_counts_in_their_own_words(
    host: str, path: str, model: str, more: dict[str, object], wanted: tuple[int, int, int, int]
) -> None:
    """Streams report usage without being asked. Cohere bills nothing apart; Mistral does not tell reasoning."""
    reading = read(host, path, {"model": model, **more}, ANSWER)
    assert reading.status == "ok"
    assert (
        reading.input_tokens,
        reading.cache_read_input_tokens,
        reading.output_tokens,
        reading.hidden_output_tokens,
    ) == wanted
    assert reading.provider == host.split(".")[1]
    assert reading.usage_source == ("stream_final" if more.get("stream") else "response")


@pytest.mark.parametrize(("documents", "units"), [(1, 1), (100, 1), (101, 2)])
def test_a_rerank_is_billed_in_search_units_of_a_hundred_documents(documents: int, units: int) -> None:
    asked = {"model": "rerank-v3.5", "query": "Which?", "documents": ["text"] * documents}
    assert dict(read("https://api.cohere.com", "/v2/rerank", asked, ANSWER).usage) == {"request": units}


@pytest.mark.parametrize("path", ["/v2/chat", "/v1/chat/completions"])
def test_cohere_and_mistral_refuse_in_a_shape_of_their_own(path: str) -> None:
    refused = reply(Received.post(path, {"model": "mistral-small-latest"}), Answer(status=429, error_message="Slower."))
    said = json.loads(refused.body)
    assert (refused.status, refused.headers["retry-after"], said["message"]) == (429, "1", "Slower.")
    assert "error" not in said
