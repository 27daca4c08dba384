"""The list of calls: keyset pages in every order, sums, details, exports; on every database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest

from flask_llm_cost.errors import LedgerUnavailableError
from flask_llm_cost.ledger import Ledger
from flask_llm_cost.ledger.event import Event
from flask_llm_cost.queries import calls as calls_module
from flask_llm_cost.queries.call import ReceiptLine, call_detail
from flask_llm_cost.queries.calls import CallPage, dearest_calls, page_of_calls, sum_calls
from flask_llm_cost.queries.export import CALL_COLUMNS, every_call
from flask_llm_cost.queries.filters import Filters, parse_filters
from flask_llm_cost.queries.keyset import SORT_KEYS, Order, parse_cursor
from flask_llm_cost.queries.reading import LedgerSession, reading

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
MakeEvent = Callable[..., Event]


def asked(**parameters: str) -> Filters:
    listed = {name: [value] for name, value in parameters.items()}
    return parse_filters(listed, timezone=ZoneInfo("UTC"), now=NOW)


@pytest.fixture
def filled(ledger: Ledger, make_event: MakeEvent) -> Ledger:
    """53 calls with many ties: equal times, costs, token counts and latencies, and unknown ones."""
    costs = [None, Decimal("0.01"), Decimal("0.02"), Decimal(0), Decimal("0.000000001")]
    events = [
        make_event(
            tracked_at=NOW - timedelta(hours=index // 3),
            total_cost=costs[index % 5],
            cost_status="unknown" if costs[index % 5] is None else "complete",
            latency_ms=[None, 100, 100, 2_000][index % 4],
            input_tokens=index % 7,
            cache_read_input_tokens=0,
            output_tokens=index % 2,
            total_tokens=index % 7 + index % 2,
            tags={"n": str(index % 10)},
        )
        for index in range(53)
    ]
    ledger.write(events)
    return ledger


def walk(session: LedgerSession, filters: Filters, order: Order, per: int) -> list[CallPage]:
    """All pages, each found through the address that the one before gives."""
    pages = [page_of_calls(session, filters, order, per)]
    while pages[-1].after:
        cursor = parse_cursor(str(pages[-1].after), order, backwards=False)
        pages.append(page_of_calls(session, filters, order, per, cursor))
    return pages


@pytest.mark.parametrize("ascending", [False, True], ids=["down", "up"])
@pytest.mark.parametrize("key", SORT_KEYS)
def test_pages_hold_every_call_once_in_order_and_lead_back(filled: Ledger, key: str, ascending: bool) -> None:
    """Whatever the order: no call twice, none missing, unknown values last, and each page leads to the one before.

    Covers P-DASH-CALL-02, P-DASH-CALL-07, and what P-DASH-CALL-05 marks as weak.
    """
    order = Order(key, ascending)
    with reading(filled) as session:
        pages = walk(session, asked(), order, 8)
        rows = [row for page in pages for row in page.rows]
        for before, page in pairwise(pages):
            assert page.before is not None
            cursor = parse_cursor(str(page.before), order, backwards=True)
            assert page_of_calls(session, asked(), order, 8, cursor) == before
    assert [len(page.rows) for page in pages] == [8, 8, 8, 8, 8, 8, 5]
    assert (pages[0].before, pages[-1].after) == (None, None)
    values = {
        "time": lambda row: row.tracked_at,
        "cost": lambda row: row.total_cost,
        "input": lambda row: row.prompt_tokens,
        "output": lambda row: row.output_tokens,
        "latency": lambda row: row.latency_ms,
    }
    known = [row for row in rows if values[key](row) is not None]
    assert known == sorted(known, key=lambda row: (values[key](row), row.id), reverse=not ascending)
    unknown = rows[len(known) :]
    assert all(values[key](row) is None for row in unknown)
    assert [row.id for row in unknown] == sorted((row.id for row in unknown), reverse=not ascending)
    assert len({row.id for row in rows}) == 53


def test_calls_that_arrive_meanwhile_shift_no_page(filled: Ledger, make_event: MakeEvent) -> None:
    """A new call is on the first page; the second stays what it was."""
    order = Order("time")
    with reading(filled) as session:
        first = page_of_calls(session, asked(), order, 10)
        second = page_of_calls(session, asked(), order, 10, first.after)
    filled.write([make_event(tracked_at=NOW + timedelta(hours=1))])
    with reading(filled) as session:
        assert page_of_calls(session, asked(), order, 10, first.after) == second
        assert page_of_calls(session, asked(), order, 10).rows[1:] == first.rows[:9]


def test_a_page_past_the_end_is_empty(filled: Ledger) -> None:
    """Covers what P-DASH-CALL-06 marks as weak."""
    with reading(filled) as session:
        cursor = parse_cursor("0.1", Order("time"), backwards=False)
        assert page_of_calls(session, asked(), Order("time"), 50, cursor) == CallPage((), None, None)


def test_sums_are_those_of_all_pages(filled: Ledger) -> None:
    """Covers P-DASH-CALL-01."""
    with reading(filled) as session:
        for filters in (
            asked(),
            asked(tag="n=3"),
            asked(min_cost="0.01"),
            asked(status="unpriced"),
            asked(q="nothing"),
        ):
            rows = [row for page in walk(session, filters, Order("time"), 20) for row in page.rows]
            sums = sum_calls(session, filters)
            assert not sums.is_cut
            assert (sums.totals.calls, sums.totals.unpriced) == (
                len(rows),
                sum(row.cost_status == "unknown" for row in rows),
            )
            assert sums.totals.total_cost == sum((row.total_cost or Decimal(0) for row in rows), Decimal(0))
            assert sums.totals.prompt_tokens == sum(row.prompt_tokens for row in rows)
            assert sums.totals.output_tokens == sum(row.output_tokens for row in rows)


def test_a_long_count_stops_and_says_so(filled: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no rollup can count, at most so many calls are read; the sums are then of the newest."""
    monkeypatch.setattr(calls_module, "COUNT_LIMIT", 20)
    with reading(filled) as session:
        sums = sum_calls(session, asked(min_cost="0"))
        assert (sums.totals.calls, sums.is_cut) == (20, True)
        exact = sum_calls(session, asked())
        assert (exact.totals.calls, exact.is_cut) == (53, False)


def test_the_dearest_calls_have_a_known_cost(filled: Ledger) -> None:
    """Covers P-REP-06."""
    with reading(filled) as session:
        dearest = dearest_calls(session, asked(), 3)
        assert [row.total_cost for row in dearest] == [Decimal("0.02")] * 3
        assert dearest_calls(session, asked(status="unpriced")) == ()


def test_an_export_is_the_whole_list_in_its_order(filled: Ledger) -> None:
    """Covers P-DASH-CSV-01, P-DASH-CSV-03, and what P-DASH-CSV-07 and -08 mark as weak."""
    with reading(filled) as session:
        rows = list(every_call(session, asked(), Order("cost")))
        listed = [row for page in walk(session, asked(), Order("cost"), 50) for row in page.rows]
    cost, at = CALL_COLUMNS.index("total_cost"), CALL_COLUMNS.index("tracked_at")
    assert [(row[at], row[cost]) for row in rows] == [(row.tracked_at, row.total_cost) for row in listed]


def test_a_call_is_found_by_either_id_with_its_receipt(ledger: Ledger, make_event: MakeEvent) -> None:
    """Everything that was recorded comes back, the receipt's lines as exact decimals. Covers P-DASH-CALL-09."""
    event = make_event(
        tracked_at=NOW,
        receipt={
            "key": "openai/gpt-4o",
            "lines": [
                {
                    "meter": "input",
                    "quantity": 900,
                    "rate": "2.5",
                    "per": 1_000_000,
                    "cost": "0.00225",
                    "source": "manual",
                },
                {"meter": "audio.second", "quantity": "1.5", "per": 1},
                {"nonsense": True},
                "nonsense",
                {"meter": "output", "quantity": "many"},
            ],
            "notes": ["inconsistent"],
        },
    )
    ledger.write([event])
    with reading(ledger) as session:
        (row,) = page_of_calls(session, asked(), Order("time"), 25).rows
        found = call_detail(session, row.id)
        assert found is not None
        assert call_detail(session, event.event_id) == found
        assert call_detail(session, uuid4()) is None
        assert call_detail(session, 2**63 - 1) is None
    assert (found.provider, found.total_cost, dict(found.tags)) == ("openai", Decimal("0.007375"), event.tags)
    assert found.lines == (
        ReceiptLine("input", Decimal(900), Decimal("2.5"), 1_000_000, Decimal("0.00225"), "manual", None, None),
        ReceiptLine("audio.second", Decimal("1.5"), None, 1, None, None, None, None),
    )
    assert (found.unpriced_meters, found.notes) == (("audio.second",), ("inconsistent",))


def test_a_database_without_tables_is_one_kind_of_error(
    open_ledger: Callable[..., Ledger], database_url: object
) -> None:
    """Whatever the driver raises, readers see one error, and neither SQL nor values in its message."""
    ledger = open_ledger(database_url, migrate=False, durability="sync")
    with pytest.raises(LedgerUnavailableError) as refused, reading(ledger) as session:
        page_of_calls(session, asked(q="secret"), Order("time"), 25)
    assert "SELECT" not in str(refused.value)
    assert "secret" not in str(refused.value)
