"""google-genai on Vertex with a client certificate: its async calls go through a session of google-auth's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from google import genai
from google.auth.aio.transport.sessions import AsyncAuthorizedSession
from google.auth.credentials import AnonymousCredentials

from flask_llm_cost import LLMCost
from flask_llm_cost.ledger.models import Call
from flask_llm_cost.testing import Answer, ProviderServer
from sdk_calls.google_genai_sdk import GEMINI_MODEL
from sdk_calls.site import seen

ANSWER = Answer(text="Hello to you.", input_tokens=10, output_tokens=5, response_id="answer-1", created_at=1)


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client certificate where google-auth looks for one."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    (tmp_path / "cert.pem").write_bytes(made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    (tmp_path / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    workload = {"cert_path": str(tmp_path / "cert.pem"), "key_path": str(tmp_path / "key.pem")}
    (tmp_path / "config.json").write_text(json.dumps({"cert_configs": {"workload": workload}}))
    monkeypatch.setenv("GOOGLE_API_CERTIFICATE_CONFIG", str(tmp_path / "config.json"))
    monkeypatch.setenv("GOOGLE_API_USE_CLIENT_CERTIFICATE", "true")


def vertex(url: str) -> genai.Client:
    credentials: Any = AnonymousCredentials()  # type: ignore[no-untyped-call]
    credentials.token = "test"
    options: dict[str, Any] = {"project": "test", "location": "us-central1", "credentials": credentials}
    return genai.Client(vertexai=True, **options, http_options={"base_url": url})


def ask(url: str, watch: Callable[[genai.Client], None], *, stream: bool, calls: int = 1) -> list[Any]:
    client = vertex(url)
    watch(client)

    async def call(models: Any) -> Any:
        asked = {"model": GEMINI_MODEL, "contents": "What is it?"}
        if not stream:
            return seen(await models.generate_content(**asked))
        return [seen(chunk) async for chunk in await models.generate_content_stream(**asked)]

    async def run() -> list[Any]:
        async with client.aio as asynchronous:
            got = [await call(asynchronous.models) for _ in range(calls)]
            session = await client._api_client._get_aiohttp_session()
            assert isinstance(session, AsyncAuthorizedSession)
            for old in session._old_auth_requests:
                await old.close()
            return got

    with client:
        return asyncio.run(run())


def times(number: int, llm_cost: LLMCost) -> Callable[[genai.Client], None]:
    def watch(client: genai.Client) -> None:
        for _ in range(number):
            llm_cost.wrap(client)

    return watch


@pytest.mark.usefixtures("certificate")
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("wrapped", [1, 2], ids=["wrapped", "wrapped twice"])
def test_each_call_is_one_exact_row_and_the_app_sees_what_it_always_saw(
    wrapped: int, stream: bool, llm_cost: LLMCost, provider: ProviderServer, calls: Callable[[], list[Call]]
) -> None:
    provider.respond(lambda _received: ANSWER)
    expected = ask(provider.url, times(0, llm_cost), stream=stream, calls=2)
    assert ask(provider.url, times(wrapped, llm_cost), stream=stream, calls=2) == expected
    rows = [(row.provider, row.model, row.total_tokens, row.captured_by, row.stream, row.status) for row in calls()]
    assert rows == [("vertex", GEMINI_MODEL, 15, "aiohttp", stream, "ok")] * 2


@pytest.mark.usefixtures("certificate")
def test_without_a_certificate_loaded_the_session_is_watched_all_the_same(
    llm_cost: LLMCost, provider: ProviderServer, calls: Callable[[], list[Call]]
) -> None:
    """google-auth makes its own aiohttp session then, with the first request."""
    provider.respond(lambda _received: ANSWER)
    client = vertex(provider.url)
    llm_cost.wrap(client)

    async def run() -> None:
        session = await client._api_client._get_aiohttp_session()
        url = f"{provider.url}/v1beta1/projects/p/locations/l/publishers/google/models/{GEMINI_MODEL}:generateContent"
        response = await session.request("POST", url, data=b"{}")
        assert json.loads(await response.read())["responseId"] == "answer-1"
        await session.close()

    with client:
        asyncio.run(run())
    assert [(row.provider, row.model, row.total_tokens) for row in calls()] == [("vertex", GEMINI_MODEL, 15)]
