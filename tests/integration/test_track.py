"""``track`` and ``track_stream``: calls the app describes itself."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from flask_llm_cost import Event, LLMCost, StorageError, UnknownPricingError, call_recorded, recorder, storage_failed
from flask_llm_cost.capture.manual import StreamFinishedError
from flask_llm_cost.ledger.models import Call

ReadCalls = Callable[[], list[Call]]


def test_a_tracked_call_is_a_whole_event(llm_cost: LLMCost, calls: ReadCalls) -> None:
    """Covers P-TRK-01, P-TRK-06, P-TRK-08, P-TRK-11, P-TRK-13, P-TRK-16, P-TRK-17.

    Covers P-DB-01, P-DB-02, P-DB-03, P-TAG-15.
    """
    at = datetime(2026, 11, 20, 12, tzinfo=UTC)
    event = llm_cost.track(
        provider="openai",
        model=" gpt-4o ",
        input_tokens=900,
        output_tokens=500,
        cache_read_input_tokens=100,
        hidden_output_tokens=20,
        provider_response_id="resp_1",
        latency_ms=250.7,
        tags={"feature": "chat", "pricing_mode": "kept as a tag"},
        tracked_at=at,
    )
    assert isinstance(event, Event)
    assert event == Event(
        event_id=event.event_id,
        tracked_at=at,
        provider="openai",
        model="gpt-4o",
        request_model="gpt-4o",
        usage_source="manual",
        captured_by="manual",
        input_tokens=900,
        cache_read_input_tokens=100,
        output_tokens=500,
        hidden_output_tokens=20,
        total_tokens=1500,
        input_cost=Decimal("0.00225"),
        cache_read_cost=Decimal("0.000125"),
        cache_write_cost=Decimal(0),
        output_cost=Decimal("0.005"),
        other_cost=Decimal(0),
        total_cost=Decimal("0.007375"),
        cache_saved=Decimal("0.000125"),
        cost_status="complete",
        latency_ms=250,
        provider_response_id="resp_1",
        price_key=event.price_key,
        price_source=event.price_source,
        receipt=event.receipt,
        tags={"feature": "chat", "pricing_mode": "kept as a tag"},
    )
    assert event.event_id.version == 7
    (row,) = calls()
    assert (row.event_id, row.total_cost, row.tags) == (event.event_id, event.total_cost, event.tags)
    with pytest.raises(AttributeError):
        event.model = "other"  # type: ignore[misc]


@pytest.mark.parametrize("model", [None, "", "   "])
def test_a_missing_model_is_unknown_and_keeps_its_tokens(
    model: str | None, llm_cost: LLMCost, calls: ReadCalls
) -> None:
    """Covers P-TRK-02, P-TRK-03, P-TRK-15, P-PRC-02."""
    llm_cost.track(provider="openai", model=model, input_tokens=5, output_tokens=6)
    (row,) = calls()
    assert (row.model, row.total_tokens, row.total_cost, row.cost_status) == ("unknown", 11, None, "unknown")


@pytest.mark.parametrize(("mode", "kept"), [("batch", "batch"), (" batch ", "batch"), ("standard", None), ("", None)])
def test_the_mode_is_a_field_and_never_a_tag(mode: str, kept: str | None, llm_cost: LLMCost, calls: ReadCalls) -> None:
    """Covers P-TRK-14, P-TAG-17."""
    llm_cost.track(provider="openai", model="gpt-4o", input_tokens=1, output_tokens=1, pricing_mode=mode)
    (row,) = calls()
    assert (row.pricing_mode, row.tags) == (kept, {})


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"input_tokens": -5, "output_tokens": 3}, "input_tokens = -5"),
        ({"input_tokens": "many", "output_tokens": 3}, "input_tokens = 'many'"),
        ({"input_tokens": 1, "output_tokens": 3, "hidden_output_tokens": 4}, "hidden_output_tokens = 4 is more than"),
        ({"input_tokens": 1, "output_tokens": 3, "cache_write_1h_input_tokens": 4}, "cache_write_1h_input_tokens = 4"),
    ],
)
def test_impossible_counts_are_refused(
    counts: dict[str, Any], message: str, llm_cost: LLMCost, calls: ReadCalls
) -> None:
    """Covers P-TRK-10."""
    with pytest.raises(ValueError, match=message):
        llm_cost.track(provider="openai", model="gpt-4o", **counts)
    assert calls() == []


def test_numbers_as_text_are_numbers(llm_cost: LLMCost, calls: ReadCalls) -> None:
    """Covers P-TRK-09."""
    llm_cost.track(provider="openai", model="gpt-4o", input_tokens="10", output_tokens=0)  # type: ignore[arg-type]
    assert [row.input_tokens for row in calls()] == [10]


def test_a_stream_is_read_from_its_events(llm_cost: LLMCost, calls: ReadCalls) -> None:
    """Covers P-STR-01, P-STR-02, P-STR-04, P-STR-16, P-STR-17, P-STR-24."""
    with llm_cost.track_stream(provider="openai", model="told", tags={"a": 1}) as stream:
        stream.event(None)
        stream.response_id("mine").event({"id": "chatcmpl-1", "model": "gpt-4o", "choices": []})
        stream.chunk({"id": "chatcmpl-1", "choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": 3}})
    (row,) = calls()
    assert (row.stream, row.usage_source, row.model, row.provider_response_id) == (
        True,
        "stream_final",
        "gpt-4o",
        "chatcmpl-1",
    )
    assert (row.input_tokens, row.output_tokens, row.tags, row.request_model) == (12, 3, {"a": "1"}, "told")
    assert row.latency_ms is not None


@pytest.mark.parametrize(
    ("provider", "events", "counts"),
    [
        (
            "anthropic",
            [
                {
                    "type": "message_start",
                    "message": {"model": "m", "usage": {"input_tokens": 120, "output_tokens": 1}},
                },
                {"type": "message_delta", "usage": {"output_tokens": 64}},
                {"type": "message_stop"},
            ],
            (120, 64),
        ),
        ("gemini", [{"usageMetadata": {"promptTokenCount": 80, "candidatesTokenCount": 42}}], (80, 42)),
        ("OpenRouter", [{"choices": [], "usage": {"prompt_tokens": 25, "completion_tokens": 10}}], (25, 10)),
    ],
)
def test_each_provider_has_its_own_events(
    provider: str, events: list[dict[str, Any]], counts: tuple[int, int], llm_cost: LLMCost, calls: ReadCalls
) -> None:
    """Covers P-STR-05, P-STR-06, P-STR-26."""
    with llm_cost.track_stream(provider=provider, model="given") as stream:
        for event in events:
            stream.event(event)
    (row,) = calls()
    assert (row.provider, row.input_tokens, row.output_tokens) == (provider, *counts)


def test_totals_told_outright_win(llm_cost: LLMCost, calls: ReadCalls) -> None:
    """Covers P-STR-07, P-STR-08, P-STR-28."""
    with llm_cost.track_stream(provider="openai", model="gpt-4o", pricing_mode="batch") as stream:
        stream.event({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}})
        stream.usage(input_tokens=1, output_tokens=1)
        stream.usage(input_tokens=7, output_tokens=3, provider_response_id="told")
    (row,) = calls()
    assert (row.input_tokens, row.output_tokens, row.usage_source, row.provider_response_id) == (7, 3, "manual", "told")
    assert (row.pricing_mode, row.total_cost) == ("batch", (7 * Decimal("1.25") + 3 * Decimal(5)) / 1_000_000)


def test_a_stream_that_says_nothing_is_unknown(llm_cost: LLMCost, calls: ReadCalls) -> None:
    """Covers P-STR-03, P-STR-09, P-STR-10, P-STR-11."""
    with llm_cost.track_stream(provider="openai"):
        pass
    with llm_cost.track_stream(provider="openai") as stream:
        for _ in range(3):
            stream.event({"choices": [{"delta": {"content": "x" * 600_000}}]})
        stream.event({"usage": {"prompt_tokens": 1, "completion_tokens": 1}})
    assert [(row.model, row.total_tokens, row.usage_source, row.stream) for row in calls()] == [
        ("unknown", 0, "unknown", True)
    ] * 2


@pytest.mark.parametrize(("error", "status"), [(RuntimeError("x"), "error"), (KeyboardInterrupt(), "cancelled")])
def test_a_block_that_raises_is_recorded_and_raises_on(
    error: BaseException, status: str, llm_cost: LLMCost, calls: ReadCalls
) -> None:
    """Covers P-STR-14, P-STR-15, P-SDK-09."""
    with pytest.raises(type(error)), llm_cost.track_stream(provider="openai", model="gpt-4o") as stream:
        stream.event({"id": "seen", "choices": []})
        raise error
    (row,) = calls()
    assert (row.status, row.error_type, row.provider_response_id) == (status, type(error).__name__, "seen")


def test_writers_racing_with_the_end_succeed_or_are_told(llm_cost: LLMCost, calls: ReadCalls) -> None:
    """Covers P-STR-19, P-STR-20, P-STR-21, P-STR-23, P-CON-05."""
    refused: list[str] = []
    start = threading.Barrier(33)

    def feed(stream: Any) -> None:
        start.wait(timeout=10)
        try:
            stream.usage(input_tokens=7, output_tokens=3)
        except StreamFinishedError as error:
            refused.append(str(error))

    with llm_cost.track_stream(provider="openai", model="gpt-4o") as stream:
        stream.usage(input_tokens=7, output_tokens=3)
        threads = [threading.Thread(target=feed, args=(stream,)) for _ in range(32)]
        for thread in threads:
            thread.start()
        start.wait(timeout=10)
    for thread in threads:
        thread.join()
    assert [(row.input_tokens, row.output_tokens) for row in calls()] == [(7, 3)]
    for late in (lambda: stream.event({}), lambda: stream.model("x"), lambda: stream.response_id("y")):
        with pytest.raises(StreamFinishedError, match="is finished"):
            late()


def test_subscribers_hear_of_each_call_and_cannot_lose_it(
    app: Any, llm_cost: LLMCost, calls: ReadCalls, caplog: pytest.LogCaptureFixture
) -> None:
    """Covers P-TRK-04, P-TRK-05, P-TRK-25."""
    heard: list[UUID] = []

    def broken(_sender: object, event: Event) -> None:
        raise RuntimeError(event.model)

    def listening(_sender: object, event: Event) -> None:
        heard.append(event.event_id)

    with call_recorded.connected_to(broken, app), call_recorded.connected_to(listening, app):
        event = llm_cost.track(provider="openai", model="gpt-4o", input_tokens=1, output_tokens=1)
    assert event is not None
    assert heard == [event.event_id]
    assert "A subscriber of llm_cost.call_recorded failed" in caplog.text
    assert len(calls()) == 1


class BrokenStore:
    """A store that cannot store."""

    def record(self, event: Event) -> None:
        raise OSError("no space left")


@pytest.mark.parametrize(("policy", "warnings"), [("warn", 1), ("ignore", 0)])
def test_a_storage_failure_is_said_once_or_not_at_all(
    policy: str, warnings: int, make_app: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Covers P-STO-01, P-STO-02, P-TRK-23, P-DB-07."""
    app, llm_cost = make_app(LLM_COST_DURABILITY=BrokenStore(), LLM_COST_STORAGE_ERROR=policy)
    failed: list[str] = []
    with app.app_context(), storage_failed.connected_to(lambda _app, event, error: failed.append(str(error)), app):
        with caplog.at_level(logging.WARNING, "flask_llm_cost"):
            for _ in range(3):
                assert llm_cost.track(provider="openai", model="gpt-4o", input_tokens=1, output_tokens=1) is not None
    assert len(failed) == 3
    assert [record.levelname for record in caplog.records] == ["WARNING"] * warnings


def test_a_storage_failure_raises_where_that_was_asked_for(make_app: Any) -> None:
    """Covers P-STO-04, P-LOG-03."""
    app, llm_cost = make_app(LLM_COST_DURABILITY=BrokenStore(), LLM_COST_STORAGE_ERROR="raise")
    with app.app_context(), pytest.raises(StorageError, match="no space left"):
        llm_cost.track(provider="openai", model="gpt-4o", input_tokens=1, output_tokens=1)


def test_an_unknown_price_raises_after_the_record_where_that_was_asked_for(make_app: Any) -> None:
    """Covers P-UNK-04, P-TRK-24, P-CAP-11."""
    app, llm_cost = make_app(LLM_COST_UNKNOWN_PRICING="raise")
    with app.app_context():
        with pytest.raises(UnknownPricingError) as caught:
            llm_cost.track(provider="openai", model="made-up", input_tokens=1, output_tokens=1)
        with llm_cost.session() as session:
            assert session.query(Call.model, Call.total_cost).all() == [("made-up", None)]
    assert (caught.value.provider, caught.value.model) == ("openai", "made-up")


@pytest.mark.parametrize(("policy", "warnings"), [("warn", 1), ("ignore", 0)])
def test_an_unknown_price_is_warned_of_once_per_model(
    policy: str, warnings: int, make_app: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Covers P-UNK-01, P-UNK-02, P-UNK-03, P-LOG-04."""
    app, llm_cost = make_app(LLM_COST_UNKNOWN_PRICING=policy)
    with app.app_context(), caplog.at_level(logging.WARNING, "flask_llm_cost"):
        for _ in range(3):
            llm_cost.track(provider="openai", model="made-up", input_tokens=1, output_tokens=1)
    told = (
        "No price for openai/made-up: the call is recorded with an unknown cost. "
        "Add it to LLM_COST_PRICING_OVERRIDES or map it in LLM_COST_MODEL_ALIASES."
    )
    assert [record.getMessage() for record in caplog.records] == [told] * warnings


def test_names_from_outside_do_not_fill_memory_or_log(
    make_app: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So many different unknown models are warned of, and no more; each call is recorded all the same."""
    monkeypatch.setattr(recorder, "MOST_WARNINGS", 3)
    app, llm_cost = make_app(LLM_COST_UNKNOWN_PRICING="warn")
    with app.app_context(), caplog.at_level(logging.WARNING, "flask_llm_cost"):
        for number in range(5):
            llm_cost.track(provider="openai", model=f"made-up-{number}", input_tokens=1, output_tokens=1)
        with llm_cost.session() as session:
            assert session.query(Call).count() == 5
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        f"No price for openai/made-up-{number}" for number in range(3)
    ]
