"""Responses that are answered later, or fetched again: one call each, with its usage, however often polled."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import openai
import pytest
from sqlalchemy import URL, func, select

from flask_llm_cost import Event, LLMCost, call_recorded
from flask_llm_cost.ledger.models import Call, Daily, Hourly, LatencyDaily, TagDaily
from flask_llm_cost.testing import Answer, ProviderServer

ReadCalls = Callable[[], list[Call]]
MODEL = "gpt-4o-mini"
MADE = Answer(input_tokens=1000, output_tokens=50, created_at=1_790_000_000, polls=2)
COST = Decimal("0.00018")  # 1,000 at 0.15 and 50 at 0.60 USD per million
CREATED = datetime.fromtimestamp(1_790_000_000, UTC)


def client_of(llm_cost: LLMCost, provider: ProviderServer) -> openai.OpenAI:
    return llm_cost.wrap(openai.OpenAI(base_url=f"{provider.url}/v1", api_key="test", max_retries=0))


def in_background(llm_cost: LLMCost, client: openai.OpenAI) -> str:
    with llm_cost.tags(feature="research"):
        return client.responses.create(model=MODEL, input="hi", background=True).id


def summary(row: Call) -> tuple[Any, ...]:
    return row.status, row.usage_source, row.total_tokens, row.total_cost, row.tags, row.latency_ms, row.tracked_at


DONE = ("ok", "response", 1050, COST, {"feature": "research"}, 7000, CREATED)


def test_a_background_response_polled_five_times_is_one_row_with_its_usage(
    llm_cost: LLMCost, provider: ProviderServer, calls: ReadCalls
) -> None:
    """The queued answer is a call of unknown cost; the first finished poll tells. Subscribers hear of it twice."""
    heard: list[Event] = []

    def listen(_app: object, event: Event) -> None:
        heard.append(event)

    provider.next(MADE)
    with call_recorded.connected_to(listen), client_of(llm_cost, provider) as client:
        response_id = in_background(llm_cost, client)
        (queued,) = calls()
        assert summary(queued) == ("ok", "unknown", 0, None, {"feature": "research"}, None, CREATED)
        assert (queued.cost_status, queued.receipt["notes"]) == ("estimated", ["pending"])

        states = [client.responses.retrieve(response_id).status for _ in range(5)]

    assert states == ["in_progress", "in_progress", "completed", "completed", "completed"]
    (row,) = calls()
    assert (row.id, row.provider_response_id, summary(row)) == (queued.id, response_id, DONE)
    assert (row.cost_status, row.cost_low, row.cost_high) == ("complete", None, None)
    assert [(event.event_id, event.total_cost) for event in heard] == [(row.event_id, None), (row.event_id, COST)]


def test_a_response_fetched_again_adds_nothing(llm_cost: LLMCost, provider: ProviderServer, calls: ReadCalls) -> None:
    """Neither as JSON nor as a stream: it was recorded when it was made. Covers P-CAP-30."""
    provider.next(MADE)
    with client_of(llm_cost, provider) as client:
        made = client.responses.create(model=MODEL, input="hi")
        client.responses.retrieve(made.id)
        list(client.responses.retrieve(made.id, stream=True))
    assert [(row.provider_response_id, row.total_cost) for row in calls()] == [(made.id, COST)]


def test_the_end_of_a_resumed_stream_counts(llm_cost: LLMCost, provider: ProviderServer, calls: ReadCalls) -> None:
    provider.next(MADE)
    with client_of(llm_cost, provider) as client:
        response_id = in_background(llm_cost, client)
        for _ in range(3):
            list(client.responses.retrieve(response_id, stream=True, starting_after=1))
    (row,) = calls()
    assert summary(row) == ("ok", "stream_final", *DONE[2:])


def test_another_process_may_do_the_polling(make_app: Any, provider: ProviderServer) -> None:
    """Two apps on one ledger stand for a web process and its worker: the row keeps the tags of who asked."""
    web, asking = make_app()
    uri = f"sqlite:///{web.instance_path}/llm_cost.db"
    worker, polling = make_app(LLM_COST_DATABASE_URI=uri)
    provider.next(MADE)
    with web.app_context(), client_of(asking, provider) as client:
        response_id = in_background(asking, client)
    with worker.app_context(), client_of(polling, provider) as client, polling.tags(job="poll"):
        for _ in range(4):
            client.responses.retrieve(response_id)
        with polling.session() as session:
            assert [summary(row) for row in session.scalars(select(Call))] == [DONE]


def test_a_response_that_somebody_else_asked_for_is_recorded_by_its_poller(
    llm_cost: LLMCost, provider: ProviderServer, calls: ReadCalls
) -> None:
    provider.next(MADE)
    with openai.OpenAI(base_url=f"{provider.url}/v1", api_key="test") as unwatched:
        response_id = unwatched.responses.create(model=MODEL, input="hi", background=True).id
    with client_of(llm_cost, provider) as client, llm_cost.tags(job="poll"):
        client.responses.retrieve(response_id)
        assert calls() == []
        for _ in range(3):
            client.responses.retrieve(response_id)
    (row,) = calls()
    assert summary(row) == ("ok", "response", 1050, COST, {"job": "poll"}, 7000, CREATED)


def test_a_response_called_off_is_cancelled_and_its_cost_unknown(
    llm_cost: LLMCost, provider: ProviderServer, calls: ReadCalls
) -> None:
    provider.next(MADE)
    with client_of(llm_cost, provider) as client:
        response_id = in_background(llm_cost, client)
        assert client.responses.cancel(response_id).status == "cancelled"
        client.responses.retrieve(response_id)
    (row,) = calls()
    assert summary(row) == ("cancelled", "unknown", 0, None, {"feature": "research"}, None, CREATED)
    assert row.cost_status == "unknown"


def test_asking_for_a_response_that_is_not_there_is_no_call(
    llm_cost: LLMCost, provider: ProviderServer, calls: ReadCalls
) -> None:
    with client_of(llm_cost, provider) as client, pytest.raises(openai.NotFoundError):
        client.responses.retrieve("resp_0123456789abcdef0123456789abcdef")
    assert calls() == []


def test_many_pollers_at_once_make_one_row_and_exact_rollups(
    make_app: Any, database_url: URL, provider: ProviderServer
) -> None:
    """Eight threads of two apps poll three responses until all are done, on every database."""
    uri = database_url.render_as_string(hide_password=False)
    apps = [make_app(LLM_COST_DATABASE_URI=uri, LLM_COST_DURABILITY="sync") for _ in range(2)]
    provider.next(*[MADE] * 3)
    app, llm_cost = apps[0]
    with app.app_context(), client_of(llm_cost, provider) as client:
        ids = [in_background(llm_cost, client) for _ in range(3)]

    def poll(number: int) -> None:
        app, llm_cost = apps[number % 2]
        with app.app_context(), client_of(llm_cost, provider) as client:
            for response_id in ids:
                while client.responses.retrieve(response_id).status != "completed":
                    pass

    threads = [threading.Thread(target=poll, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    with app.app_context(), llm_cost.session() as session:
        rows = list(session.scalars(select(Call)))
        assert sorted(row.provider_response_id for row in rows) == sorted(ids)
        assert [summary(row) for row in rows] == [DONE] * 3
        for rollup in (Daily, Hourly):
            sums = func.sum(rollup.calls), func.sum(rollup.unpriced), func.sum(rollup.total_cost)
            assert session.execute(select(*sums)).one() == (3, 0, 3 * COST)
        tags = session.execute(select(TagDaily.calls, TagDaily.unpriced, TagDaily.total_cost)).all()
        assert tags == [(3, 0, 3 * COST)]
        assert session.scalar(select(func.sum(LatencyDaily.calls))) == 3
