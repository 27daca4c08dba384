"""Who may see the dashboard, with which headers, and wherever it is mounted."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from flask import Blueprint, Flask, Response, abort, redirect
from flask.testing import FlaskClient

from flask_llm_cost import LLMCost
from flask_llm_cost.dashboard.blueprint import create_dashboard, set_guard
from flask_llm_cost.dashboard.rendering import CONTENT_SECURITY_POLICY
from flask_llm_cost.ledger import Ledger
from flask_llm_cost.ledger.event import Event
from flask_llm_cost.state import current_state

MakeEvent = Callable[..., Event]
PAGES = ("/costs/", "/costs/calls", "/costs/calls/1", "/costs/calls.csv", "/costs/spend.csv", "/costs/calls/none")


@pytest.fixture
def make_host(tmp_path: Path) -> Iterator[Callable[..., Flask]]:
    """Apps outside debug and testing, with a migrated ledger of their own, but nothing mounted."""
    hosts: list[Flask] = []

    def make_host(name: str = "host", **config: Any) -> Flask:
        app = Flask(name, instance_path=str(tmp_path / name))
        (tmp_path / name).mkdir()
        app.config.update({"LLM_COST_DURABILITY": "sync", **config})
        LLMCost(app)
        ledger_of(app).upgrade()
        hosts.append(app)
        return app

    yield make_host
    for app in hosts:
        ledger_of(app).shutdown(timeout=5)


def ledger_of(app: Flask) -> Ledger:
    with app.app_context():
        return current_state().ledger


@pytest.fixture
def guarded(make_host: Callable[..., Flask], make_event: MakeEvent) -> Callable[..., FlaskClient]:
    """A client of an app whose dashboard has the given guard."""

    def guarded(guard: Callable[[], object] | None = None, **config: Any) -> FlaskClient:
        app = make_host(**config)
        ledger_of(app).write([make_event(tracked_at=datetime.now(UTC))])
        dashboard = create_dashboard()
        if guard is not None:
            assert set_guard(dashboard, guard) is guard
        app.register_blueprint(dashboard, url_prefix="/costs")
        return app.test_client()

    return guarded


def test_it_is_closed_until_the_app_says_who_may_look(guarded: Callable[..., FlaskClient]) -> None:
    """403 on every page and export, with how to open it, styled, and without a single figure.

    Covers what P-DASH-GEN-22 leaves to the host.
    """
    client = guarded()
    for page in PAGES:
        answer = client.get(page)
        assert answer.status_code == 403
        assert "@llm_cost.dashboard_guard" in answer.text
        assert "LLM_COST_DASHBOARD_PUBLIC = True" in answer.text
        assert "gpt-4o" not in answer.text
        assert answer.headers["Cache-Control"] == "private, no-store"
    for address in re.findall(r'(?:href|src)="([^"]+\?v=[^"]+)"', client.get("/costs/").text):
        assert client.get(address).status_code == 200


def test_a_refused_fragment_reloads_the_page(guarded: Callable[..., FlaskClient]) -> None:
    """A 403 must not be swapped into a panel."""
    answer = guarded().get("/costs/calls", headers={"HX-Request": "true"})
    assert (answer.status_code, answer.headers["HX-Refresh"]) == (403, "true")


@pytest.mark.parametrize("config", [{"DEBUG": True}, {"TESTING": True}, {"LLM_COST_DASHBOARD_PUBLIC": True}])
def test_it_is_open_in_development_and_where_it_is_declared_public(
    guarded: Callable[..., FlaskClient], config: dict[str, bool]
) -> None:
    assert guarded(**config).get("/costs/").status_code == 200


@pytest.mark.parametrize("answer", [True, 1, "somebody", object()])
def test_anything_true_opens_it(guarded: Callable[..., FlaskClient], answer: object) -> None:
    assert guarded(lambda: answer).get("/costs/").status_code == 200


@pytest.mark.parametrize("answer", [False, None, 0, "", []])
def test_anything_false_refuses_even_in_development(guarded: Callable[..., FlaskClient], answer: object) -> None:
    """A guard decides alone: neither debug mode nor the public setting overrules it."""
    client = guarded(lambda: answer, DEBUG=True, LLM_COST_DASHBOARD_PUBLIC=True)
    assert [client.get(page).status_code for page in PAGES] == [403] * len(PAGES)


def test_a_response_of_the_guard_is_passed_through_untouched(guarded: Callable[..., FlaskClient]) -> None:
    """A redirect to a login page is the app's answer: our mark on it would have it swapped into a panel."""
    answer = guarded(lambda: redirect("/login?next=/costs/")).get("/costs/", headers={"HX-Request": "true"})
    assert (answer.status_code, answer.location) == (302, "/login?next=/costs/")
    assert "X-LLM-Cost" not in answer.headers
    assert "Content-Security-Policy" not in answer.headers


def test_a_guard_may_ask_for_a_password(guarded: Callable[..., FlaskClient]) -> None:
    basic = Response("Who are you?", 401, {"WWW-Authenticate": 'Basic realm="costs"'})
    answer = guarded(lambda: basic).get("/costs/")
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, 'Basic realm="costs"')


def test_a_tuple_is_an_answer_not_a_truth_value(guarded: Callable[..., FlaskClient]) -> None:
    """Views write ("no", 403); as a truth value it would let everybody in."""
    answer = guarded(lambda: ("no", 403)).get("/costs/")
    assert (answer.status_code, answer.text) == (403, "no")


def test_a_guard_may_abort(guarded: Callable[..., FlaskClient]) -> None:
    assert guarded(lambda: abort(401)).get("/costs/").status_code == 401


def test_a_guard_that_raises_refuses_and_is_logged(
    guarded: Callable[..., FlaskClient], caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> bool:
        raise RuntimeError("session store away")

    with caplog.at_level(logging.ERROR, logger="flask_llm_cost"):
        answer = guarded(broken, DEBUG=True).get("/costs/")
    assert answer.status_code == 403
    assert "session store away" in caplog.text
    assert "session store away" not in answer.text


def test_an_asynchronous_guard_never_opens_it_by_being_a_coroutine(guarded: Callable[..., FlaskClient]) -> None:
    async def refuses() -> bool:
        return False

    assert guarded(refuses).get("/costs/").status_code == 403


def test_every_page_has_the_headers_of_a_private_page(guarded: Callable[..., FlaskClient]) -> None:
    client = guarded(lambda: True)
    for page in PAGES:
        headers = client.get(page).headers
        assert headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
        assert headers["Cache-Control"] == "private, no-store"
        assert headers["X-LLM-Cost"] == "1"
        assert {"HX-Request", "HX-History-Restore-Request", "HX-Boosted"} <= set(headers["Vary"].split(", "))


def test_nothing_on_a_page_needs_more_than_the_policy_allows(guarded: Callable[..., FlaskClient]) -> None:
    """No inline style, script or handler, and nothing from elsewhere. Covers P-AST-03."""
    client = guarded(lambda: True)
    for page in ("/costs/", "/costs/calls", "/costs/calls/1"):
        html = client.get(page).text
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:|<script>|hx-on", html)
        assert not re.search(r'(?:src|href)="(?:https?:)?//', html)


def test_only_get_is_answered(guarded: Callable[..., FlaskClient]) -> None:
    """Covers P-DASH-GEN-23."""
    client = guarded(lambda: True)
    assert {client.open(page, method="POST").status_code for page in ("/costs/", "/costs/calls", "/costs/calls/1")} == {
        405
    }


def test_assets_are_fingerprinted_and_kept_for_a_year(guarded: Callable[..., FlaskClient]) -> None:
    """A changed file has another address; a wrong fingerprint is a 404. Covers P-AST-01, P-AST-02."""
    client = guarded(lambda: True)
    addresses = set(re.findall(r'(?:href|src)="([^"]+/assets/[^"]+)"', client.get("/costs/").text))
    types = {}
    for address in addresses:
        answer = client.get(address)
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert re.search(r"\?v=[0-9a-f]{12}$", address)
        types[address.rpartition("/")[2].partition("?")[0]] = answer.headers["Content-Type"]
        assert client.get(address[:-1] + ("0" if address[-1] != "0" else "1")).status_code == 404
        assert client.get(address.partition("?")[0]).status_code == 404
    assert types == {
        "base.css": "text/css; charset=utf-8",
        "parts.css": "text/css; charset=utf-8",
        "pages.css": "text/css; charset=utf-8",
        "theme.js": "text/javascript; charset=utf-8",
        "htmx.min.js": "text/javascript; charset=utf-8",
        "dashboard.js": "text/javascript; charset=utf-8",
        "icon.svg": "image/svg+xml; charset=utf-8",
    }
    assert client.get("/costs/assets/../blueprint.py?v=0").status_code == 404


def test_it_works_nested_below_a_script_name(make_host: Callable[..., Flask], make_event: MakeEvent) -> None:
    """Every link of every page, the pushed address too, carries the proxy's prefix and the host's blueprint."""
    app = make_host(TESTING=True)
    ledger_of(app).write([make_event(tracked_at=datetime.now(UTC)) for _ in range(30)])
    admin = Blueprint("admin", "admin", url_prefix="/admin")
    admin.register_blueprint(create_dashboard(), url_prefix="/money")
    app.register_blueprint(admin)
    client = app.test_client()
    proxied = {"SCRIPT_NAME": "/proxy"}
    for page in ("/admin/money/", "/admin/money/calls?per=25", "/admin/money/calls/1"):
        html = client.get(page, environ_overrides=proxied).text
        links = re.findall(r'(?:href|src|action|hx-get)="([^"#][^"]*)"', html)
        assert links
        assert all(link.startswith("/proxy/admin/money/") for link in links), links
    answer = client.get(
        "/admin/money/calls?sort=cost&provider=", headers={"HX-Request": "true"}, environ_overrides=proxied
    )
    assert answer.headers["HX-Push-Url"] == "/proxy/admin/money/calls?sort=cost"


def test_one_dashboard_serves_two_apps_each_with_its_own_ledger(
    make_host: Callable[..., Flask], make_event: MakeEvent
) -> None:
    dashboard = create_dashboard()
    hosts = [make_host(name, TESTING=True) for name in ("first", "second")]
    for app, prefix in zip(hosts, ("/a", "/b"), strict=True):
        ledger_of(app).write([make_event(tracked_at=datetime.now(UTC), model=f"model-of-{app.name}")])
        app.register_blueprint(dashboard, url_prefix=prefix)
    first, second = (app.test_client() for app in hosts)
    assert "model-of-first" in first.get("/a/calls").text
    assert "model-of-first" not in second.get("/b/calls").text
    assert "model-of-second" in second.get("/b/calls").text


def test_it_may_be_mounted_twice_on_one_app(make_host: Callable[..., Flask]) -> None:
    """Links stay within the mount that was asked."""
    app, dashboard = make_host(TESTING=True), create_dashboard()
    app.register_blueprint(dashboard, url_prefix="/one")
    app.register_blueprint(dashboard, url_prefix="/two", name="again")
    assert 'href="/one/calls"' in app.test_client().get("/one/").text
    assert 'href="/two/calls"' in app.test_client().get("/two/").text


def test_the_way_back_to_the_app_is_offered_where_there_is_one(make_host: Callable[..., Flask]) -> None:
    """No dead link to a start page that the app does not have."""
    bare, whole = make_host("bare", TESTING=True), make_host("whole", TESTING=True)
    whole.add_url_rule("/", "home", lambda: "home")
    for app in (bare, whole):
        app.register_blueprint(create_dashboard(), url_prefix="/costs")
    assert "Back to app" not in bare.test_client().get("/costs/").text
    assert '<a class="lc-hide-narrow" href="/">← Back to app</a>' in whole.test_client().get("/costs/").text
