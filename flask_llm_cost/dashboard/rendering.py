"""Answers: a whole page, or the fragment that htmx asked for; and the headers that each of them gets."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from urllib.parse import urlsplit

from flask import Response, current_app, make_response, render_template, request, url_for
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from flask_llm_cost.dashboard import formatting
from flask_llm_cost.dashboard.assets import asset_url
from flask_llm_cost.dashboard.links import FormValues, Links
from flask_llm_cost.state import current_state

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
)
FRAGMENT_HEADERS = ("HX-Request", "HX-History-Restore-Request", "HX-Boosted")
MARK = "X-LLM-Cost"
"""Tells our own answers from those of a login page that a redirect led to."""


def wants_fragment() -> bool:
    """Whether htmx asked for a part of the page: not for a history entry, nor as a boosted link."""
    asked, restoring, boosted = (request.headers.get(name) == "true" for name in FRAGMENT_HEADERS)
    return asked and not restoring and not boosted


def render(page: str, fragment: str, *, links: Links, status: int = 200, **context: object) -> Response:
    """The whole page, or its fragment alone when htmx asks for it, with the address that shows the same again."""
    is_fragment = wants_fragment()
    template = fragment if is_fragment else page
    response = render_state(template, links=links, status=status, is_fragment=is_fragment, **context)
    address = links.here()
    if is_fragment and status == 200 and not _is_shown(address):
        response.headers["HX-Push-Url"] = address
    return response


def render_state(template: str, *, links: Links, status: int = 200, **context: object) -> Response:
    """One template with what every template may use."""
    shared: dict[str, object] = {
        "fmt": formatting,
        "links": links,
        "form": FormValues({**links.filters, **links.own}),
        "asset": asset_url,
        "timezone": current_state().settings.timezone,
        "prices": current_state().prices.freshness(datetime.now(UTC).date()),
        "version": package_version(),
        "home": host_home(),
        "is_fragment": False,
    }
    response = make_response(render_template(f"llm_cost/{template}", **(shared | context)), status)
    response.headers["Content-Type"] = "text/html; charset=utf-8"
    return response


def protect(response: Response) -> Response:
    """The headers of every page, export and refusal of ours."""
    response.headers[MARK] = "1"
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "same-origin"
    response.headers["Cache-Control"] = "private, no-store"
    response.vary.update(FRAGMENT_HEADERS)
    return response


def package_version() -> str | None:
    """The installed version; ``None`` where the package runs from its source without being installed."""
    try:
        return version("flask-llm-cost")
    except PackageNotFoundError:
        return None


def host_home() -> str | None:
    """The start page of the app around the dashboard; ``None`` where it has none."""
    adapter = current_app.create_url_adapter(request)
    if adapter is None or url_for(".overview") == f"{request.script_root}/":
        return None
    try:
        adapter.match("/", method="GET")
    except RequestRedirect:
        return f"{request.script_root}/"
    except HTTPException:
        return None
    return f"{request.script_root}/"


def _is_shown(address: str) -> bool:
    """Whether the browser's address bar shows it already: a refresh must not fill the history."""
    current = urlsplit(request.headers.get("HX-Current-URL", ""))
    return address == (f"{current.path}?{current.query}" if current.query else current.path)
