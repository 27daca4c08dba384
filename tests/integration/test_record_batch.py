"""``record_batch``: result files of batches, each line once, at batch prices."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import anthropic.types.messages
import httpx2
import openai
import pytest
from flask import current_app
from google.genai import types as genai_types
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_httpserver import HTTPServer
from sqlalchemy import URL, delete, func, select

from flask_llm_cost import BatchResult, Event, LineProblem, LLMCost, UnknownPricingError, call_recorded
from flask_llm_cost.ledger.models import Base, Call, Daily
from flask_llm_cost.state import State, state_of

ReadCalls = Callable[[], list[Call]]
CREATED = 1_790_000_000
AT = datetime.fromtimestamp(CREATED, UTC)
USAGE = {"prompt_tokens": 1000, "completion_tokens": 50, "total_tokens": 1050}
TELL = datetime(2026, 11, 1, tzinfo=UTC)


def openai_line(number: int, body: dict[str, Any] | None = None, status: int = 200) -> dict[str, Any]:
    body = body or {
        "id": f"chatcmpl-{number:029d}",
        "object": "chat.completion",
        "created": CREATED + number,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Paris\u2028"}, "finish_reason": "stop"}],
        "usage": USAGE,
    }
    response = {"status_code": status, "request_id": f"req_{number}", "body": body}
    return {"id": f"batch_req_{number:024d}", "custom_id": f"user-{number}", "response": response, "error": None}


def openai_unanswered(number: int, code: str) -> dict[str, Any]:
    error = {"code": code, "message": "This request could not be executed."}
    return {**openai_line(number), "response": None, "error": error}


def anthropic_line(number: int) -> dict[str, Any]:
    message = {
        "id": f"msg_{number:024d}",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-4-5-20251001",
        "content": [{"type": "text", "text": "Paris"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 1000, "output_tokens": 50, "service_tier": "batch"},
    }
    return {"custom_id": f"user-{number}", "result": {"type": "succeeded", "message": message}}


def gemini_line(number: int) -> dict[str, Any]:
    usage = {"promptTokenCount": 1000, "candidatesTokenCount": 50, "totalTokenCount": 1050}
    answer = {
        "responseId": f"{number:022d}",
        "modelVersion": "gemini-2.5-flash",
        "candidates": [{"content": {"parts": [{"text": "Paris"}]}, "finishReason": "STOP"}],
        "usageMetadata": usage,
    }
    return {"key": f"user-{number}", "response": answer}


def vertex_line(number: int) -> dict[str, Any]:
    line = {**gemini_line(number), "request": {"contents": []}, "status": ""}
    return {**line, "processed_time": "2026-09-21T13:33:20.826+00:00"}


def jsonl(*lines: dict[str, Any]) -> bytes:
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()


EMBEDDINGS = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.1]}],
    "model": "text-embedding-3-small",
    "usage": {"prompt_tokens": 1_000_000, "total_tokens": 1_000_000},
}
RESPONSE = {
    "id": f"resp_{7:050d}",
    "object": "response",
    "created_at": CREATED,
    "status": "completed",
    "model": "gpt-4o-mini-2024-07-18",
    "output": [],
    "usage": {"input_tokens": 1000, "output_tokens": 50, "total_tokens": 1050},
}


@pytest.mark.parametrize(
    ("provider", "line", "model", "cost", "at"),
    [
        ("openai", openai_line(0), "gpt-4o-mini-2024-07-18", "0.00009", AT),
        ("openai", openai_line(1, RESPONSE), "gpt-4o-mini-2024-07-18", "0.00009", AT),
        ("openai", openai_line(2, EMBEDDINGS), "text-embedding-3-small", "0.01", TELL),
        ("anthropic", anthropic_line(0), "claude-haiku-4-5-20251001", "0.000625", TELL),
        ("gemini", gemini_line(0), "gemini-2.5-flash", "0.0002125", TELL),
        ("vertex", vertex_line(0), "gemini-2.5-flash", "0.0002125", datetime(2026, 9, 21, 13, 33, 20, tzinfo=UTC)),
    ],
)
def test_a_line_is_a_call_at_half_the_price(
    llm_cost: LLMCost, calls: ReadCalls, provider: str, line: dict[str, Any], model: str, cost: str, at: datetime
) -> None:
    """Every provider's own line, at its batch rate. Covers P-PRC-17, P-PRC-43."""
    result = llm_cost.record_batch(provider, [line], tracked_at=TELL, tags={"job": "nightly"})
    assert result == BatchResult(recorded=1)
    (row,) = calls()
    assert (row.provider, row.model, row.pricing_mode, row.usage_source) == (provider, model, "batch", "response")
    assert (row.total_cost, row.tracked_at, row.captured_by) == (Decimal(cost), at, "record_batch")
    assert (row.status, row.cost_status, row.tags, row.latency_ms) == ("ok", "complete", {"job": "nightly"}, None)
    assert llm_cost.record_batch(provider, [line]) == BatchResult(duplicates=1)
    assert len(calls()) == 1


def sources(path: Path, content: bytes) -> list[Any]:
    path.write_bytes(content)
    return [
        str(path),
        path,
        content,
        io.BytesIO(content),
        io.StringIO(content.decode(), newline="\n"),
        content.split(b"\n"),
        (json.loads(line) for line in content.splitlines()),
        httpx2.Response(200, content=content),
        openai.HttpxBinaryResponseContent(
            httpx2.Response(200, content=iter([content[:7], content[7:500], content[500:]]))
        ),
    ]


@pytest.mark.parametrize("way", range(9))
def test_lines_come_from_whatever_the_app_has(llm_cost: LLMCost, tmp_path: Path, way: int) -> None:
    """A line separator of Unicode within a text ends no line."""
    source = sources(tmp_path / "results.jsonl", jsonl(openai_line(1), openai_line(2)))[way]
    assert llm_cost.record_batch("openai", source) == BatchResult(recorded=2)


def test_the_sdks_own_objects_are_lines_too(llm_cost: LLMCost) -> None:
    """What ``client.messages.batches.results(…)`` yields, and Gemini's inlined responses."""
    kind = anthropic.types.messages.MessageBatchIndividualResponse
    assert llm_cost.record_batch("anthropic", [kind.model_validate(anthropic_line(1))]) == BatchResult(recorded=1)
    assert llm_cost.record_batch("anthropic", jsonl(anthropic_line(1))) == BatchResult(duplicates=1)
    inlined = genai_types.InlinedResponse.model_validate({"response": gemini_line(1)["response"]})
    assert llm_cost.record_batch("gemini", [inlined]) == BatchResult(recorded=1)
    assert llm_cost.record_batch("gemini", [gemini_line(1)]) == BatchResult(duplicates=1)


def test_what_failed_is_an_error_and_what_never_ran_is_skipped(llm_cost: LLMCost, calls: ReadCalls) -> None:
    api_error = {"type": "error", "error": {"type": "invalid_request_error", "message": "secret"}}
    lines = [
        openai_line(1, {"error": {"message": "secret", "code": "context_length_exceeded"}}, 400),
        openai_unanswered(2, "batch_expired"),
        openai_unanswered(3, "batch_cancelled"),
        {"custom_id": "a", "result": {"type": "errored", "error": api_error}},
        {"custom_id": "b", "result": {"type": "canceled"}},
        {"custom_id": "c", "result": {"type": "expired"}},
        {"key": "d", "error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "secret"}},
        {"request": {}, "response": {}, "status": "Bad Request: secret"},
    ]
    assert llm_cost.record_batch("openai", lines) == BatchResult(recorded=4, errors=4, skipped=4)
    rows = calls()
    assert sorted(str(row.error_type) for row in rows) == [
        "INVALID_ARGUMENT",
        "context_length_exceeded",
        "failed",
        "invalid_request_error",
    ]
    assert {(row.status, row.total_cost, row.cost_status) for row in rows} == {("error", None, None)}
    assert "secret" not in str([vars(row) for row in rows])


def test_failed_lines_are_left_out_where_errors_are(make_app: Any) -> None:
    app, llm_cost = make_app(LLM_COST_RECORD_ERRORS=False)
    with app.app_context():
        failed = openai_line(1, {"error": {"code": "server_error"}}, 500)
        assert llm_cost.record_batch("openai", [failed, openai_line(2)]) == BatchResult(recorded=1, errors=1)


def test_a_broken_line_is_told_by_its_number_and_costs_no_other(llm_cost: LLMCost) -> None:
    content = jsonl(openai_line(1)) + b'\n{"broken": \n[1]\n{"other": 1}\n\xff\n' + jsonl(openai_line(2))[:-1]
    result = llm_cost.record_batch("openai", content)
    assert (result.recorded, result.unreadable) == (2, 4)
    assert [problem.line for problem in result.problems] == [3, 4, 5, 6]
    assert result.problems[1:3] == (
        LineProblem(4, "line 4: a JSON object was expected, not list"),
        LineProblem(5, "line 5: This is no line of a batch's results: it has other."),
    )


def test_a_custom_id_can_become_a_tag(llm_cost: LLMCost, calls: ReadCalls) -> None:
    """A callable gets the custom id and the line; scopes and a callable that fails leave the rest."""

    def tags(custom_id: str | None, line: Any) -> dict[str, object]:
        return {"user": str(custom_id).removeprefix("user-"), "request": line["response"]["request_id"]}

    with llm_cost.tags(job="nightly"):
        llm_cost.record_batch("openai", [openai_line(5)], tags=tags)
        llm_cost.record_batch("openai", [openai_line(6)], tags=lambda custom_id, line: line["nowhere"])
    assert [row.tags for row in calls()] == [
        {"job": "nightly", "user": "5", "request": "req_5"},
        {"job": "nightly"},
    ]


def test_subscribers_hear_of_new_calls_only(llm_cost: LLMCost) -> None:
    heard: list[Event] = []

    def listen(_app: object, event: Event) -> None:
        heard.append(event)

    with call_recorded.connected_to(listen):
        for _ in range(2):
            llm_cost.record_batch("anthropic", [anthropic_line(1), anthropic_line(2), anthropic_line(1)])
    assert [event.provider_response_id for event in heard] == [f"msg_{n:024d}" for n in (1, 2)]


def test_a_missing_price_is_raised_after_the_last_line(make_app: Any) -> None:
    app, llm_cost = make_app(LLM_COST_UNKNOWN_PRICING="raise")
    unknown = openai_line(1)
    unknown["response"]["body"]["model"] = "nobody-knows"
    with app.app_context():
        with pytest.raises(UnknownPricingError, match="nobody-knows"):
            llm_cost.record_batch("openai", [unknown, openai_line(2)])
        with llm_cost.session() as session:
            assert session.scalar(select(func.count(Call.id))) == 2


@pytest.mark.parametrize("wrong", [{"a": 1}, 7, None])
def test_what_has_no_lines_is_refused(llm_cost: LLMCost, wrong: Any) -> None:
    with pytest.raises(TypeError, match="a path, bytes"):
        llm_cost.record_batch("openai", wrong)


def test_nothing_is_recorded_while_switched_off(make_app: Any) -> None:
    app, llm_cost = make_app(LLM_COST_ENABLED=False)
    with app.app_context():
        assert llm_cost.record_batch("openai", [openai_line(1)]) == BatchResult()
        assert llm_cost.record_response("openai", RESPONSE) is None


LINES = [*(openai_line(n) for n in range(4)), *(openai_line(n, EMBEDDINGS) for n in range(4, 8))]
LINES += [*(anthropic_line(n) for n in range(4)), openai_line(9, {"error": {"code": "server_error"}}, 500)]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(st.lists(st.sampled_from(range(len(LINES))), max_size=20), min_size=1, max_size=4))
def test_any_parts_in_any_order_give_each_line_once(llm_cost: LLMCost, parts: list[list[int]]) -> None:
    with state_now(llm_cost).ledger.engine.begin() as connection:
        for table in Base.metadata.sorted_tables:
            connection.execute(delete(table))
    results = [llm_cost.record_batch("openai", [LINES[n] for n in part]) for part in parts]
    different = {n for part in parts for n in part}
    assert sum(result.recorded for result in results) == len(different)
    assert sum(result.duplicates for result in results) == sum(map(len, parts)) - len(different)
    with llm_cost.session() as session:
        assert session.scalar(select(func.count(Call.id))) == len(different)
        assert (session.scalar(select(func.sum(Daily.calls))) or 0) == len(different)


def state_now(llm_cost: LLMCost) -> State:
    state = state_of(current_app._get_current_object())
    assert state is not None
    return state


def test_two_processes_with_the_same_file_record_each_line_once(make_app: Any, database_url: URL) -> None:
    """Two apps on one ledger at once, lines with and without a time of their own, on every database."""
    uri = database_url.render_as_string(hide_password=False)
    apps = [make_app(LLM_COST_DATABASE_URI=uri) for _ in range(2)]
    lines = [line(number) for number in range(260) for line in (openai_line, anthropic_line)]
    results: list[BatchResult] = []

    def record(app: Any, llm_cost: LLMCost) -> None:
        with app.app_context():
            results.append(llm_cost.record_batch("openai", lines))

    threads = [threading.Thread(target=record, args=each) for each in apps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    app, llm_cost = apps[0]
    with app.app_context(), llm_cost.session() as session:
        assert sum(result.recorded for result in results) == 520
        assert sum(result.duplicates for result in results) == 520
        assert session.scalar(select(func.count(Call.id))) == 520
        assert session.scalar(select(func.sum(Daily.calls))) == 520


README = Path(__file__).parents[2] / "README.md"


def test_the_readmes_example_works(llm_cost: LLMCost, calls: ReadCalls, httpserver: HTTPServer) -> None:
    """With the real SDK over a real socket; downloading alone records nothing."""
    batch = {"id": "batch_1", "object": "batch", "status": "completed", "output_file_id": "file-1"}
    httpserver.expect_request("/v1/batches/batch_1").respond_with_json(batch)
    httpserver.expect_request("/v1/files/file-1/content").respond_with_data(jsonl(openai_line(1), openai_line(2)))
    example = README.read_text(encoding="utf-8").partition("<!-- batch-example -->\n```python\n")[2].partition("```")[0]
    with llm_cost.wrap(openai.OpenAI(base_url=httpserver.url_for("/v1"), api_key="test")) as client:
        client.files.content("file-1").read()
        assert calls() == []
        known: dict[str, Any] = {"client": client, "llm_cost": llm_cost, "batch_id": "batch_1"}
        exec(example, known)
    assert known["summary"] == BatchResult(recorded=2)
    assert [row.tags for row in calls()] == [{"feature": "nightly", "user": f"user-{n}"} for n in (1, 2)]
