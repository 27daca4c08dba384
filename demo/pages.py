"""The pages of the demo app: a form per feature, and the answer as it streams."""

from __future__ import annotations

from collections.abc import Iterator

from flask import Blueprint, abort, current_app, render_template, request, stream_template

from demo.clients import FAILURES, Clients
from demo.features import FEATURES, TENANTS, begin
from flask_llm_cost import LLMCost

MAX_PROMPT = 4000


def create_pages(llm_cost: LLMCost, clients: Clients) -> Blueprint:
    """The blueprint of the app's own pages; the dashboard is registered beside it."""
    pages = Blueprint("demo", __name__, template_folder="templates")

    @pages.get("/")
    def home() -> str:
        return render_template("home.html", features=FEATURES.values(), tenants=TENANTS, real=clients.real)

    @pages.post("/<name>")
    def ask(name: str) -> Iterator[str] | tuple[str, int]:
        feature = FEATURES.get(name) or abort(404)
        tenant = request.form.get("tenant", "")
        if tenant not in TENANTS:
            abort(400, description=f"There is no tenant {tenant[:40]!r}.")
        prompt = request.form.get("prompt", "")[:MAX_PROMPT].strip() or feature.example
        try:
            with llm_cost.tags(feature=feature.name, tenant=tenant, env="production"):
                pieces = begin(feature.ask(clients, prompt))
        except FAILURES as failure:
            current_app.logger.info("%s failed: %s", feature.name, failure)
            return render_template("busy.html", feature=feature), 503
        return stream_template("answer.html", feature=feature, prompt=prompt, tenant=tenant, pieces=_politely(pieces))

    return pages


def _politely(pieces: Iterator[str]) -> Iterator[str]:
    """The pieces; if the provider breaks off in the middle, a sentence that says so."""
    try:
        yield from pieces
    except FAILURES as failure:
        current_app.logger.info("A stream broke off: %s", failure)
        yield " … Sorry, the answer broke off here. Please try again."
