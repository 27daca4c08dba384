"""Filters from a URL: what they mean, what is refused, and that they survive the way back."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_llm_cost.errors import InvalidFilterError
from flask_llm_cost.queries.filters import STATUSES, USAGE_SOURCES, Filters, parse_filters
from flask_llm_cost.queries.group import MODEL, PROVIDER, Group
from flask_llm_cost.queries.keyset import Cursor, Order, parse_cursor
from flask_llm_cost.queries.period import midnight, spans

UTC_ZONE, BERLIN, KOLKATA = ZoneInfo("UTC"), ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Kolkata")
NOW = datetime(2026, 4, 20, 13, 47, 12, tzinfo=UTC)


def asked(zone: ZoneInfo = UTC_ZONE, now: datetime = NOW, **parameters: str | list[str]) -> Filters:
    listed = {name: [value] if isinstance(value, str) else value for name, value in parameters.items()}
    return parse_filters(listed, timezone=zone, now=now)


def days(filters: Filters) -> tuple[date, date, int]:
    return filters.period.first_day, filters.period.last_day, filters.period.count


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, (date(2026, 3, 22), date(2026, 4, 20), 30)),
        ({"range": "7d"}, (date(2026, 4, 14), date(2026, 4, 20), 7)),
        ({"range": "60d"}, (date(2026, 2, 20), date(2026, 4, 20), 60)),
        ({"range": "month"}, (date(2026, 4, 1), date(2026, 4, 20), 20)),
        ({"from": "2026-01-02", "to": "2026-01-03"}, (date(2026, 1, 2), date(2026, 1, 3), 2)),
        ({"from": "20260102", "to": "2026-W01-6"}, (date(2026, 1, 2), date(2026, 1, 3), 2)),
        ({"from": "2026-04-01"}, (date(2026, 4, 1), date(2026, 4, 20), 20)),
        ({"to": "2026-03-30"}, (date(2026, 3, 1), date(2026, 3, 30), 30)),
        ({"from": "2025-01-01", "to": "2026-01-01"}, (date(2025, 1, 1), date(2026, 1, 1), 366)),
        ({"range": "7d", "from": "2026-01-01"}, (date(2026, 4, 14), date(2026, 4, 20), 7)),
    ],
)
def test_periods_are_whole_days_ending_today(parameters: dict[str, str], expected: tuple[date, date, int]) -> None:
    """30 days by default; a missing end is today, a missing start 29 days before the end; 366 days pass.

    Covers P-DASH-OVR-02, P-DASH-OVR-17, P-DASH-GEN-05, P-DASH-GEN-08.
    """
    assert days(asked(**parameters)) == expected


def test_24_hours_are_whole_hours_ending_with_this_one() -> None:
    period = asked(range="24h").period
    assert (period.unit, period.start, period.end) == (
        "hour",
        datetime(2026, 4, 19, 14, tzinfo=UTC),
        datetime(2026, 4, 20, 14, tzinfo=UTC),
    )


def test_days_are_those_of_the_time_zone() -> None:
    """At 23:30 UTC it is tomorrow in Berlin. Covers what P-DASH-GEN-21 marks as weak."""
    period = asked(BERLIN, datetime(2026, 4, 20, 23, 30, tzinfo=UTC), range="7d").period
    assert (period.first_day, period.last_day) == (date(2026, 4, 15), date(2026, 4, 21))
    assert period.start == datetime(2026, 4, 14, 22, tzinfo=UTC)


def test_a_day_may_have_23_or_25_hours() -> None:
    period = asked(BERLIN, **{"from": "2026-03-28", "to": "2026-03-30"}).period
    lengths = [later - earlier for earlier, later in zip(period.bounds, period.bounds[1:], strict=False)]
    assert lengths == [timedelta(hours=24), timedelta(hours=23), timedelta(hours=24)]


def test_a_running_period_is_compared_with_the_same_part_of_the_one_before() -> None:
    """13:47:12 of its last day, by the clock on the wall, also across a change of clocks."""
    assert asked(range="7d").period.previous_elapsed == datetime(2026, 4, 13, 13, 47, 12, tzinfo=UTC)
    assert asked(range="24h").period.previous_elapsed == datetime(2026, 4, 19, 13, 47, 12, tzinfo=UTC)
    monday = asked(BERLIN, datetime(2026, 3, 30, 8, tzinfo=UTC), range="7d").period
    assert monday.previous_elapsed == datetime(2026, 3, 23, 9, tzinfo=UTC)


def test_a_past_period_is_compared_with_the_whole_one_before() -> None:
    period = asked(**{"from": "2026-04-01", "to": "2026-04-10"}).period
    assert (period.previous.first_day, period.previous.last_day) == (date(2026, 3, 22), date(2026, 3, 31))
    assert period.previous_elapsed == period.start == period.previous.end


@given(
    start=st.integers(0, 2 * 365 * 86_400).map(lambda seconds: NOW - timedelta(seconds=seconds)),
    length=st.timedeltas(timedelta(0), timedelta(days=40)),
    zone=st.sampled_from([UTC_ZONE, BERLIN, KOLKATA, ZoneInfo("America/St_Johns"), ZoneInfo("Africa/Cairo")]),
)
def test_spans_cover_a_range_once_and_in_order(start: datetime, length: timedelta, zone: ZoneInfo) -> None:
    """Days start at the zone's midnights, hours at UTC's; nothing is left out or counted twice."""
    parts = spans(start, start + length, zone)
    edge = start
    for part in parts:
        assert part.start == edge < part.end
        edge = part.end
        if part.unit == "hour":
            assert part.start.minute == part.end.minute == part.start.microsecond == 0
        if part.unit == "day":
            first, last = part.days(zone)
            assert (midnight(first, zone), midnight(last + timedelta(days=1), zone)) == (part.start, part.end)
    assert edge == start + length
    loose = sum((part.end - part.start for part in parts if part.unit == "instant"), timedelta(0))
    assert loose < timedelta(hours=4)


def test_every_filter_is_read() -> None:
    """Covers P-DASH-GEN-09, P-DASH-GEN-10."""
    filters = asked(
        provider="openai",
        model="gpt-4o",
        tag=["feature=chat", "tenant=a=b", "feature=chat"],
        without="user.id",
        status="unpriced",
        stream="TRUE",
        usage="stream_final",
        min_cost="$0.05",
        q=" abc ",
    )
    assert filters == Filters(
        period=filters.period,
        provider="openai",
        model="gpt-4o",
        tags=(("feature", "chat"), ("tenant", "a=b")),
        without_tags=("user.id",),
        status="unpriced",
        stream=True,
        usage_source="stream_final",
        min_cost=Decimal("0.05"),
        search="abc",
    )


def test_blank_values_are_no_filters() -> None:
    """Covers P-DASH-GEN-09, P-DASH-GEN-12."""
    blank = asked(
        provider="", model=" ", tag="", status="", stream="", q="", range="", unknown="x", **{"tag[feature]": "x"}
    )
    assert blank == asked()
    assert not blank.is_narrowed


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"range": "forever"}, "There is no period 'forever'"),
        ({"from": "yesterday"}, "'yesterday' is not a date"),
        ({"from": "0000-01-01"}, "'0000-01-01' is not a date"),
        ({"from": "0001-01-01", "to": "0001-01-02"}, "0001-01-01 is out of range"),
        ({"to": "9999-12-31"}, "9999-12-31 is out of range"),
        ({"to": "0001-01-01"}, "0001-01-01 is out of range"),
        ({"from": "2026-01-02", "to": "2026-01-01"}, "The range ends before it begins"),
        ({"from": "2025-01-01", "to": "2026-01-02"}, "at most 366 days"),
        ({"provider": "x" * 65}, "'provider' is too long"),
        ({"model": "x" * 10_240}, "'model' is too long"),
        ({"provider": "a\0b"}, "NUL"),
        ({"tag": "a=\0"}, "NUL"),
        ({"provider": ["a", "b"]}, "'provider' is given more than once"),
        ({"tag": "feature"}, "'feature' is not a tag filter"),
        ({"tag": "fea ture=x"}, "'fea ture' is not a tag key"),
        ({"tag": "a" * 129 + "=x"}, "is not a tag key"),
        ({"tag": "a=" + "x" * 1025}, "too long"),
        ({"tag": [f"a{n}=x" for n in range(5_000)]}, "5000 times"),
        ({"without": "'; drop"}, "is not a tag key"),
        ({"status": "fine"}, "'fine' is no status: choose ok, error"),
        ({"usage": "guess"}, "'guess' is no usage"),
        ({"stream": "maybe"}, "'maybe' does not say"),
        ({"min_cost": "abc"}, "'abc' is no minimum cost"),
        ({"min_cost": "-1"}, "no minimum cost"),
        ({"min_cost": "nan"}, "no minimum cost"),
        ({"min_cost": "1e999999"}, "no minimum cost"),
        ({"min_cost": "9" * 5_000}, "no minimum cost"),
        ({"q": "x" * 201}, "'q' is too long"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(parameters: dict[str, str | list[str]], message: str) -> None:
    """Covers P-DASH-GEN-04, P-DASH-GEN-05, P-DASH-GEN-06, P-DASH-GEN-07, P-DASH-GEN-11."""
    with pytest.raises(InvalidFilterError) as refused:
        asked(**parameters)
    assert message in str(refused.value)
    assert len(str(refused.value)) < 300


words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=40).filter(
    lambda text: text == text.strip()
)
keys = st.from_regex(r"[A-Za-z0-9_.\-/]{1,20}", fullmatch=True)


@given(
    provider=st.none() | words,
    model=st.none() | words,
    tags=st.lists(st.tuples(keys, words), max_size=5, unique=True),
    without=st.lists(keys, max_size=3, unique=True),
    status=st.none() | st.sampled_from(STATUSES),
    stream=st.none() | st.booleans(),
    usage=st.none() | st.sampled_from(USAGE_SOURCES),
    min_cost=st.none() | st.decimals(0, 1000, places=9),
    search=st.none() | words,
    period=st.sampled_from(
        [{}, {"range": ["24h"]}, {"range": ["month"]}, {"from": ["2026-01-05"], "to": ["2026-02-01"]}]
    ),
)
def test_filters_survive_the_way_through_a_url(
    provider: str | None,
    model: str | None,
    tags: list[tuple[str, str]],
    without: list[str],
    status: str | None,
    stream: bool | None,
    usage: str | None,
    min_cost: Decimal | None,
    search: str | None,
    period: dict[str, list[str]],
) -> None:
    """A shared link shows the same thing: what is written is read back as it was."""
    filters = Filters(
        period=parse_filters(period, timezone=BERLIN, now=NOW).period,
        provider=provider,
        model=model,
        tags=tuple(tags),
        without_tags=tuple(without),
        status=status,
        stream=stream,
        usage_source=usage,
        min_cost=min_cost,
        search=search,
    )
    assert parse_filters(filters.as_args(), timezone=BERLIN, now=NOW) == filters


@given(
    st.dictionaries(
        st.sampled_from(["range", "from", "to", "tag", "without", "min_cost", "stream", "q"]), st.lists(st.text())
    )
)
def test_no_parameters_can_do_worse_than_be_refused(parameters: dict[str, list[str]]) -> None:
    with suppress(InvalidFilterError):
        parse_filters(parameters, timezone=UTC_ZONE, now=NOW)


def test_groups_are_spelled_the_way_they_are_read() -> None:
    for group in (MODEL, PROVIDER, Group("tag", "a.b/c-d")):
        assert Group.parse(str(group)) == group
    for wrong in ("", "tag", "tag:", "tag:a b", "models", "tag:" + "x" * 200):
        with pytest.raises(InvalidFilterError):
            Group.parse(wrong)


@pytest.mark.parametrize(
    "text", ["", "1", "a.b", "1.2.3", "-1.-1", "1.99999999999999999999", "9223372036854775808.1", "１.2"]
)
def test_a_cursor_that_is_none_is_refused(text: str) -> None:
    for order in (Order("time"), Order("cost")):
        with pytest.raises(InvalidFilterError):
            parse_cursor(text, order, backwards=False)


def test_a_cursor_must_suit_its_order() -> None:
    """A time beyond the calendar, or an unknown where nothing can be unknown, is refused."""
    assert parse_cursor("none.7", Order("cost"), backwards=True) == Cursor(None, 7, backwards=True)
    assert parse_cursor("9223372036854775807.7", Order("output"), backwards=False).value == 2**63 - 1
    for text, order in [
        ("none.7", Order("time")),
        ("none.7", Order("input")),
        ("9223372036854775807.7", Order("time")),
    ]:
        with pytest.raises(InvalidFilterError):
            parse_cursor(text, order, backwards=False)
