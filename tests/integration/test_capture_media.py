"""Sound, pictures and vectors with the real SDKs: what is billed may stand in a form that is streamed up."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import anthropic
import httpx
import httpx2
import openai
import pytest
import requests
from google import genai
from google.genai import types

from flask_llm_cost import LLMCost
from flask_llm_cost.ledger.models import Call
from flask_llm_cost.testing import Answer, ProviderServer

ReadCalls = Callable[[], list[Call]]

SOUND = b"RIFF" + bytes(range(256)) * 40
HEARD = Answer(text="Hello there.", input_tokens=14, input_audio_tokens=10, output_tokens=45)
FORM = {"model": "gpt-4o-transcribe", "response_format": "json"}


@pytest.fixture
def client(llm_cost: LLMCost, provider: ProviderServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{provider.url}/v1", api_key="any", max_retries=0) as plain:
        yield llm_cost.wrap(plain)


def quantities(row: Call) -> dict[str, str]:
    receipt: Any = row.receipt
    return {line["meter"]: str(line["quantity"]) for line in receipt["lines"]}


def essence(row: Call) -> tuple[Any, ...]:
    return (row.model, row.operation, row.usage_source, quantities(row))


TRANSCRIBED = ("gpt-4o-transcribe", "transcription", "response", {"input": "4", "input.audio": "10", "output": "45"})


def test_a_transcription_names_its_model_in_a_form_that_is_streamed_up(
    client: openai.OpenAI, provider: ProviderServer, calls: ReadCalls
) -> None:
    provider.next(HEARD)
    heard = client.audio.transcriptions.create(model="gpt-4o-transcribe", file=("a.wav", io.BytesIO(SOUND)))
    assert heard.text == "Hello there."
    assert [essence(row) for row in calls()] == [TRANSCRIBED]
    assert SOUND in provider.requests[0].body


def test_a_streamed_and_an_async_transcription_too(
    llm_cost: LLMCost, client: openai.OpenAI, provider: ProviderServer, calls: ReadCalls
) -> None:
    provider.next(HEARD, HEARD)
    events = list(client.audio.transcriptions.create(model="gpt-4o-transcribe", file=("a.wav", SOUND), stream=True))
    assert events[-1].type == "transcript.text.done"

    async def ask() -> None:
        async with openai.AsyncOpenAI(base_url=f"{provider.url}/v1", api_key="any") as plain:
            await llm_cost.wrap(plain).audio.transcriptions.create(model="gpt-4o-transcribe", file=("a.wav", SOUND))

    asyncio.run(ask())
    streamed = (TRANSCRIBED[0], TRANSCRIBED[1], "stream_final", TRANSCRIBED[3])
    assert [essence(row) for row in calls()] == [streamed, TRANSCRIBED]


# The SDK calls translations deprecated.
@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_whisper_is_billed_by_the_second(client: openai.OpenAI, provider: ProviderServer, calls: ReadCalls) -> None:
    provider.next(Answer(input_tokens=95), Answer(input_tokens=95))
    client.audio.transcriptions.create(model="whisper-1", file=("a.wav", SOUND))
    client.audio.translations.create(model="whisper-1", file=("a.wav", SOUND))
    rows = calls()
    assert [essence(row) for row in rows] == [
        ("whisper-1", "transcription", "response", {"audio.second": "10"}),
        ("whisper-1", "translation", "response", {"audio.second": "10"}),
    ]
    assert [row.total_cost for row in rows] == [10 * Decimal("0.006") / 60] * 2


def test_speech_is_billed_by_the_characters_of_the_text(
    client: openai.OpenAI, provider: ProviderServer, calls: ReadCalls
) -> None:
    sound = client.audio.speech.create(model="tts-1", voice="alloy", input="Grüße aus Köln").read()
    assert sound.startswith(b"\xff\xfb")
    (row,) = calls()
    assert essence(row) == ("tts-1", "speech", "response", {"character": "14"})
    assert row.total_cost == 14 * Decimal("15") / 1_000_000


def test_images_are_billed_by_size_and_quality_or_by_tokens(
    client: openai.OpenAI, provider: ProviderServer, calls: ReadCalls
) -> None:
    client.images.generate(model="dall-e-3", prompt="A cat.", size="1792x1024", quality="hd", n=1)
    client.images.edit(model="dall-e-2", image=("a.png", b"\x89PNG"), prompt="A dog.", n=3, size="512x512")
    provider.next(Answer(input_tokens=50, input_image_tokens=40, output_tokens=60))
    client.images.edit(model="gpt-image-1", image=[("a.png", b"\x89PNG"), ("b.png", b"\x89PNG")], prompt="A hat.")
    assert [essence(row) for row in calls()] == [
        ("dall-e-3", "image_generation", "response", {"image.1792x1024.hd": "1"}),
        ("dall-e-2", "image_generation", "response", {"image.512x512.standard": "3"}),
        (
            "gpt-image-1",
            "image_generation",
            "response",
            {"input": "10", "input.image": "40", "output": "0", "output.image": "60"},
        ),
    ]


@pytest.mark.parametrize("family", [httpx, httpx2], ids=["httpx", "httpx2"])
def test_a_file_that_can_be_read_only_once_is_left_to_httpx(
    family: Any, llm_cost: LLMCost, provider: ProviderServer, calls: ReadCalls, tmp_path: Path
) -> None:
    """Nothing of the upload is read on the app's behalf: the bytes on the wire are the file's."""
    sound = tmp_path / "a.wav"
    sound.write_bytes(SOUND)
    provider.next(HEARD)
    with sound.open("rb") as file, family.Client() as plain:
        client = llm_cost.wrap(plain)
        client.post(f"{provider.url}/v1/audio/transcriptions", data={**FORM, "n": 1}, files={"file": file})
    assert [essence(row) for row in calls()] == [TRANSCRIBED]
    assert SOUND in provider.requests[0].body


def test_a_form_of_requests(llm_cost: LLMCost, provider: ProviderServer, calls: ReadCalls) -> None:
    provider.next(HEARD)
    with requests.Session() as session:
        llm_cost.mount(session, provider="openai").post(
            f"{provider.url}/v1/audio/transcriptions", data=FORM, files={"file": io.BytesIO(SOUND)}
        )
    assert [essence(row) for row in calls()] == [TRANSCRIBED]


def form_of_fields() -> Any:
    form = aiohttp.FormData(FORM)
    form.add_field("file", io.BytesIO(SOUND), filename="a.wav")
    return form


def form_of_parts() -> Any:
    writer = aiohttp.MultipartWriter("form-data")
    for name, value in FORM.items():
        writer.append(value).set_content_disposition("form-data", name=name)
    writer.append(SOUND).set_content_disposition("form-data", name="file", filename="a.wav")
    return writer


@pytest.mark.parametrize(
    "form",
    [form_of_fields, form_of_parts, lambda: {**FORM, "file": io.BytesIO(SOUND)}, lambda: [*FORM.items()]],
    ids=["FormData", "MultipartWriter", "mapping", "pairs"],
)
def test_a_form_of_aiohttp(form: Callable[[], Any], llm_cost: LLMCost, provider: ProviderServer) -> None:
    """aiohttp's own ways to say what is in a form; a form without a file is sent urlencoded."""
    provider.respond(lambda _received: HEARD)

    async def ask() -> None:
        async with aiohttp.ClientSession() as session:
            llm_cost.wrap(session)
            async with session.post(f"{provider.url}/v1/audio/transcriptions", data=form()) as answer:
                await answer.read()

    asyncio.run(ask())
    assert llm_cost.flush(10)
    with llm_cost.session() as session:
        (row,) = session.query(Call)
    assert row.request_model == "gpt-4o-transcribe"


def gemini(llm_cost: LLMCost, url: str, **vertex: Any) -> genai.Client:
    return llm_cost.wrap(genai.Client(api_key="any", http_options=types.HttpOptions(base_url=url), **vertex))


def test_gemini_embeddings_report_usage(llm_cost: LLMCost, provider: ProviderServer, calls: ReadCalls) -> None:
    body = b'{"embeddings": [{"values": [0.1]}, {"values": [0.2]}], "usageMetadata": {"promptTokenCount": 9}}'
    provider.next(Answer(body=body))
    client = gemini(llm_cost, provider.url)
    answer = client.models.embed_content(model="gemini-embedding-001", contents=["one", "two"])
    client.close()
    assert [vector.values for vector in answer.embeddings or []] == [[0.1], [0.2]]
    (row,) = calls()
    assert essence(row) == ("gemini-embedding-001", "embeddings", "response", {"input": "9"})
    assert (row.provider, row.total_cost) == ("gemini", 9 * Decimal("0.15") / 1_000_000)


def test_vertex_counts_the_tokens_of_each_text(llm_cost: LLMCost, provider: ProviderServer, calls: ReadCalls) -> None:
    vector = b'{"embeddings": {"values": [0.1], "statistics": {"token_count": 4, "truncated": false}}}'
    provider.next(Answer(body=b'{"predictions": [' + vector + b", " + vector + b"]}"))
    client = gemini(llm_cost, provider.url, vertexai=True)
    answer = client.models.embed_content(model="text-embedding-005", contents=["one", "two"])
    client.close()
    assert len(answer.embeddings or []) == 2
    assert provider.requests[0].path.endswith("/publishers/google/models/text-embedding-005:predict")
    (row,) = calls()
    assert essence(row) == ("text-embedding-005", "embeddings", "response", {"input": "8"})
    assert row.provider == "vertex"


def test_counting_tokens_is_no_call_to_a_model(llm_cost: LLMCost, provider: ProviderServer, calls: ReadCalls) -> None:
    """Anthropic's and Google's counters are free: nothing is recorded."""
    provider.next(Answer(body=b'{"totalTokens": 7}'), Answer(body=b'{"input_tokens": 7}'))
    client = gemini(llm_cost, provider.url)
    assert client.models.count_tokens(model="gemini-2.5-flash", contents="Hi").total_tokens == 7
    client.close()
    with anthropic.Anthropic(base_url=provider.url, api_key="any", max_retries=0) as plain:
        counted = llm_cost.wrap(plain).messages.count_tokens(
            model="claude-haiku-4-5", messages=[{"role": "user", "content": "Hi"}]
        )
    assert counted.input_tokens == 7
    assert calls() == []


@pytest.mark.parametrize(
    ("name", "path", "body", "expected"),
    [
        (
            "cohere",
            "/v2/rerank",
            b'{"id": "r1", "results": [], "meta": {"billed_units": {"search_units": 1}}}',
            ("rerank-v3.5", "rerank", "response", {"request": "1"}),
        ),
        (
            "cohere",
            "/v2/embed",
            b'{"id": "e1", "embeddings": {"float": [[0.1]]}, "meta": {"billed_units": {"input_tokens": 6}}}',
            ("rerank-v3.5", "embeddings", "response", {"input": "6"}),
        ),
        (
            "ollama",
            "/api/embed",
            b'{"model": "all-minilm", "embeddings": [[0.1]], "prompt_eval_count": 8}',
            ("all-minilm", "embeddings", "response", {"input": "8"}),
        ),
    ],
)
def test_vectors_and_ranks_over_plain_http(
    name: str,
    path: str,
    body: bytes,
    expected: tuple[Any, ...],
    llm_cost: LLMCost,
    provider: ProviderServer,
    calls: ReadCalls,
) -> None:
    provider.next(Answer(body=body))
    with requests.Session() as session:
        llm_cost.mount(session, provider=name).post(provider.url + path, json={"model": "rerank-v3.5"})
    (row,) = calls()
    assert (row.provider, row.operation, row.usage_source, row.model) == (name, expected[1], expected[2], expected[0])
    assert quantities(row) == expected[3]


def test_bedrock_over_plain_http_says_why_it_refused(
    llm_cost: LLMCost, provider: ProviderServer, calls: ReadCalls
) -> None:
    """The code stands in a header; the body has a sentence, and that is never kept."""
    kind = "ThrottlingException:http://internal.amazon.com/coral/com.amazon.bedrock/"
    provider.next(Answer(status=429, body=b'{"message": "Too many."}', headers={"x-amzn-errortype": kind}))
    with requests.Session() as session:
        llm_cost.mount(session, provider="bedrock").post(f"{provider.url}/model/amazon.nova-lite-v1%3A0/converse")
    (row,) = calls()
    assert (row.status, row.error_type, row.model) == ("error", "ThrottlingException", "amazon.nova-lite-v1:0")
