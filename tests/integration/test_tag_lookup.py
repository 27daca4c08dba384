"""Calls found, and costs told, by tags: exactly those that carry them, on every database."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from flask_llm_cost.ledger import Ledger
from flask_llm_cost.ledger.event import Event
from flask_llm_cost.queries.query import Query

MakeEvent = Callable[..., Event]
NOW = datetime(2026, 10, 28, 12, tzinfo=UTC)


def found(ledger: Ledger, query: Query) -> set[UUID]:
    with ledger.session() as session:
        return {call.event_id for call in session.scalars(query.calls())}


def of(ledger: Ledger) -> Query:
    return Query.of(ledger, ZoneInfo("UTC"), NOW)


@pytest.fixture
def tagged(ledger: Ledger, make_event: MakeEvent) -> Callable[[Mapping[str, str]], UUID]:
    def write(tags: Mapping[str, str]) -> UUID:
        event = make_event(tags=dict(tags), tracked_at=NOW, total_cost=Decimal("0.5"))
        ledger.write([event])
        return event.event_id

    return write


def test_a_tag_is_its_key_and_its_whole_value(ledger: Ledger, tagged: Callable[[Mapping[str, str]], UUID]) -> None:
    """Neither a pattern, nor a part, nor text inside another tag, nor another case, nor the same value of another key.

    Covers P-TAG-38, P-TAG-39, P-TAG-40. P-TAG-41 (nested matches, ignored case) is not so here.
    """
    percent, thousand = tagged({"quota": "100%"}), tagged({"quota": "1000"})
    under, letter = tagged({"quota": "a_c"}), tagged({"quota": "abc"})
    upper, nested = tagged({"quota": "ABC"}), tagged({"note": '{"quota": "abc"}', "other": "abc"})
    for value, one in {"100%": percent, "1000": thousand, "a_c": under, "abc": letter, "ABC": upper}.items():
        assert found(ledger, of(ledger).by_tags(quota=value)) == {one}
    assert found(ledger, of(ledger).by_tags(other="abc")) == {nested}
    assert found(ledger, of(ledger).by_tags(quota="10")) == set()
    assert found(ledger, of(ledger).by_tags({})) == {percent, thousand, under, letter, upper, nested}


def test_keys_with_dots_and_dashes_are_keys(ledger: Ledger, tagged: Callable[[Mapping[str, str]], UUID]) -> None:
    """Not paths into something. Covers P-TAG-46."""
    key = "tenant.plan-name/v1_2"
    calls = [tagged({key: "pro", "tenant": "x"}), tagged({key: "pro"}), tagged({key: "free"}), tagged({"tenant": "x"})]
    costs = {name: spend.total_cost for name, spend in of(ledger).cost_by_tag(key).items()}
    assert costs == {"pro": Decimal(1), "free": Decimal("0.5"), None: Decimal("0.5")}
    narrowed = of(ledger).by_provider("openai").by_tags(tenant="x").cost_by_tag(key)
    assert {name: spend.calls for name, spend in narrowed.items()} == {"pro": 1, None: 1}
    assert found(ledger, of(ledger).by_tags({key: "pro"})) == set(calls[:2])
