"""The calls: filtered, sorted, a page at a time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import chain, islice

from flask import Response, stream_with_context

from flask_llm_cost.dashboard import exports
from flask_llm_cost.dashboard.links import Links, page_parameters, read_filters
from flask_llm_cost.dashboard.rendering import render
from flask_llm_cost.errors import InvalidFilterError
from flask_llm_cost.queries.calls import page_of_calls, sum_calls
from flask_llm_cost.queries.choices import choices
from flask_llm_cost.queries.export import every_call
from flask_llm_cost.queries.filters import single
from flask_llm_cost.queries.keyset import SORT_KEYS, Cursor, Order, parse_cursor
from flask_llm_cost.queries.reading import reading
from flask_llm_cost.queries.totals import is_empty
from flask_llm_cost.state import current_state

PAGE_SIZES = (25, 50, 100, 200)
DEFAULT_SIZE = 50


def calls() -> Response:
    """The list of calls."""
    filters, order, size = read_filters(), read_order(), _page_size()
    cursor = _cursor(order)
    with reading(current_state().ledger) as session:
        offered = {name: choices(session, filters, name) for name in ("provider", "model")}
        page = page_of_calls(session, filters, order, size, cursor)
        sums = sum_calls(session, filters)
        empty = not page.rows and is_empty(session)
    return render(
        "calls/index.html",
        "calls/_results.html",
        links=Links(filters.as_args(), _own_parameters(order, size, cursor)),
        filters=filters,
        offered=offered,
        order=order,
        page_size=size,
        page_sizes=PAGE_SIZES,
        cursor=cursor,
        found=page,
        sums=sums,
        is_ledger_empty=empty,
    )


def calls_csv() -> Response:
    """All filtered calls in the list's order as CSV, streamed."""
    filters, order = read_filters(), read_order()
    ledger = current_state().ledger

    def rows() -> Iterator[str]:
        with reading(ledger) as session:
            yield from exports.calls(every_call(session, filters, order))

    lines = rows()
    # The header and the first call now: a database that fails does so before the answer has begun.
    begun = [*islice(lines, 2)]
    return exports.attachment("llm-calls", datetime.now(UTC), stream_with_context(chain(begun, lines)))


def read_order() -> Order:
    """The order of the list.

    Raises:
        InvalidFilterError: there is no such order.
    """
    sort, direction = single(page_parameters(), "sort") or "time", single(page_parameters(), "dir") or "desc"
    for key in SORT_KEYS:
        if sort == key and direction in ("asc", "desc"):
            return Order(key, ascending=direction == "asc")
    raise InvalidFilterError(f"Calls cannot be sorted that way: choose {', '.join(SORT_KEYS)}, and asc or desc.")


def _page_size() -> int:
    text = single(page_parameters(), "per") or str(DEFAULT_SIZE)
    for size in PAGE_SIZES:
        if text == str(size):
            return size
    raise InvalidFilterError(f"A page cannot have {text[:40]} calls: choose {', '.join(map(str, PAGE_SIZES))}.")


def _cursor(order: Order) -> Cursor | None:
    after, before = (single(page_parameters(), name) for name in ("after", "before"))
    if single(page_parameters(), "page"):
        raise InvalidFilterError("Pages have no numbers here: use the links below the list.")
    if after and before:
        raise InvalidFilterError("A page cannot be after one call and before another.")
    if after or before:
        return parse_cursor(after or before or "", order, backwards=before is not None)
    return None


def _own_parameters(order: Order, size: int, cursor: Cursor | None) -> dict[str, list[str]]:
    own: dict[str, list[str]] = {}
    if order.key != "time":
        own["sort"] = [order.key]
    if order.ascending:
        own["dir"] = ["asc"]
    if size != DEFAULT_SIZE:
        own["per"] = [str(size)]
    if cursor is not None:
        own["before" if cursor.backwards else "after"] = [str(cursor)]
    elif single(page_parameters(), "refresh") == "on":
        own["refresh"] = ["on"]
    return own
