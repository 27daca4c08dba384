"""The list of calls and one call: filters, pages, the receipt, exports."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from flask.testing import FlaskClient

from flask_llm_cost.ledger.event import Event
from tests.integration.dashboard.page_text import rows_of, text_of

MakeEvent = Callable[..., Event]
Dashboard = Callable[..., FlaskClient]


def test_the_list_shows_calls_newest_first(dashboard: Dashboard, recent: Callable[..., Event]) -> None:
    """Covers P-DASH-CALL-01, P-DASH-CALL-02."""
    now = datetime.now(UTC) - timedelta(minutes=5)
    html = (
        dashboard(
            recent(tracked_at=now, model="older", input_tokens=1200, cache_read_input_tokens=0, output_tokens=300),
            recent(tracked_at=now + timedelta(minutes=1), model="newer", total_cost=None, cost_status="unknown"),
            recent(
                tracked_at=now + timedelta(minutes=2),
                status="error",
                error_type="429",
                total_cost=None,
                cost_status=None,
                latency_ms=None,
                input_tokens=0,
                cache_read_input_tokens=0,
                output_tokens=0,
            ),
        )
        .get("/costs/calls")
        .text
    )
    rows = rows_of(html)
    assert [re.sub(r"^\w+ \d+, [\d:]+ ", "", row) for row in rows] == [
        "openai gpt-4o error feature chat tenant acme 0 0 n/a –",
        "openai newer feature chat tenant acme 10% cached 1,000 500 850 ms no price",
        "openai older feature chat tenant acme 1,200 300 850 ms $0.007375",
    ]
    assert "3 calls · $0.007375 lower bound" in text_of(html)


def test_every_filter_narrows_the_list_and_stays_in_the_form(
    dashboard: Dashboard, recent: Callable[..., Event]
) -> None:
    """Filters narrow, are shown, survive every link and submit, and can be removed one by one.

    Covers P-DASH-GEN-09, P-DASH-GEN-15, P-DASH-GEN-16, P-DASH-CALL-07, and what P-DASH-GEN-17 marks as weak.
    """
    client = dashboard(recent(model="wanted", tags={"feature": "a=b&c", "x": "1"}, stream=True), recent(model="other"))
    query = "?provider=openai&model=wanted&tag=feature%3Da%3Db%26c&stream=yes&usage=response&min_cost=0.001&q=WANT"
    html = client.get("/costs/calls" + query).text
    assert len(rows_of(html)) == 1
    form = html[html.index("<form") : html.index("</form>")]
    assert '<option value="wanted" selected>' in form
    assert '<option value="yes" selected>' in form
    assert '<option value="response" selected>' in form
    assert 'name="q" value="WANT"' in form
    assert '<input type="hidden" name="tag" value="feature=a=b&amp;c">' in form
    for name in ("sort-cost", "nav"):
        link = re.search(rf'id="lc-{name}".*?href="([^"]+)"', html, re.DOTALL)
        assert link
        kept = parse_qs(urlsplit(unescape(link[1])).query)
        assert {key: kept[key] for key in ("tag", "usage", "stream", "q")} == {
            "tag": ["feature=a=b&c"],
            "usage": ["response"],
            "stream": ["yes"],
            "q": ["WANT"],
        }
    chip = re.search(r'href="([^"]+)" aria-label="Remove filter feature=a=b&amp;c"', html)
    assert chip
    assert "tag" not in parse_qs(urlsplit(unescape(chip[1])).query)
    assert '<a class="lc-link" href="/costs/calls">Reset</a>' in html
    assert "Reset" not in client.get("/costs/calls").text


def test_pages_of_the_list_lead_on_and_back(dashboard: Dashboard, recent: Callable[..., Event]) -> None:
    """Older, then newer again, with the page size and the order kept. Covers P-DASH-CALL-03, P-DASH-CALL-04."""
    client = dashboard(*(recent(output_tokens=index) for index in range(60)))

    def follow(html: str, relation: str) -> str:
        link = re.search(rf'rel="{relation}" href="([^"]+)"', html)
        assert link
        return client.get(unescape(link[1])).text

    first = client.get("/costs/calls?per=25&sort=output").text
    second = follow(first, "next")
    third = follow(second, "next")
    assert [len(rows_of(page)) for page in (first, second, third)] == [25, 25, 10]
    assert 'rel="prev"' not in first
    assert 'rel="next"' not in third
    assert rows_of(follow(third, "prev")) == rows_of(second)
    assert rows_of(follow(second, "prev")) == rows_of(first)
    assert 'aria-sort="descending"' in third
    assert re.search(r'aria-current="true">25</a>', third)


def test_a_call_shows_its_receipt(dashboard: Dashboard, recent: Callable[..., Event]) -> None:
    """Meter × quantity × rate = cost, where each rate came from, and everything that was recorded.

    Covers P-DASH-CALL-09, and what P-DASH-CALL-12 marks as weak.
    """
    receipt = {
        "key": "openai/gpt-4o",
        "layer": "bundled",
        "stage": "snapshot",
        "source": "genai-prices",
        "effective_from": "2026-01-02T00:00:00+00:00",
        "lines": [
            {"meter": "input", "quantity": 900, "rate": "2.5", "per": 1_000_000, "cost": "0.00225", "source": "manual"},
            {
                "meter": "tool.web_search",
                "quantity": 2,
                "rate": "10",
                "per": 1000,
                "cost": "0.02",
                "inherited": "request",
            },
        ],
        "raw_usage": {"prompt_tokens": 1000},
        "notes": ["inconsistent"],
    }
    client = dashboard(recent(receipt=receipt, cache_saved=Decimal("0.000462"), first_token_ms=404, stream=True))
    text = text_of(client.get("/costs/calls/1").text)
    assert "matched openai/gpt-4o (snapshot) in bundled · genai-prices · since 2026-01-02" in text
    assert "input manual 900 $2.50 / 1M manual $0.00225" in text
    assert "tool. web_search (rate of request) 2 $10.00 / 1,000 – (rate of request) $0.02000" in text
    assert "Cost $0.007375 $0.0005 saved" not in text
    assert "$0.000462 saved by caching" in text
    assert "first token after 404 ms" in text
    assert "900" in text
    for recorded in ("Response id resp_1", "Captured by httpx", "Usage from the response", "Notes inconsistent"):
        assert recorded in text
    assert '"prompt_tokens": 1000' in text
    assert "Why is this" not in text


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"total_cost": None, "cost_status": "unknown", "model": "mystery"},
            [
                "Why is this unknown? No price table knows openai/mystery.",
                'LLM_COST_PRICING_OVERRIDES = {"openai/mystery": {"input": "0.00", "output": "0.00"}}',
                'LLM_COST_MODEL_ALIASES = {"mystery": "provider/model"}',
                "pricing not available for this call",
            ],
        ),
        (
            {"total_cost": None, "cost_status": "unknown", "usage_source": "unknown", "stream": True},
            ["This stream ended without its usage", 'stream_options={"include_usage": True}'],
        ),
        (
            {
                "cost_status": "partial",
                "receipt": {"lines": [{"meter": "cache_write", "quantity": 5, "per": 1}], "reason": "missing_rate"},
            },
            ["Why is this a lower bound?", "says nothing about cache_write", '{"cache_write_input": "0.00"}'],
        ),
    ],
)
def test_an_unknown_cost_is_explained_with_what_mends_it(
    dashboard: Dashboard, recent: Callable[..., Event], changes: dict[str, Any], expected: list[str]
) -> None:
    """Covers P-DASH-CALL-10."""
    text = text_of(dashboard(recent(**changes)).get("/costs/calls/1").text)
    for part in expected:
        assert part in text


@pytest.mark.parametrize("reference", ["2", "0", "9" * 19, "9" * 40, "-1", "1.5", "abc", "1%00", "x" * 5_000, "1/2"])
def test_a_call_that_is_not_there_is_a_404(dashboard: Dashboard, recent: Callable[..., Event], reference: str) -> None:
    """Covers P-DASH-CALL-13."""
    answer = dashboard(recent()).get(f"/costs/calls/{reference}")
    assert answer.status_code == 404
    assert reference == "1/2" or "Call not found" in answer.text


def test_a_call_is_found_by_its_event_id(dashboard: Dashboard, recent: Callable[..., Event]) -> None:
    event = recent(model="by-event-id")
    assert "by-event-id" in dashboard(event).get(f"/costs/calls/{event.event_id}").text


def test_a_call_leads_back_to_the_list_one_came_from(dashboard: Dashboard, recent: Callable[..., Event]) -> None:
    """Its links keep the filters; filters that make no sense do not hide the call. Covers P-DASH-CALL-09."""
    client = dashboard(recent())
    html = client.get("/costs/calls?status=ok&tag=feature%3Dchat").text
    row = re.search(r'class="lc-rowlink" href="([^"]+)"', html)
    assert row
    assert 'href="/costs/calls?tag=feature%3Dchat&amp;status=ok">Calls</a> / 1' in client.get(unescape(row[1])).text
    assert client.get("/costs/calls/1?status=nonsense").status_code == 200


def test_long_tags_are_cut_and_many_are_counted(dashboard: Dashboard, recent: Callable[..., Event]) -> None:
    """Three are shown, the rest counted; what is long is cut and whole in its title. Covers P-DASH-GEN-20."""
    tags = {"long": "x" * 600, **{f"k{index}": "v" for index in range(5)}}
    html = dashboard(recent(tags=tags)).get("/costs/calls").text
    (row,) = rows_of(html)
    assert "+3" in row
    assert "x" * 27 + "…" in row
    assert "x" * 28 not in row
    assert max(len(title) for title in re.findall(r'title="([^"]*)"', html)) == 512


def test_calls_are_exported_with_the_filters_and_the_order(dashboard: Dashboard, recent: Callable[..., Event]) -> None:
    """Every column, exact decimals, ISO times, tags as JSON, no formulas.

    Covers P-DASH-CSV-01, P-DASH-CSV-02, P-DASH-CSV-04.
    """
    dear = recent(total_cost=Decimal("2.000000001"), tags={"feature": "chat", "a": "ü"}, model="=cmd()")
    client = dashboard(dear, recent(), recent(provider="other"))
    answer = client.get("/costs/calls.csv?provider=openai&sort=cost")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert re.fullmatch(r'attachment; filename="llm-calls-\d{8}-\d{6}\.csv"', answer.headers["Content-Disposition"])
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["total_cost"] for row in rows] == ["2.000000001", "0.007375000"]
    assert rows[0]["model"] == "'=cmd()"
    assert rows[0]["tags"] == '{"a": "ü", "feature": "chat"}'
    assert datetime.fromisoformat(rows[0]["tracked_at"]) == dear.tracked_at
    assert (rows[0]["stream"], rows[0]["pricing_mode"], rows[0]["event_id"]) == ("false", "", str(dear.event_id))
