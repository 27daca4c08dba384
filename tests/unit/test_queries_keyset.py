"""Which part of a period a page beyond a cursor reads."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from flask_llm_cost.queries.keyset import Cursor, Order, reach

START, END = datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)
AT = datetime(2026, 5, 20, 12, tzinfo=UTC)
AFTER_AT = AT + timedelta(microseconds=1)
MICROSECONDS = int(AT.timestamp()) * 1_000_000


@pytest.mark.parametrize(
    ("ascending", "backwards", "part"),
    [
        (False, False, (START, AFTER_AT)),
        (False, True, (AT, END)),
        (True, False, (AT, END)),
        (True, True, (START, AFTER_AT)),
    ],
)
def test_a_page_by_time_begins_at_its_cursor(ascending: bool, backwards: bool, part: tuple[datetime, datetime]) -> None:
    """The cursor's own instant is within: other calls of it may follow."""
    cursor = Cursor(MICROSECONDS, 7, backwards)
    assert reach(Order("time", ascending=ascending), cursor, START, END) == part


@pytest.mark.parametrize(
    ("order", "cursor"),
    [
        (Order("time"), None),
        (Order("cost"), Cursor(MICROSECONDS, 7, backwards=False)),
        (Order("time"), Cursor(MICROSECONDS + 10**14, 7, backwards=False)),
    ],
)
def test_no_cursor_by_time_within_the_period_leaves_it_whole(order: Order, cursor: Cursor | None) -> None:
    assert reach(order, cursor, START, END) == (START, END)
