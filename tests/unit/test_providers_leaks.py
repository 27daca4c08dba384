"""Which unmatched POSTs are suspected of costing money."""

from __future__ import annotations

import pytest

from flask_llm_cost.providers.leaks import Suspicion, shows_usage, suspicion


@pytest.mark.parametrize(
    ("host", "path", "expected"),
    [
        ("api.openai.com", "/v1/realtime/calls", Suspicion.UNCOVERED),
        ("API.OPENAI.COM", "/v1/some-new-endpoint", Suspicion.UNCOVERED),
        ("api.openai.com", "/v1/realtime/client_secrets", Suspicion.UNCOVERED),
        ("api.openai.com", "/v1/models", None),
        ("api.openai.com", "/v1/files", None),
        ("api.openai.com", "/v1/uploads/upload_1/parts", None),
        ("api.openai.com", "/v1/batches", None),
        ("api.openai.com", "/v1/responses/input_tokens", None),
        ("api.openai.com", "/v1/responses/resp_1/cancel", None),
        ("api.anthropic.com", "/v1/messages/count_tokens", None),
        ("api.anthropic.com", "/v1/messages/batches", None),
        ("api.anthropic.com", "/v1/complete", Suspicion.UNCOVERED),
        ("generativelanguage.googleapis.com", "/v1beta/models/gemini-2.5-pro:countTokens", None),
        ("generativelanguage.googleapis.com", "/v1beta/models/veo-3:predictLongRunning", Suspicion.UNCOVERED),
        ("us-central1-aiplatform.googleapis.com", "/v1/projects/p/locations/l/endpoints/1:predict", None),
        (
            "us-central1-aiplatform.googleapis.com",
            "/v1/projects/p/locations/l/publishers/google/models/imagen-4:predict",
            Suspicion.UNCOVERED,
        ),
        ("mine.cognitiveservices.azure.com", "/vision/v3.2/analyze", None),
        ("mine.openai.azure.com", "/openai/deployments/d/audio/new", Suspicion.UNCOVERED),
        ("s3.eu-west-1.amazonaws.com", "/bucket/v1/messages-of-mine", None),
        ("bedrock-runtime.eu-west-1.amazonaws.com", "/model/m/count-tokens", None),
        ("llm.internal", "/v1/chat/completions", Suspicion.CERTAIN),
        ("llm.internal", "/v1beta/models/gemini-2.5-pro:generateContent", Suspicion.CERTAIN),
        ("api.nexmo.com", "/v1/messages", Suspicion.LIKELY),
        ("example.com", "/v1/responses", Suspicion.LIKELY),
        ("example.com", "/v1/things", None),
        ("", "", None),
    ],
)
def test_host_and_path_raise_the_suspicion(host: str, path: str, expected: Suspicion | None) -> None:
    """Covers P-PARSE-CMP-03."""
    assert suspicion(host, path) is expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"usage": {"prompt_tokens": 3, "completion_tokens": 0}}', True),
        (b'{"usage":{"input_tokens":0}}', True),
        (b'{"prompt_eval_count": 12}', True),
        (b'{"text": "say \\"input_tokens\\": 3"}', False),
        (b'{"input_tokens": null}', False),
        (b'{"message_uuid": "1"}', False),
        (b"", False),
    ],
)
def test_an_answer_that_reports_tokens_confirms_it(content: bytes, expected: bool) -> None:
    assert shows_usage(content) is expected
