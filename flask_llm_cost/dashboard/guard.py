"""Who may look: nobody outside development, until the app says so."""

from __future__ import annotations

import logging
from collections.abc import Callable

from flask import current_app
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response

from flask_llm_cost.state import current_state

Guard = Callable[[], object]
"""Answers with anything true to open the dashboard, anything false to refuse, or a response to send instead."""

log = logging.getLogger(__name__)


def admit(guard: Guard | None) -> bool | Response:
    """Whether the current request may see the dashboard: ``True``, ``False``, or the response to give instead.

    A registered guard always decides. Without one the dashboard is open in debug and testing and where
    ``LLM_COST_DASHBOARD_PUBLIC`` is set. A guard that raises refuses; ``abort(…)`` in it is its answer.
    """
    if guard is None:
        return current_state().settings.dashboard_public or current_app.debug or current_app.testing
    try:
        answer = current_app.ensure_sync(guard)()
        # A tuple is how views write a body with a status: as a truth value it would let everybody in.
        if isinstance(answer, Response | tuple):
            return current_app.make_response(answer)
        return bool(answer)
    except HTTPException:
        raise
    except Exception:
        log.exception("The dashboard guard %r raised; access is refused.", guard)
        return False
