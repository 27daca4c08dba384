"""``reprice``: calls priced again, every total moved by the difference, on SQLite, PostgreSQL and MariaDB."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import delete, select, update

from flask_llm_cost.errors import PriceTableError, SchemaMissingError, StorageError
from flask_llm_cost.ledger import Ledger
from flask_llm_cost.ledger.event import Event
from flask_llm_cost.ledger.models import Audit, Call, Daily, TagDaily
from flask_llm_cost.ledger.reprice import Reprice, Selection
from flask_llm_cost.ledger.tally import Amounts, ModelChange, SkippedCall
from flask_llm_cost.pricing import PriceBook
from flask_llm_cost.recorder import Recorder
from flask_llm_cost.settings import Settings
from flask_llm_cost.usage import Bounds, ModelUsage, Reading
from tests.integration.ledger_sums import assert_rollups_are_the_sum, calls_of

AT = datetime(2026, 5, 1, 9, 30, tzinfo=UTC)
ALL = Selection()
UNKNOWN = Selection(unknown_only=True)
MYSTERY = {"acme/mystery": {"input": "2", "output": "8", "cache_read": "0.5"}}

Record = Callable[..., Event]


def book(overrides: Mapping[str, object] | None = None) -> PriceBook:
    return PriceBook.open(overrides=overrides or {}, prices_file=None, model_aliases={})


def recorder(ledger: Ledger, prices: PriceBook) -> Recorder:
    return Recorder(Flask("host"), Settings(unknown_pricing="ignore"), prices, ledger)


def answer(**changes: Any) -> Reading:
    told = Reading("acme", "mystery", {"input": 1000, "output": 500}, usage_source="response")
    return replace(told, **changes)


def held(ledger: Ledger) -> list[Call]:
    with ledger.session() as session:
        return list(session.scalars(select(Call).order_by(Call.tracked_at, Call.id)))


def audits(ledger: Ledger) -> list[dict[str, Any]]:
    with ledger.session() as session:
        assert set(session.scalars(select(Audit.action))) <= {"reprice"}
        return list(session.scalars(select(Audit.details).order_by(Audit.id)))


@pytest.fixture
def small(open_ledger: Any, sqlite_url: Any) -> Ledger:
    """A ledger for what no database does its own way."""
    ledger: Ledger = open_ledger(sqlite_url, durability="sync")
    return ledger


def test_a_model_gets_its_price_after_the_fact(ledger: Ledger) -> None:
    """Unknown calls are priced once their model is: totals, receipt, audit. The calls of other models stay."""
    record = recorder(ledger, book()).record
    record(answer(), tracked_at=AT, tags={"feature": "chat"}, latency_ms=80)
    record(answer(pricing_mode="batch"), tracked_at=AT + timedelta(hours=1), tags={"feature": "jobs"})
    record(answer(provider="openai", model="gpt-4o"), tracked_at=AT)
    before = held(ledger)
    assert [call.cost_status for call in before] == ["unknown", "complete", "unknown"]
    prices = book({"acme/mystery": {"input": "2", "output": "8", "batch_input": "1", "batch_output": "4"}})

    found = ledger.reprice(prices, UNKNOWN, dry_run=True)
    assert (found.run, found.looked_at, found.calls) == (None, 2, 2)
    assert held(ledger)[0].total_cost is None
    assert audits(ledger) == []

    done = ledger.reprice(prices, UNKNOWN)
    assert done.run is not None
    assert done.changes == found.changes
    assert done.changes == (
        ModelChange(
            "acme",
            "mystery",
            2,
            Amounts(unpriced=2),
            Amounts(Decimal("0.009")),
            {("unknown", "complete"): 2},
        ),
    )
    first, other, batch = held(ledger)
    assert (first.input_cost, first.output_cost, first.total_cost) == (
        Decimal("0.002"),
        Decimal("0.004"),
        Decimal("0.006"),
    )
    assert (first.cost_status, first.price_key, first.price_source) == ("complete", "acme/mystery", "manual")
    assert batch.total_cost == Decimal("0.003")
    assert other.receipt == before[1].receipt
    (past,) = first.receipt["repriced_from"]
    assert datetime.fromisoformat(past.pop("until")) is not None
    assert past == {"run": done.run, **before[0].receipt}
    assert first.receipt["lines"][0] == {
        "meter": "input",
        "quantity": 1000,
        "rate": "2",
        "per": 1_000_000,
        "cost": "0.002000000",
        "source": "manual",
    }
    (audit,) = audits(ledger)
    assert (audit["run"], audit["calls"], audit["filters"]) == (done.run, 2, {"unknown_only": True})
    assert (audit["before"]["unpriced_calls"], audit["after"]["total_cost"]) == (2, "0.009000000")
    assert audit["models"] == [change.as_dict() for change in done.changes]
    assert_rollups_are_the_sum(ledger)


def test_a_second_run_changes_nothing(ledger: Ledger) -> None:
    """Nor does one at the prices that were in force all along: a cost stays what it was recorded at."""
    old, new = book({"acme/mystery": {"input": "3"}}), book({"acme/mystery": {"input": "7"}})
    record = recorder(ledger, old).record
    record(answer(usage={"input": 1_000_000}), tracked_at=AT)
    recorder(ledger, new).record(answer(usage={"input": 1_000_000}), tracked_at=AT)
    assert [call.total_cost for call in held(ledger)] == [3, 7]
    done = ledger.reprice(new, ALL)
    assert (done.looked_at, done.calls, done.difference) == (2, 1, 4)
    after = [call.receipt for call in held(ledger)]
    again = ledger.reprice(new, ALL)
    assert (again.looked_at, again.calls, again.difference) == (2, 0, 0)
    assert [call.receipt for call in held(ledger)] == after
    assert len(audits(ledger)) == 1
    with ledger.session() as session:
        assert session.scalar(select(Daily.total_cost)) == 14
    assert_rollups_are_the_sum(ledger)


def test_what_a_call_cost_before_can_be_traced_through_every_run(small: Ledger) -> None:
    recorder(small, book()).record(answer(usage={"input": 1_000_000}), tracked_at=AT)
    runs = [small.reprice(book({"acme/mystery": {"input": rate}}), ALL).run for rate in ("3", "7")]
    (call,) = held(small)
    past = call.receipt["repriced_from"]
    assert [(each["run"], each.get("total"), each["status"]) for each in past] == [
        (runs[0], None, "unknown"),
        (runs[1], "3.000000000", "complete"),
    ]
    assert call.total_cost == 7


def test_each_call_is_priced_at_its_own_time(small: Ledger) -> None:
    """A dated price applies from its day on, to the calls made since."""
    for days in (0, 10):
        recorder(small, book()).record(answer(usage={"input": 1_000_000}), tracked_at=AT + timedelta(days=days))
    rates = [{"input": "5"}, {"effective_from": "2026-05-05", "input": "4"}]
    small.reprice(book({"acme/mystery": {"rates": rates}}), ALL)
    assert [call.total_cost for call in held(small)] == [5, 4]


def test_a_selection_is_all_that_changes(ledger: Ledger) -> None:
    for hours, model in enumerate("abc"):
        recorder(ledger, book({"acme/c": {"input": "1"}})).record(
            answer(model=model, usage={"input": 1_000_000}), tracked_at=AT + timedelta(hours=hours)
        )
    first, second = AT + timedelta(hours=1), AT + timedelta(hours=2)
    selections = [
        (UNKNOWN, "ab"),
        (Selection(since=first), "bc"),
        (Selection(until=first), "a"),
        (Selection(since=first, until=second), "b"),
        (Selection(model="c"), "c"),
        (Selection(provider="other"), ""),
    ]
    for rate, (selection, models) in enumerate(selections, start=2):
        later = book({f"acme/{model}": {"input": str(rate)} for model in "abc"})
        done = ledger.reprice(later, selection)
        assert sorted(change.model for change in done.changes) == list(models)
        assert {call.model for call in held(ledger) if call.total_cost == rate} == set(models)
        assert_rollups_are_the_sum(ledger)


READINGS = {
    "cached": answer(usage={"input": 10, "cache_read": 90, "cache_write": 5, "cache_write.1h": 7, "output": 3}),
    "other meters": answer(
        usage={"input.audio": 12, "output.image": 4, "tool.web_search": 2, "audio.second": Decimal("1.5")}
    ),
    "another model": answer(extra=(ModelUsage("small", {"input": 5}), ModelUsage("small", {"input": 6, "output": 1}))),
    "only another model": answer(usage={}, extra=(ModelUsage("small", {"input": 5}),)),
    "tier": answer(pricing_mode="batch", geo="us", speed="fast"),
    "bounds": answer(
        usage={"input": 9}, bounds=Bounds({"cache_read": 9}, {"input": 9, "output": 70}), usage_source="partial"
    ),
    "open bounds": answer(usage={}, bounds=Bounds({"input": 9}, None), usage_source="unknown"),
    "failed": answer(usage={}, status="error", usage_source="unknown"),
    "manual": answer(
        usage_source="manual", provider_cost=Decimal("0.5"), raw_usage={"input_tokens": 1000}, notes=("odd",)
    ),
    "as asked": answer(model="unknown", request_model="deployment"),
}
FULL = {
    "acme/mystery": {
        "rates": [
            {"input": "2", "output": "8", "cache_read": "0.5", "cache_write": "3", "cache_write.1h": "4"},
            {"input.audio": "5", "output.image": "30", "tool.web_search": "0.01", "audio.second": "0.003"},
            {"when": {"mode": "batch"}, "input": "1", "output": "4"},
            {"when": {"geo": "us"}, "multiplier": "1.1"},
            {"when": {"speed": "fast"}, "multiplier": "2"},
        ]
    },
    "acme/small": {"input": "1", "output": "2"},
    "acme/deployed": {"input": "6", "output": "6"},
}
OUTCOME = (
    *("input_cost", "cache_read_cost", "cache_write_cost", "output_cost", "other_cost", "total_cost", "cache_saved"),
    *("provider_cost", "cost_low", "cost_high", "cost_status", "price_key", "price_source", "total_tokens", "receipt"),
)


@pytest.mark.parametrize("kind", READINGS)
def test_a_call_priced_again_is_as_if_recorded_at_those_prices(small: Ledger, kind: str) -> None:
    """Whatever it used, known or not, told by whom ever: the same columns and the same receipt, there and back."""
    unpriced = book()
    priced = PriceBook.open(overrides=FULL, prices_file=None, model_aliases={"deployment": "acme/deployed"})
    first = recorder(small, unpriced).record(READINGS[kind], tracked_at=AT, tags={"a": "b"})
    straight = recorder(small, priced).record(READINGS[kind], tracked_at=AT, tags={"a": "b"})
    if kind not in ("failed", "open bounds"):
        assert straight.cost_status != first.cost_status
    for prices, wanted in ((priced, straight), (unpriced, first)):
        small.reprice(prices, ALL)
        for call in held(small):
            call.receipt.pop("repriced_from", None)
            assert {name: getattr(call, name) for name in OUTCOME} == {name: getattr(wanted, name) for name in OUTCOME}
        assert_rollups_are_the_sum(small)


def test_a_call_that_said_nothing_stays_as_it_was(small: Ledger) -> None:
    """There is nothing to price, at whatever prices: no second receipt, no row in the audit."""
    recorder(small, book()).record(answer(usage={}, usage_source="unknown"), tracked_at=AT)
    before = held(small)[0].receipt
    done = small.reprice(book(MYSTERY), ALL)
    assert (done.looked_at, done.calls, held(small)[0].receipt, audits(small)) == (1, 0, before, [])


def test_a_call_deleted_meanwhile_stays_deleted(ledger: Ledger) -> None:
    """Pruned between the look and the lock: it does not come back, and the totals keep what it cost."""
    record = recorder(ledger, book()).record
    for _ in range(6):
        record(answer(), tracked_at=AT, tags={"feature": "chat"})
    gone = calls_of(ledger)[2:5]
    pruned: list[int] = []

    def prune(done: int, total: int) -> None:
        """After the first batch of two, while the second is on its way."""
        if not pruned:
            pruned.extend(int(entry.row["id"]) for entry in gone)  # type: ignore[arg-type]
            with ledger._engines.writing() as connection:
                connection.execute(delete(Call).where(Call.id.in_(pruned)))

    run = ledger.reprice(book(MYSTERY), ALL, batch_size=2, progress=prune)
    assert run.calls == 3
    assert len(held(ledger)) == 3
    assert_rollups_are_the_sum(ledger, pruned=gone)


def test_a_call_deleted_between_look_and_lock_stays_deleted(ledger: Ledger) -> None:
    for _ in range(3):
        recorder(ledger, book()).record(answer(), tracked_at=AT)
    gone = calls_of(ledger)[:1]
    prices = book(MYSTERY)
    run = Reprice(ledger._writer, ledger._engines, prices.catalogue, prices.version, ALL)
    ids = [call.id for call in held(ledger)]
    with ledger._engines.writing() as connection:
        connection.execute(delete(Call).where(Call.id == ids[0]))
    assert [change.calls for change in run._apply(ids).changes()] == [2]
    assert [change.calls for change in run._apply(ids).changes()] == []
    assert len(held(ledger)) == 2
    assert_rollups_are_the_sum(ledger, pruned=gone)


class Killed(BaseException):
    """Nothing catches it, as nothing catches a kill."""


def test_a_run_killed_between_batches_is_completed_by_another(ledger: Ledger) -> None:
    record = recorder(ledger, book()).record
    for minutes in range(7):
        record(answer(), tracked_at=AT + timedelta(minutes=minutes))

    def kill(done: int, total: int) -> None:
        assert total == 7
        if done == 4:
            raise Killed

    with pytest.raises(Killed):
        ledger.reprice(book(MYSTERY), ALL, batch_size=2, progress=kill)
    assert [call.cost_status for call in held(ledger)] == ["complete"] * 4 + ["unknown"] * 3
    assert_rollups_are_the_sum(ledger)
    assert ledger.reprice(book(MYSTERY), ALL, batch_size=2).calls == 3
    assert [call.total_cost for call in held(ledger)] == [Decimal("0.006")] * 7
    assert [audit["calls"] for audit in audits(ledger)] == [2, 2, 2, 1]
    assert_rollups_are_the_sum(ledger)


def test_recording_goes_on_meanwhile(ledger: Ledger, open_ledger: Any) -> None:
    """Two runs and two writers at once on the same days: nobody fails, and the totals are the calls'."""
    prices = book(MYSTERY)
    record = recorder(ledger, book()).record
    for number in range(120):
        record(answer(), tracked_at=AT + timedelta(minutes=number), tags={"user": str(number % 7)})
    failed: list[BaseException] = []

    def runs(work: Callable[[], object]) -> threading.Thread:
        def guarded() -> None:
            try:
                work()
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=guarded)
        thread.start()
        return thread

    def write() -> None:
        other = open_ledger(ledger.engine.url, durability="sync", migrate=False)
        write_one = recorder(other, prices).record
        for number in range(40):
            write_one(answer(), tracked_at=AT + timedelta(minutes=number), tags={"user": str(number % 5)})

    def reprice() -> None:
        other = open_ledger(ledger.engine.url, durability="sync", migrate=False)
        other.reprice(prices, UNKNOWN, batch_size=10)

    threads = [runs(write), runs(reprice), runs(write), runs(reprice)]
    for thread in threads:
        thread.join()
    assert failed == []
    calls = held(ledger)
    assert len(calls) == 200
    assert {call.total_cost for call in calls} == {Decimal("0.006")}
    assert sum(len(call.receipt.get("repriced_from", ())) for call in calls) == 120
    assert sum(audit["calls"] for audit in audits(ledger)) == 120
    assert_rollups_are_the_sum(ledger)


def test_values_that_share_a_row_stay_in_it(open_ledger: Any, database_url: Any) -> None:
    """Past the cap a value's cost is in ``__other__``: there it moves too, also after the cap was raised."""
    low = open_ledger(database_url, durability="sync", tag_values_per_day=2)
    for user in "abcd":
        recorder(low, book()).record(answer(), tracked_at=AT, tags={"user": user})
    high = open_ledger(database_url, durability="sync", tag_values_per_day=10, migrate=False)
    high.reprice(book(MYSTERY), ALL)
    with high.session() as session:
        found = session.execute(select(TagDaily.value, TagDaily.calls, TagDaily.unpriced, TagDaily.total_cost)).all()
    one, two = Decimal("0.006"), Decimal("0.012")
    assert sorted(found) == [("__other__", 2, 0, two), ("a", 1, 0, one), ("b", 1, 0, one)]
    assert_rollups_are_the_sum(high)


def test_a_receipt_that_nobody_can_read_is_left_alone_and_told(small: Ledger) -> None:
    record = recorder(small, book()).record
    for _ in range(2):
        record(answer(), tracked_at=AT)
    bad = held(small)[0].id
    with small._engines.writing() as connection:
        broken = {"status": "unknown", "lines": [{"quantity": 3}]}
        connection.execute(update(Call).where(Call.id == bad).values(receipt=broken))
    done = small.reprice(book(MYSTERY), ALL)
    assert (done.calls, done.skipped) == (1, (SkippedCall(bad, "KeyError: 'meter'"),))
    assert {call.id: call.total_cost for call in held(small)}[bad] is None
    assert_rollups_are_the_sum(small)


def test_a_call_without_lines_is_priced_from_its_columns(small: Ledger, make_event: Callable[..., Event]) -> None:
    """As one is whose pricing failed: the tokens are in the ledger whatever became of the receipt."""
    costs = dict.fromkeys(
        ("input_cost", "cache_read_cost", "cache_write_cost", "output_cost", "other_cost", "total_cost")
    )
    small.record(make_event(provider="acme", model="mystery", cost_status="unknown", receipt={}, **costs))
    small.reprice(book(MYSTERY), UNKNOWN)
    (call,) = held(small)
    assert [(line["meter"], line["quantity"]) for line in call.receipt["lines"]] == [
        ("input", 900),
        ("cache_read", 100),
        ("output", 480),
        ("output.reasoning", 20),
    ]
    assert call.total_cost == Decimal("0.00585")


def test_a_broken_prices_file_stops_the_run(small: Ledger, tmp_path: Any) -> None:
    """The last good prices would do for recording; here they would be the wrong ones."""
    file = tmp_path / "prices.yml"
    file.write_text("acme/mystery: {input: '2'}\n")
    prices = PriceBook.open(overrides={}, prices_file=str(file), model_aliases={})
    file.write_text("acme/mystery: {input: cheap}\n")
    with pytest.raises(PriceTableError, match="cheap"):
        small.reprice(prices, ALL)


def test_missing_tables_and_an_absent_database_are_told(open_ledger: Any, sqlite_url: Any) -> None:
    with pytest.raises(SchemaMissingError, match="db upgrade"):
        open_ledger(sqlite_url, migrate=False).reprice(book(), ALL)
    away = sqlite_url.set(drivername="postgresql+psycopg", username="u", host="127.0.0.1", port=1, database="x")
    with pytest.raises(StorageError, match=r"^The calls were not all priced again: "):
        open_ledger(away, migrate=False).reprice(book(), ALL)
