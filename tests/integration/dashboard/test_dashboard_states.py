"""What pages do besides showing figures: empty, missing, refused, hostile, in part; and nothing breaks them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from html import unescape
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from flask_llm_cost import LLMCost
from flask_llm_cost.ledger import Ledger
from flask_llm_cost.ledger.event import Event
from flask_llm_cost.state import current_state
from tests.integration.dashboard.page_text import rows_of, text_of

MakeEvent = Callable[..., Event]
Dashboard = Callable[..., FlaskClient]
HTMX = {"HX-Request": "true"}
HOSTILE = "\"><script>alert(1)</script>'\u202e{{7*7}}"


def test_an_empty_ledger_shows_how_to_record_a_first_call(dashboard: Dashboard) -> None:
    """Covers P-DASH-OVR-01."""
    client = dashboard()
    for page in ("/costs/", "/costs/calls"):
        answer = client.get(page)
        assert answer.status_code == 200
        assert "No LLM calls yet" in answer.text
        assert "client = llm_cost.wrap(OpenAI())" in answer.text


def test_filters_that_match_nothing_offer_to_clear_them(dashboard: Dashboard, recent: Callable[..., Event]) -> None:
    """Covers P-DASH-CALL-08."""
    client = dashboard(recent())
    for page in ("/costs/", "/costs/calls"):
        html = client.get(page + "?provider=nobody").text
        assert "No calls match" in html
        assert f'<a class="lc-btn" href="{page}">Clear filters</a>' in html
        assert '<option value="nobody" selected>' in html


def test_missing_tables_show_the_migration_command(
    make_app: Callable[..., tuple[Flask, LLMCost]], tmp_path: Path
) -> None:
    """200 with what to run, for pages, fragments and exports alike. Covers P-DASH-GEN-02."""
    app, llm_cost = make_app()
    app.register_blueprint(llm_cost.dashboard, url_prefix="/costs")
    with app.app_context():
        current_state().ledger.downgrade("base")
    client = app.test_client()
    for page in ("/costs/", "/costs/calls", "/costs/calls/1", "/costs/calls.csv", "/costs/spend.csv"):
        answer = client.get(page)
        assert answer.status_code == 200
        assert f"flask --app {app.import_name} llm-cost db upgrade" in answer.text
        assert "llm_cost_calls" in answer.text
    assert client.get("/costs/", headers=HTMX).text.startswith('<div id="lc-results">')


def test_a_database_that_is_away_is_said_without_its_details(
    dashboard: Dashboard, recent: Callable[..., Event], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """503 with a way to try again; no SQL, no path, no traceback. Covers P-DASH-GEN-03."""
    client = dashboard(recent())
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in (tmp_path / "app0").glob("llm_cost.db*"):
        file.unlink()
    (tmp_path / "app0" / "llm_cost.db").write_bytes(b"this is no database" * 500)
    with client.application.app_context():
        ledger: Ledger = current_state().ledger
        ledger.engine.dispose()
    for page in ("/costs/?range=7d", "/costs/calls", "/costs/calls/1", "/costs/calls.csv"):
        answer = client.get(page)
        assert answer.status_code == 503
        assert "Database unavailable" in answer.text
        assert f'href="{page}">Retry' in answer.text
        assert not re.search(r"SELECT|sqlite|Traceback|llm_cost\.db", answer.text)


ABSURD = [
    "page=" + "1" + "0" * 30,
    "per=999999999999",
    "per=-1",
    "sort=password",
    "dir=sideways",
    "after=1",
    "after=9999999999999999999.1",
    "before=none.1",
    "after=1.1&before=1.1",
    "from=0000-00-00",
    "from=0001-01-01&to=9999-12-31",
    "to=9999-12-31",
    "from=2026-02-01&to=2026-01-01",
    "from=2020-01-01&to=2026-01-01",
    "range=" + "9" * 10_240,
    "provider=%00",
    "model=" + "x" * 10_240,
    "tag=" + "x" * 10_240,
    "tag=a=" + "x" * 10_240,
    "&".join(f"tag=a{index}=b" for index in range(3_000)),
    "tag=%00=1",
    "without=%27%20OR%201",
    "status=1",
    "stream=2",
    "usage=3",
    "min_cost=NaN",
    "min_cost=1e400",
    "q=" + "x" * 10_240,
    "group=tag:" + "x" * 10_240,
    "group=" + "%22%3E%3Cscript%3E",
]


@pytest.mark.parametrize("query", ABSURD, ids=lambda query: query[:30])
def test_absurd_parameters_are_answered_in_place(
    dashboard: Dashboard, recent: Callable[..., Event], query: str
) -> None:
    """400 with the reason beside the form; a fragment goes to the form's error slot. Never a 500.

    Covers P-DASH-GEN-04, P-DASH-GEN-05, P-DASH-GEN-06, and what P-DASH-CALL-06 marks as weak.
    """
    client = dashboard(recent())
    page = "/costs/" if query.startswith("group") else "/costs/calls"
    whole, fragment = client.get(f"{page}?{query}"), client.get(f"{page}?{query}", headers=HTMX)
    assert (whole.status_code, fragment.status_code) == (400, 400)
    assert 'id="lc-filters"' in whole.text
    assert "<b>Invalid filter.</b>" in whole.text
    assert "<script>" not in whole.text
    assert len(whole.text) < 30_000
    assert fragment.text.strip().startswith('<p class="lc-error">')
    assert (fragment.headers["HX-Retarget"], fragment.headers["HX-Reswap"]) == ("#lc-filter-error", "innerHTML")
    assert "HX-Push-Url" not in fragment.headers


def test_a_refused_form_keeps_what_was_typed(dashboard: Dashboard, recent: Callable[..., Event]) -> None:
    html = dashboard(recent()).get("/costs/calls?min_cost=abc&q=resp&provider=openai&from=2026-01-05").text
    assert 'name="min_cost" value="abc"' in html
    assert 'name="q" value="resp"' in html
    assert 'name="from" value="2026-01-05"' in html
    assert '<option value="openai" selected>' in html


def test_hostile_values_are_text(dashboard: Dashboard, recent: Callable[..., Event]) -> None:
    """Markup, quotes, templates and bidirectional overrides from the ledger and from the address stay text.

    Covers P-DASH-GEN-18.
    """
    client = dashboard(
        recent(
            model=HOSTILE,
            provider=HOSTILE[:40],
            tags={"feature": HOSTILE},
            error_type=HOSTILE[:60],
            status="error",
            provider_response_id=HOSTILE,
            receipt={
                "lines": [{"meter": HOSTILE, "quantity": 1, "source": HOSTILE}],
                "key": HOSTILE,
                "notes": [HOSTILE],
            },
        )
    )
    for page in ("/costs/", "/costs/?group=tag:feature", "/costs/calls", "/costs/calls/1"):
        html = client.get(page).text
        assert "<script>alert" not in html
        assert "49" not in re.findall(r"\u202e(..)", html)
        assert "&lt;script&gt;" in html
    html = client.get("/costs/calls", query_string={"q": HOSTILE, "tag": f"feature={HOSTILE}", "model": HOSTILE}).text
    assert "<script>alert" not in html
    assert len(rows_of(html)) == 1


def test_htmx_gets_the_fragment_and_the_address_to_show(dashboard: Dashboard, recent: Callable[..., Event]) -> None:
    """A fragment with the results, the status and the navigation; a history entry and a boosted link get the page."""
    client = dashboard(recent())
    for page in ("/costs/", "/costs/calls"):
        fragment = client.get(page + "?provider=openai&model=", headers=HTMX)
        assert fragment.text.lstrip().startswith('<div id="lc-results">')
        assert "<html" not in fragment.text
        assert '<p id="lc-live" class="lc-vh" role="status" hx-swap-oob="true">' in fragment.text
        assert '<nav class="lc-nav" id="lc-nav" aria-label="LLM costs" hx-swap-oob="true">' in fragment.text
        assert fragment.headers["HX-Push-Url"] == page + "?provider=openai"
        for other in ("HX-History-Restore-Request", "HX-Boosted"):
            whole = client.get(page, headers={**HTMX, other: "true"})
            assert whole.text.startswith("<!doctype html>")
            assert "HX-Push-Url" not in whole.headers
        assert "hx-swap-oob" not in client.get(page).text


def test_a_refresh_fills_no_history(dashboard: Dashboard, recent: Callable[..., Event]) -> None:
    client = dashboard(recent())
    shown = {**HTMX, "HX-Current-URL": "http://localhost/costs/calls?refresh=on"}
    assert "HX-Push-Url" not in client.get("/costs/calls?refresh=on&provider=", headers=shown).headers
    assert client.get("/costs/calls?sort=cost", headers=shown).headers["HX-Push-Url"] == "/costs/calls?sort=cost"


def test_pages_say_whose_days_they_show(dashboard: Dashboard, recent: Callable[..., Event]) -> None:
    """Covers what P-DASH-GEN-21 marks as weak: one time zone everywhere, and it is said."""
    client = dashboard(recent(tracked_at=datetime(2026, 5, 1, 22, 30, tzinfo=UTC)), LLM_COST_TIMEZONE="Europe/Berlin")
    html = client.get("/costs/calls?from=2026-05-02&to=2026-05-02").text
    assert "Times and day boundaries: Europe/Berlin" in text_of(html)
    assert rows_of(html)[0].startswith("May 2, 00:30:00")
    assert "price table of 20" in text_of(html)


@pytest.mark.parametrize(
    ("metadata", "footer"),
    [
        ({"updated_at": "2026-01-31"}, "the price table of 2026-01-31 older than 30 days"),
        ({"updated_at": "2199-01-01"}, "the price table of 2199-01-01 flask-llm-cost"),
        ({}, "a price table without a date flask-llm-cost"),
    ],
)
def test_the_footer_says_how_old_the_prices_in_use_are(
    metadata: dict[str, str], footer: str, dashboard: Dashboard, recent: Callable[..., Event], tmp_path: Path
) -> None:
    """Those of the app's own file, where it has one, without its path. Covers P-EXP-06."""
    path = tmp_path / "prices.json"
    path.write_text(json.dumps({"metadata": metadata, "models": {}}))
    html = dashboard(recent(), LLM_COST_PRICES_FILE=str(path)).get("/costs/").text
    assert f"Costs are estimates from {footer}" in text_of(html)
    assert str(path) not in html


def test_only_pages_that_exist_are_linked(dashboard: Dashboard, recent: Callable[..., Event]) -> None:
    """Every link of every page leads somewhere. Covers P-DASH-GEN-01 as far as pages exist."""
    client = dashboard(recent())
    for page in ("/costs/", "/costs/calls", "/costs/calls/1", "/costs/?provider=nobody", "/costs/calls/none"):
        html = client.get(page).text
        for link in set(re.findall(r'href="([^"]+)"', html)):
            assert link == "#lc-main" or client.get(unescape(link)).status_code == 200, link
