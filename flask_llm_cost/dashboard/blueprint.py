"""The blueprint: which page answers where, who is let in, and what happens when something is wrong."""

from __future__ import annotations

import logging

from flask import Blueprint, Response, g, make_response, request

from flask_llm_cost.dashboard import failures
from flask_llm_cost.dashboard.assets import asset
from flask_llm_cost.dashboard.guard import Guard, admit
from flask_llm_cost.dashboard.links import Links
from flask_llm_cost.dashboard.pages.call import call
from flask_llm_cost.dashboard.pages.calls import calls, calls_csv
from flask_llm_cost.dashboard.pages.overview import overview, spend_csv
from flask_llm_cost.dashboard.rendering import protect, render_state, wants_fragment
from flask_llm_cost.errors import InvalidFilterError, StorageError

log = logging.getLogger(__name__)

_OTHERS_ANSWER = "llm_cost_others_answer"


class Dashboard(Blueprint):
    """The dashboard of one ``LLMCost``. It may be registered on several apps, nested, and under any prefix.

    Attributes:
        guard: who may look; see ``set_guard``.
    """

    guard: Guard | None = None


def create_dashboard() -> Dashboard:
    """A dashboard with all its pages, closed outside debug and testing until a guard is set."""
    dashboard = Dashboard("llm_cost", "flask_llm_cost", template_folder="templates")
    dashboard.add_url_rule("/", "overview", overview)
    dashboard.add_url_rule("/spend.csv", "spend_csv", spend_csv)
    dashboard.add_url_rule("/calls", "calls", calls)
    dashboard.add_url_rule("/calls.csv", "calls_csv", calls_csv)
    dashboard.add_url_rule("/calls/<reference>", "call", call)
    dashboard.add_url_rule("/assets/<name>", "asset", asset)
    dashboard.before_request(lambda: _admit(dashboard))
    dashboard.after_request(_protect)
    dashboard.register_error_handler(InvalidFilterError, failures.invalid_filter)
    dashboard.register_error_handler(StorageError, failures.storage_failed)
    return dashboard


def set_guard(dashboard: Dashboard, guard: Guard) -> Guard:
    """Let ``guard`` decide who may look, on every app the dashboard is registered on; returns it for a decorator.

    It takes no argument, runs before every page and export, and answers with something true (open), false
    (403) or a response such as a redirect to a login page. One that raises refuses.
    """
    dashboard.guard = guard
    return guard


def _admit(dashboard: Dashboard) -> Response | None:
    if _is_asset():
        return None
    answer = admit(dashboard.guard)
    if answer is True:
        return None
    if answer is False:
        return _refusal()
    response = make_response(answer)
    setattr(g, _OTHERS_ANSWER, response)
    return response


def _refusal() -> Response:
    response = render_state("states/closed.html", links=Links(), status=403)
    if wants_fragment():
        response.headers["HX-Refresh"] = "true"
    return response


def _protect(response: Response) -> Response:
    """Our headers on our answers; the guard's own answer stays as the app made it."""
    if _is_asset() or g.get(_OTHERS_ANSWER) is response:
        return response
    return protect(response)


def _is_asset() -> bool:
    return (request.endpoint or "").endswith(".asset")
