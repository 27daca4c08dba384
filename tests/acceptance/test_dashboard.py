"""The dashboard over the demo's data, in a real browser: it loads, it leads on, it complains of nothing."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, expect

pytestmark = pytest.mark.browser


def fits(page: Page) -> bool:
    """Whether the page needs no sideways scrolling."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"))


def test_every_page_loads_without_a_complaint_and_fits_its_width(any_page: Page, demo: str) -> None:
    """Covers P-DASH-GEN-01, P-AST-01. The policy is enforced: a violation would be a console error."""
    page = any_page
    response = page.goto(f"{demo}/llm-costs/")
    assert response is not None
    assert response.status == 200
    assert "default-src 'none'" in response.headers["content-security-policy"]
    expect(page.get_by_role("heading", name="Daily spend")).to_be_visible()
    expect(page.locator(".lc-plot a.lc-col").first).to_be_attached()
    assert fits(page)

    page.goto(f"{demo}/llm-costs/calls")
    expect(page.locator("table.lc-calls tbody tr")).to_have_count(50)
    assert fits(page)

    page.locator("a.lc-rowlink").first.click()
    expect(page.get_by_role("heading", name="Where the cost comes from")).to_be_visible()
    assert fits(page)


def test_filters_live_in_the_url_and_survive_back_and_reload(page: Page, demo: str) -> None:
    """Covers P-DASH-GEN-09, P-DASH-GEN-17."""
    page.goto(f"{demo}/llm-costs/calls")
    page.get_by_label("Provider").select_option("anthropic")
    page.wait_for_url(re.compile(r"provider=anthropic"))
    expect(page.locator(".lc-calls .lc-prov").first).to_have_text("anthropic")
    expect(page.locator(".lc-calls .lc-prov").filter(has_text="openai")).to_have_count(0)

    page.reload()
    expect(page.get_by_label("Provider")).to_have_value("anthropic")
    page.go_back()
    expect(page.get_by_label("Provider")).to_have_value("")


def test_older_pages_are_reached_one_after_the_other(page: Page, demo: str) -> None:
    """Covers P-DASH-CALL-02."""
    page.goto(f"{demo}/llm-costs/calls?per=25")
    seen: set[str] = set()
    for _ in range(3):
        expect(page.locator("table.lc-calls tbody tr")).to_have_count(25)
        links = page.locator("a.lc-rowlink").evaluate_all("links => links.map(link => link.href)")
        assert seen.isdisjoint(links)
        seen.update(links)
        newest = page.locator("a.lc-rowlink").first.get_attribute("href")
        page.get_by_role("link", name="Older").click()
        expect(page.locator("a.lc-rowlink").first).not_to_have_attribute("href", newest or "")
    assert len(seen) == 75


def test_a_bar_leads_to_the_calls_of_its_day(page: Page, demo: str) -> None:
    page.goto(f"{demo}/llm-costs/")
    day = page.locator(".lc-plot a.lc-col").nth(-2)
    href = day.get_attribute("href")
    assert href is not None
    page.goto(demo + href if href.startswith("/") else href)
    expect(page.locator("table.lc-calls tbody tr").first).to_be_attached()
    assert re.search(r"from=\d{4}-\d\d-\d\d", page.url)


def test_a_call_made_now_is_on_the_calls_page(page: Page, demo: str) -> None:
    """A form of the demo → a real SDK → the local provider → the ledger → the dashboard."""
    page.goto(f"{demo}/llm-costs/calls?range=24h")
    newest = page.locator("a.lc-rowlink").first.get_attribute("href")
    page.goto(f"{demo}/")
    page.locator("form[action='/summaries']").get_by_role("button").click()
    page.wait_for_load_state("load")

    page.goto(f"{demo}/llm-costs/calls?range=24h&tag=feature%3Dsummaries")
    expect(page.locator("a.lc-rowlink").first).not_to_have_attribute("href", newest or "")
    page.locator("a.lc-rowlink").first.click()
    expect(page.locator("main")).to_contain_text("summaries")


def test_the_keyboard_walks_the_chart_and_opens_a_day(page: Page, demo: str) -> None:
    page.goto(f"{demo}/llm-costs/")
    page.locator(".lc-plot a.lc-col[tabindex='0']").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".lc-plot a.lc-col:focus")).to_have_count(1)
    expect(page.locator(".lc-tip")).to_be_visible()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/calls\?"))


def test_without_javascript_filters_have_an_apply_button(browser: Browser, demo: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{demo}/llm-costs/calls")
    page.get_by_label("Provider").select_option("gemini")
    page.get_by_role("button", name="Apply").click()
    assert "provider=gemini" in page.url
    expect(page.locator(".lc-calls .lc-prov").first).to_have_text("gemini")
    context.close()
