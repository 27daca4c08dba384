"""One call: its receipt, and why its cost is unknown where it is."""

from __future__ import annotations

import re
from uuid import UUID

from flask import Response

from flask_llm_cost.dashboard.fixes import fixes
from flask_llm_cost.dashboard.links import Links, read_filters
from flask_llm_cost.dashboard.rendering import render_state
from flask_llm_cost.errors import InvalidFilterError
from flask_llm_cost.queries.call import call_detail
from flask_llm_cost.queries.reading import reading
from flask_llm_cost.state import current_state

LARGEST_ID = 2**63 - 1
_NUMBER = re.compile(r"[0-9]{1,19}", re.ASCII)


def call(reference: str) -> Response:
    """The call of an id or an event id."""
    found, links = None, _way_back()
    wanted = _parsed(reference)
    if wanted is not None:
        with reading(current_state().ledger) as session:
            found = call_detail(session, wanted)
    if found is None:
        return render_state("states/no_call.html", links=links, status=404, reference=reference)
    return render_state("call/index.html", links=links, call=found, fixes=fixes(found))


def _way_back() -> Links:
    """Links that keep the filters of the list one came from; a call is shown whatever they are."""
    try:
        return Links(read_filters().as_args())
    except InvalidFilterError:
        return Links()


def _parsed(reference: str) -> int | UUID | None:
    if _NUMBER.fullmatch(reference):
        number = int(reference)
        return number if number <= LARGEST_ID else None
    try:
        return UUID(reference) if len(reference) in (32, 36) else None
    except ValueError:
        return None
