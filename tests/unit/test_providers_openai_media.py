"""OpenAI: audio, images and moderations."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_llm_cost.providers import read_exchange
from flask_llm_cost.providers.multipart import form_fields
from flask_llm_cost.usage import Quantity, Reading

TOKENS = {
    "type": "tokens",
    "input_tokens": 14,
    "input_token_details": {"text_tokens": 4, "audio_tokens": 10},
    "output_tokens": 45,
    "total_tokens": 59,
}


def form(*fields: tuple[str, str], file: bytes = b"RIFF\r\n--no\r\n\r\n") -> bytes:
    head = b'--b0und\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + file + b"\r\n"
    parts = [f'--b0und\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields]
    return head + "".join(parts).encode() + b"--b0und--\r\n"


def ask(
    body: object, path: str, *, request: object = None, host: str = "api.openai.com/v1", status: int = 200
) -> Reading:
    reading = read_exchange(
        url=f"https://{host}/{path}",
        request_body=request if isinstance(request, bytes) else json.dumps(request or {}).encode(),
        status=status,
        headers={},
        body=body if isinstance(body, bytes) else json.dumps(body).encode(),
    )
    assert reading is not None
    return reading


def sse(*events: object) -> bytes:
    return b"".join(b"data: %s\n\n" % json.dumps(event).encode() for event in events)


def test_a_transcription_billed_by_tokens() -> None:
    """Design 02, wire formats: transcription. The model is a field of a form."""
    reading = ask({"text": "hi", "usage": TOKENS}, "audio/transcriptions", request=form(("model", "gpt-4o-transcribe")))
    assert reading == Reading(
        provider="openai",
        model="gpt-4o-transcribe",
        usage={"input": 4, "input.audio": 10, "output": 45},
        request_model="gpt-4o-transcribe",
        operation="transcription",
        usage_source="response",
        raw_usage={name: value for name, value in TOKENS.items() if name != "type"},
    )


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        ({"usage": {"type": "duration", "seconds": 9}}, 9),
        ({"usage": {"type": "duration", "seconds": 0}}, 0),
        ({"duration": 8.47, "segments": []}, Decimal("8.47")),
        ({"usage": {"prompt_audio_seconds": 203, "prompt_tokens": 4, "completion_tokens": 6}}, 203),
    ],
)
def test_a_transcription_billed_by_duration(body: dict[str, object], seconds: Quantity) -> None:
    reading = ask(body, "audio/translations", request=form(("model", "whisper-1")))
    assert (reading.usage, reading.operation) == ({"audio.second": seconds}, "translation")


@pytest.mark.parametrize("duration", [-1, True, "9", 1e300, None])
def test_a_duration_that_is_none_is_not_billed(duration: object) -> None:
    reading = ask({"duration": duration}, "audio/transcriptions")
    assert (reading.usage, reading.usage_source, reading.notes) == ({}, "unknown", ("no_usage",))


def test_subtitles_say_nothing_about_their_cost() -> None:
    body = b"1\n00:00:00,000 --> 00:00:02,000\nHello\n"
    reading = ask(body, "audio/transcriptions", request=form(("model", "whisper-1"), ("response_format", "srt")))
    assert (reading.model, reading.usage, reading.notes) == ("whisper-1", {}, ("no_usage",))


def test_a_streamed_transcription() -> None:
    body = sse({"type": "transcript.text.delta", "delta": "hi"}, {"type": "transcript.text.done", "usage": TOKENS})
    reading = ask(body, "audio/transcriptions", request=form(("model", "gpt-4o-transcribe"), ("stream", "true")))
    assert (reading.usage, reading.stream) == ({"input": 4, "input.audio": 10, "output": 45}, True)
    assert reading.usage_source == "stream_final"


@pytest.mark.parametrize(
    ("host", "provider"),
    [
        ("api.groq.com/openai/v1", "groq"),
        ("x.openai.azure.com/openai/deployments/mine", "azure"),
        ("api.mistral.ai/v1", "mistral"),
    ],
)
def test_other_hosts_transcribe_too(host: str, provider: str) -> None:
    reading = ask({"usage": {"type": "duration", "seconds": 9}}, "audio/transcriptions", host=host)
    assert (reading.provider, reading.usage) == (provider, {"audio.second": 9})


@pytest.mark.parametrize("sound", [b"\xff\xfb\x90\x44" * 50, b"\x00\x00\x01\x00" * 50, b"RIFF\x24\n\ndata: x\n\n"])
def test_speech_is_billed_by_the_characters_of_the_request(sound: bytes) -> None:
    """Design 02, wire formats: speech."""
    reading = ask(sound, "audio/speech", request={"model": "tts-1", "input": "Grüße", "voice": "alloy"})
    assert reading == Reading(
        provider="openai",
        model="tts-1",
        usage={"character": 5},
        request_model="tts-1",
        operation="speech",
        usage_source="response",
    )


def test_speech_as_events_reports_tokens() -> None:
    body = sse(
        {"type": "speech.audio.delta", "audio": "AAAA"},
        {"type": "speech.audio.done", "usage": {"input_tokens": 4, "output_tokens": 90, "total_tokens": 94}},
    )
    request = {"model": "gpt-4o-mini-tts", "input": "Hello", "stream_format": "sse"}
    reading = ask(body, "audio/speech", request=request)
    assert (reading.usage, reading.stream) == ({"input": 4, "output": 90}, True)


@pytest.mark.parametrize("request_fields", [{"model": "tts-1"}, {"model": "tts-1", "input": 7}])
def test_speech_of_nobody_knows_what(request_fields: dict[str, object]) -> None:
    reading = ask(b"\xff\xfb", "audio/speech", request=request_fields)
    assert (reading.usage, reading.usage_source) == ({}, "unknown")


def test_refused_speech_is_not_billed() -> None:
    reading = ask({"error": {"code": "bad_voice"}}, "audio/speech", request={"input": "Hello"}, status=400)
    assert (reading.status, reading.error_type, reading.usage) == ("error", "bad_voice", {})


def test_images_with_tokens() -> None:
    """Design 02, wire formats: images."""
    usage = {
        "input_tokens": 50,
        "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
        "output_tokens": 60,
        "output_tokens_details": {"text_tokens": 5, "image_tokens": 55},
        "total_tokens": 110,
    }
    reading = ask({"data": [{}], "usage": usage}, "images/edits", request=form(("model", "gpt-image-1.5")))
    assert reading.usage == {"input": 10, "input.image": 40, "output": 5, "output.image": 55}
    assert (reading.model, reading.operation) == ("gpt-image-1.5", "image_generation")


def test_images_whose_output_has_no_details() -> None:
    usage = {"input_tokens": 50, "input_tokens_details": {"image_tokens": 40}, "output_tokens": 60}
    reading = ask({"data": [{}], "usage": usage}, "images/generations", request={"model": "gpt-image-1"})
    assert reading.usage == {"input": 10, "input.image": 40, "output": 60}


@pytest.mark.parametrize(
    ("request_fields", "meter"),
    [
        ({"size": "1024x1792", "quality": "hd"}, "image.1024x1792.hd"),
        ({"size": "256x256"}, "image.256x256.standard"),
        ({"quality": "auto", "size": "auto"}, "image.1024x1024.standard"),
        ({"size": "a sentence; of somebody's"}, "image.1024x1024.standard"),
    ],
)
def test_images_without_tokens_are_counted(request_fields: dict[str, object], meter: str) -> None:
    reading = ask({"data": [{"url": "a"}, {"url": "b"}]}, "images/generations", request=request_fields)
    assert reading.usage == {meter: 2}


def test_no_image_no_usage() -> None:
    reading = ask({"data": []}, "images/variations", request=form(("model", "dall-e-2")))
    assert (reading.model, reading.usage, reading.notes) == ("dall-e-2", {}, ("no_usage",))


def test_a_stream_of_images() -> None:
    usage = {"input_tokens": 9, "output_tokens": 60, "input_tokens_details": {"text_tokens": 9}}
    body = sse(
        {"type": "image_generation.partial_image", "b64_json": "AAAA"},
        {"type": "image_generation.completed", "b64_json": "AAAA", "usage": usage},
    )
    reading = ask(body, "images/generations", request={"model": "gpt-image-1", "stream": True})
    assert (reading.usage, reading.stream, reading.usage_source) == ({"input": 9, "output": 60}, True, "stream_final")


def test_a_moderation_is_known_to_use_nothing() -> None:
    """The catalogue prices its input at 0: a reading without usage would be money nobody knows of."""
    body = {"id": "modr-1", "model": "omni-moderation-latest", "results": [{"flagged": False}]}
    reading = ask(body, "moderations", request={"model": "omni-moderation-latest", "input": "x"})
    assert (reading.usage, reading.usage_source, reading.operation) == ({"input": 0}, "response", "moderation")
    assert ask({"id": "modr-2"}, "moderations").usage == {}


def test_a_moderation_that_reports_tokens_is_billed_for_them() -> None:
    body = {"results": [], "usage": {"prompt_tokens": 9, "completion_tokens": 0, "total_tokens": 9}}
    assert ask(body, "moderations", host="api.mistral.ai/v1").usage == {"input": 9, "output": 0}


def test_the_fields_of_a_form_beside_its_file() -> None:
    assert form_fields(form(("model", "whisper-1"), ("prompt", "x" * 300), ("language", "en"))) == {
        "model": "whisper-1",
        "language": "en",
    }


def test_the_first_of_two_fields_of_a_name_counts() -> None:
    assert form_fields(form(("model", "a"), ("model", "b"))) == {"model": "a"}


@pytest.mark.parametrize("body", [b"", b"--", b"--\r\n", b"--b\r\n", b"x\r\n\r\ny", b"--b\r\n\r\nv\r\n--b--"])
def test_what_is_no_form_has_no_fields(body: bytes) -> None:
    assert form_fields(body) == {}


@given(st.binary(max_size=200).filter(lambda file: b"b0und" not in file), st.text("abcdefgh-0123456789.", max_size=60))
def test_the_file_is_never_in_the_way(file: bytes, model: str) -> None:
    assert form_fields(form(("model", model), file=file)) == {"model": model}


@given(st.binary(max_size=200))
def test_any_bytes_are_a_form_or_none(body: bytes) -> None:
    assert all(isinstance(value, str) for value in form_fields(b"--b\r\n" + body).values())
