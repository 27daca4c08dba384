"""What ``track`` and its neighbours make of odd arguments, and what never gets stored."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from flask_llm_cost import LLMCost
from flask_llm_cost.ledger.models import Call
from flask_llm_cost.testing import Answer, ProviderServer

ReadCalls = Callable[[], list[Call]]
COUNTS = {"input_tokens": 1, "output_tokens": 1}


def test_odd_flags_and_ids_become_plain_ones(llm_cost: LLMCost, calls: ReadCalls) -> None:
    """Covers P-TRK-12."""
    llm_cost.track(provider="openai", model="gpt-4o", **COUNTS, stream="yes", provider_response_id="")  # type: ignore[arg-type]
    llm_cost.track(provider="openai", model="gpt-4o", **COUNTS, stream=None)  # type: ignore[arg-type]
    assert [(row.stream, row.provider_response_id) for row in calls()] == [(True, None), (False, None)]


def test_fields_of_a_call_are_no_tags_and_their_names_are_free(llm_cost: LLMCost, calls: ReadCalls) -> None:
    """What is told as a field is one; a tag of the same name, from a scope, is a tag. Covers P-TAG-16, P-TAG-18."""
    with llm_cost.tags(latency_ms="slow", pricing_mode="cheap"):
        llm_cost.track(provider="openai", model="gpt-4o", **COUNTS, latency_ms=7, provider_response_id="r1")
    (row,) = calls()
    assert (row.latency_ms, row.provider_response_id, row.pricing_mode) == (7, "r1", None)
    assert row.tags == {"latency_ms": "slow", "pricing_mode": "cheap"}


def test_a_streams_collector_chains_and_passes_over_nothing(llm_cost: LLMCost, calls: ReadCalls) -> None:
    """Covers P-STR-22."""
    with llm_cost.track_stream(provider="openai", model="gpt-4o") as stream:
        assert stream.event(None) is stream
        assert (
            stream.chunk(None).chunk({"choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": 2}}) is stream
        )
    (row,) = calls()
    assert (row.input_tokens, row.output_tokens, row.usage_source) == (4, 2, "stream_final")


def test_events_whose_keys_are_no_text_say_nothing(llm_cost: LLMCost, calls: ReadCalls) -> None:
    """Covers P-STR-25."""
    with llm_cost.track_stream(provider="openai", model="gpt-4o") as stream:
        stream.event({1: {"prompt_tokens": 4}, b"usage": {"prompt_tokens": 4, "completion_tokens": 2}})
    (row,) = calls()
    assert (row.total_tokens, row.usage_source) == (0, "unknown")


def test_an_event_that_cannot_be_copied_is_passed_over(
    llm_cost: LLMCost, calls: ReadCalls, caplog: pytest.LogCaptureFixture
) -> None:
    """One that holds a lock, one that contains itself, one whose own ``model_dump`` raises: said once, none raised."""

    class Broken:
        def model_dump(self, mode: str) -> object:
            raise RuntimeError("PROMPT")

    circle: dict[str, object] = {}
    circle["choices"] = [circle]
    with llm_cost.track_stream(provider="openai", model="gpt-4o") as stream:
        for event in ({"choices": threading.Lock()}, circle, Broken()):
            stream.event(event)
        stream.event({"choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": 2}})
    (row,) = calls()
    assert (row.input_tokens, row.output_tokens) == (4, 2)
    (told,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert told.startswith("An event of a stream of openai cannot be read and is passed over. [TypeError at ")


def test_without_a_spool_flush_has_nothing_to_wait_for(make_app: Any) -> None:
    """And nobody ships. Covers P-TRK-27, P-ING-03."""
    app, llm_cost = make_app(LLM_COST_DURABILITY="sync")
    with app.app_context():
        llm_cost.track(provider="openai", model="gpt-4o", **COUNTS)
        assert llm_cost.flush() is True
        assert llm_cost.flush(timeout=0) is True
    assert [thread for thread in threading.enumerate() if thread.name == "llm-cost-shipper"] == []


def test_threads_meeting_one_unknown_model_warn_once(make_app: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Covers P-CON-06."""
    app, llm_cost = make_app()
    start = threading.Barrier(16)

    def track() -> None:
        with app.app_context():
            start.wait(timeout=10)
            llm_cost.track(provider="openai", model="made-up", **COUNTS)

    threads = [threading.Thread(target=track) for _ in range(16)]
    with caplog.at_level(logging.WARNING, "flask_llm_cost"):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len([record for record in caplog.records if "No price for openai/made-up" in record.getMessage()]) == 1
    with llm_cost.session() as session:
        assert session.query(Call).count() == 16


def test_nothing_that_was_said_or_sent_is_on_disk(make_app: Any, provider: ProviderServer, tmp_path: Path) -> None:
    """Neither prompt, answer, header, key nor query string, in the ledger or a spool; the call is. Covers P-PRV-01."""
    app, llm_cost = make_app(LLM_COST_DURABILITY="spool", LLM_COST_OPENAI_COMPATIBLE_HOSTS={"127.0.0.1": "openai"})
    provider.next(Answer(text="ANSWER-OF-THE-MODEL"))
    asked = {"model": "gpt-4o", "messages": [{"role": "user", "content": "PROMPT-OF-THE-USER"}], "user": "END-USER"}
    with app.app_context():
        headers = {"authorization": "Bearer KEY-OF-THE-APP", "x-trace": "HEADER-OF-THE-APP"}
        with llm_cost.wrap(httpx.Client(headers=headers)) as client:
            answer = client.post(f"{provider.url}/v1/chat/completions?q=QUERY-STRING", json=asked)
        assert "ANSWER-OF-THE-MODEL" in answer.text
        spooled = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        assert llm_cost.flush()
    stored = spooled + b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"gpt-4o" in stored
    for text in ("ANSWER-OF", "PROMPT-OF", "END-USER", "KEY-OF", "HEADER-OF", "QUERY-STRING"):
        assert text.encode() not in stored
