"""What one app has: its settings, prices, ledger and recorder, at ``app.extensions["llm_cost"]``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flask import Flask, current_app

from flask_llm_cost.errors import NotInitializedError
from flask_llm_cost.providers import Registry

if TYPE_CHECKING:
    from flask_llm_cost.ledger import Ledger
    from flask_llm_cost.pricing import PriceBook
    from flask_llm_cost.recorder import Recorder
    from flask_llm_cost.settings import Settings

EXTENSION = "llm_cost"


@dataclass(frozen=True, slots=True, weakref_slot=True)
class State:
    """Everything of one app. Frozen: settings are read once, at ``init_app``.

    Attributes:
        owner: the ``LLMCost`` that initialised the app.
        providers: the app's own ones.
        unaskable: hosts that took ``LLM_COST_INJECT_STREAM_USAGE`` amiss; they are left alone from then on.
    """

    app: Flask
    owner: object
    settings: Settings
    prices: PriceBook
    ledger: Ledger
    recorder: Recorder
    providers: Registry = field(default_factory=Registry)
    unaskable: set[str] = field(default_factory=set)

    @property
    def enabled(self) -> bool:
        """``LLM_COST_ENABLED`` as it stands in ``app.config`` right now."""
        return bool(self.app.config.get("LLM_COST_ENABLED", True))


def state_of(app: Flask) -> State | None:
    """The app's state, or ``None`` when ``LLMCost`` was never initialised on it."""
    state = app.extensions.get(EXTENSION)
    return state if isinstance(state, State) else None


def state_of_current_app() -> State | None:
    """The current app's state; ``None`` outside an app context, and on an app without ``LLMCost``."""
    try:
        app = current_app._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001
    except RuntimeError:
        return None
    return state_of(app)


def current_state() -> State:
    """The current app's state.

    Raises:
        NotInitializedError: there is no app context, or the app was not initialised with ``LLMCost``.
    """
    state = state_of_current_app()
    if state is not None:
        return state
    if not current_app:
        raise NotInitializedError("There is no app context. Use: with app.app_context(): …")
    raise NotInitializedError(
        f"flask-llm-cost is not initialised on the app {current_app.name!r}. Add LLMCost(app) to it."
    )
