"""What a page shows when it cannot show its figures: what is wrong, and what to do about it."""

from __future__ import annotations

import logging
import os

from flask import Response, current_app, request

from flask_llm_cost.dashboard.links import FormValues, Links
from flask_llm_cost.dashboard.rendering import render_state, wants_fragment
from flask_llm_cost.errors import InvalidFilterError, LLMCostError, StorageError
from flask_llm_cost.state import current_state

PAGES_WITH_FORMS = {"overview": "overview", "spend_csv": "overview", "calls": "calls", "calls_csv": "calls"}

log = logging.getLogger(__name__)


def invalid_filter(error: InvalidFilterError) -> Response:
    """400: the message beside the form, which keeps what was typed."""
    if wants_fragment():
        response = render_state("states/_invalid_filter.html", links=Links(), status=400, message=str(error))
        response.headers["HX-Retarget"] = "#lc-filter-error"
        response.headers["HX-Reswap"] = "innerHTML"
        return response
    return render_state(
        "states/invalid_filter.html",
        links=Links(),
        status=400,
        page=PAGES_WITH_FORMS.get(_page(), "overview"),
        form=FormValues.as_typed(),
        message=str(error),
    )


def storage_failed(error: StorageError) -> Response:
    """The migration command where tables are missing or too old (200); else 503 with a way to try again."""
    schema = _schema_state()
    if schema in ("missing", "older"):
        return _state("no_tables", 200, schema=schema)
    log.error("The dashboard could not read the ledger.", exc_info=error)
    return _state("unavailable", 503)


def _state(name: str, status: int, **context: object) -> Response:
    template = f"states/_{name}.html" if wants_fragment() else f"states/{name}.html"
    return render_state(
        template, links=Links(), status=status, page=_page(), retry=_same_address(), app_name=app_name(), **context
    )


def _schema_state() -> str:
    try:
        return str(current_state().ledger.schema_state())
    except LLMCostError:
        return "unknown"
    except Exception:
        # Whatever the driver raises while the database is away: the page below says that it is.
        log.debug("The state of the ledger's schema could not be told.", exc_info=True)
        return "unknown"


def app_name() -> str:
    """What ``flask --app`` is to be given: what the environment says, else the app's import name."""
    return os.environ.get("FLASK_APP") or current_app.import_name


def _page() -> str:
    return (request.endpoint or "").rpartition(".")[2]


def _same_address() -> str:
    return request.script_root + request.full_path.rstrip("?")
