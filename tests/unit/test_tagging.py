"""Tags: scopes, precedence, cleaning, redaction, and life beyond the view."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask, Response, stream_with_context
from hypothesis import given
from hypothesis import strategies as st

from flask_llm_cost import tagging
from flask_llm_cost.settings import Settings


def test_scopes_nest_and_end_also_when_the_block_raises() -> None:
    """Covers P-TAG-01, P-TAG-02, P-TAG-03, P-TAG-04, P-TAG-05."""
    with tagging.tags({"feature": "chat", "env": "a"}, env="b"):
        assert tagging.scoped_tags() == {"feature": "chat", "env": "b"}
        with pytest.raises(ZeroDivisionError), tagging.tags(feature="summary"):
            assert tagging.scoped_tags() == {"feature": "summary", "env": "b"}
            _ = 1 / 0
        assert tagging.scoped_tags() == {"feature": "chat", "env": "b"}
    assert tagging.scoped_tags() == {}


def test_the_most_specific_setter_wins() -> None:
    """Covers P-TAG-06, P-TAG-07."""
    defaults = {"env": "test", "feature": "default"}
    scope = {"feature": "chat", "request_id": "r"}
    explicit = {"feature": "summary", "user_id": "42"}
    assert tagging.merge(defaults, scope, explicit) == {
        "env": "test",
        "request_id": "r",
        "feature": "summary",
        "user_id": "42",
    }


def test_at_the_cap_the_least_specific_tags_go_first() -> None:
    """Covers P-TAG-20, P-TAG-21, P-TAG-23."""
    merged = tagging.merge({"default": "1"}, {"scope": "2"}, {"explicit": "3"})
    assert tagging.clean(merged, Settings(max_tags=2)) == {"scope": "2", "explicit": "3"}
    assert tagging.clean(merged, Settings(max_tags=0)) == {}


def test_a_later_change_by_the_caller_has_no_effect() -> None:
    """Covers P-TAG-10."""
    mine = {"a": [1]}
    with tagging.tags(mine):
        mine["a"].append(2)
        assert tagging.scoped_tags() == {"a": "[1]"}


@pytest.mark.parametrize(
    ("value", "text"), [(42, "42"), (None, ""), (True, "true"), (1.5, "1.5"), ({"b": 1, "a": 2}, '{"a": 2, "b": 1}')]
)
def test_values_become_text(value: object, text: str) -> None:
    """Covers P-TAG-34, P-TAG-35."""
    assert tagging.as_text(value) == text


@pytest.mark.parametrize(
    "key",
    [
        "openai.APIKey",
        "accessToken",
        "x-api-key",
        "api__key",
        "apiKeyID",
        "client_secret",
        "secretKey",
        "my_password_hint",
        "credential_id",
        "apikey",
        "token",
        "bearer_token",
        "passwords",
        "credentials",
        "OpenAIAPIKey",
    ],
)
def test_keys_that_look_secret_are_redacted(key: str) -> None:
    """Covers P-TAG-24, P-TAG-25, P-TAG-26, P-TAG-27, P-TAG-28."""
    assert tagging.clean({key: "value"}, Settings()) == {key: "[REDACTED]"}


@pytest.mark.parametrize(
    "key",
    ["api_key", "access_token", "authorization", "credential", "password", "refresh_token", "secret"],
)
def test_a_fresh_install_redacts_the_usual_names(key: str) -> None:
    """Each is in the setting itself, so that whoever extends it can start from there. Covers P-CFG-03."""
    assert key in Settings().redacted_tag_keys
    assert tagging.clean({key: "value"}, Settings()) == {key: "[REDACTED]"}
    assert tagging.clean({key: "value"}, Settings(redacted_tag_keys=())) == {key: "value"}


@pytest.mark.parametrize("key", ["feature", "tokens_used", "secretary", "monkey", "tenant.id"])
def test_keys_that_only_resemble_secrets_are_kept(key: str) -> None:
    assert tagging.clean({key: "value"}, Settings()) == {key: "value"}


@pytest.mark.parametrize(
    "value",
    [
        "sk-proj-abcdefghijklmnop1234",
        "AKIAIOSFODNN7EXAMPLE",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
        "Bearer abcdefgh12345678",
    ],
)
def test_values_that_look_like_keys_are_redacted_whatever_their_key(value: str) -> None:
    """Covers P-PRV-04, which looks at keys only."""
    cleaned = tagging.clean({"note": f"before {value} after"}, Settings())
    assert cleaned == {"note": "before [REDACTED] after"}


def test_values_are_cut_on_a_character_boundary_after_redaction() -> None:
    """A mapping's or a list's JSON text is cut like any other. Covers P-TAG-29, P-TAG-30, P-TAG-31."""
    assert tagging.clean({"a": "€€€"}, Settings(max_tag_value_bytes=4)) == {"a": "€"}
    assert tagging.clean({"a": "abcdef"}, Settings(max_tag_value_bytes=4)) == {"a": "abcd"}
    assert tagging.clean({"a": tagging.as_text({"b": "c" * 50})}, Settings(max_tag_value_bytes=10)) == {
        "a": '{"b": "ccc'
    }
    assert tagging.clean({"a": tagging.as_text([1, 2, 3])}, Settings(max_tag_value_bytes=5)) == {"a": "[1, 2"}
    key = "sk-" + "a" * 40
    assert tagging.clean({"a": key}, Settings(max_tag_value_bytes=20)) == {"a": "[REDACTED]"}


@given(st.text(), st.integers(min_value=0, max_value=40))
def test_a_cut_value_is_a_prefix_within_its_limit(value: str, limit: int) -> None:
    cut = tagging._cut(value, limit)
    assert value.startswith(cut)
    assert len(cut.encode("utf-8", "replace")) <= limit


def test_a_raising_callable_is_logged_and_means_no_tags(caplog: pytest.LogCaptureFixture) -> None:
    """Covers P-TRK-26, P-CAP-27."""

    def broken() -> dict[str, Any]:
        raise RuntimeError("no tags today")

    with caplog.at_level(logging.ERROR, "flask_llm_cost"):
        assert tagging.call_tags(broken) == {}
    assert "the call is recorded without its tags" in caplog.text


def test_a_callable_gets_the_request_only_if_it_takes_one() -> None:
    """Covers P-CAP-04, P-CAP-05, P-TAG-08, P-TAG-09."""
    assert tagging.call_tags(lambda request: {"path": request}, "/v1/x") == {"path": "/v1/x"}
    assert tagging.call_tags(lambda: {"bare": 1}, "/v1/x") == {"bare": "1"}
    assert tagging.call_tags(lambda: None) == {}
    assert tagging.call_tags(None) == {}
    with tagging.tags(None):
        assert tagging.scoped_tags() == {}


def test_threads_see_only_their_own_scopes() -> None:
    """Covers P-TAG-11, P-TAG-12."""
    seen: dict[int, dict[str, str]] = {}
    barrier = threading.Barrier(8)

    def work(number: int) -> None:
        with tagging.tags(worker=number):
            barrier.wait(timeout=10)
            seen[number] = dict(tagging.scoped_tags())

    with tagging.tags(outer="main"):
        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert seen == {number: {"worker": str(number)} for number in range(8)}


def test_asyncio_tasks_inherit_the_scope() -> None:
    """Covers P-TAG-13."""

    async def child() -> dict[str, str]:
        return dict(tagging.scoped_tags())

    async def parent() -> dict[str, str]:
        with tagging.tags(feature="chat"):
            task = asyncio.create_task(child())
        return await task

    assert asyncio.run(parent()) == {"feature": "chat"}


@pytest.mark.parametrize("with_context", [True, False], ids=["stream_with_context", "plain"])
def test_a_response_streamed_after_the_view_returned_keeps_its_tags(with_context: bool) -> None:
    """Covers P-TAG-14."""
    app = Flask(__name__)
    app.after_request(tagging.keep_scope_while_streaming)
    seen: list[dict[str, str]] = []

    def body() -> Iterator[str]:
        seen.append(dict(tagging.scoped_tags()))
        with tagging.tags(step="two"):
            yield "a"
            seen.append(dict(tagging.scoped_tags()))
        yield "b"
        seen.append(dict(tagging.scoped_tags()))

    @app.get("/")
    def view() -> Response:
        tagging.tag_request(tenant="acme")
        with tagging.tags(feature="chat"):
            return Response(stream_with_context(body()) if with_context else body())

    assert app.test_client().get("/").text == "ab"
    tags = {"tenant": "acme", "feature": "chat"}
    assert seen == [tags, {**tags, "step": "two"}, tags]
    assert tagging.scoped_tags() == {}


def test_tags_of_one_request_do_not_reach_the_next() -> None:
    app = Flask(__name__)
    with app.test_request_context():
        tagging.tag_request(tenant="acme")
        with tagging.tags(feature="chat"):
            assert tagging.scoped_tags() == {"tenant": "acme", "feature": "chat"}
    with app.test_request_context():
        assert tagging.scoped_tags() == {}
