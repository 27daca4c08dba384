"""The watch: which requests are calls to a model, and whose."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from flask_llm_cost import tagging
from flask_llm_cost.capture.asking import question_for
from flask_llm_cost.capture.exchange import Exchange
from flask_llm_cost.capture.layers import being_sent
from flask_llm_cost.capture.target import Target
from flask_llm_cost.capture.unrecorded import unrecorded
from flask_llm_cost.errors import LLMCostError
from flask_llm_cost.failures import report
from flask_llm_cost.providers import Route, find_route, is_known
from flask_llm_cost.providers.leaks import suspicion, suspicion_elsewhere
from flask_llm_cost.tagging import TagsArgument

if TYPE_CHECKING:
    from flask_llm_cost.state import State

log = logging.getLogger(__name__)

Resolve = Callable[[], "State | None"]


class Watch:
    """Decides which requests are calls to a model, for the apps of one ``LLMCost``."""

    def __init__(self, resolve: Resolve) -> None:
        self.resolve = resolve

    def begin(
        self,
        method: str,
        host: str,
        path: Callable[[], str],
        target: Callable[[], Target],
        *,
        provider: str | None = None,
        tags: TagsArgument = None,
        request: object = None,
    ) -> Exchange | None:
        """The exchange to follow, or ``None`` where this is no call to a model or somebody follows it already.

        What may be one, but cannot be read, is followed as ``Unrecorded``: it is counted at most.

        Args:
            host: in any case; a host in no table costs a look-up and no more, with a POST a look at the path.
            path: without the query string, asked for only where it matters.
            target: the rest of the request, asked for only when the host is one to look at.
            provider: who is asked, where the client was given to us explicitly; ``None`` where it was not.
            tags: the adapter's or wrapper's own tags; a callable gets ``request``.
        """
        try:
            outer = being_sent()
            if outer is not None:
                if tags is not None:
                    outer.add_tags(tagging.call_tags(tags, request))
                return None
            state = self.resolve()
            if state is None:
                return None
            compatible_hosts = state.settings.openai_compatible_hosts
            if provider is None and not is_known(host, compatible_hosts, state.providers):
                return unrecorded(state, host, suspicion_elsewhere(path())) if method == "POST" else None
            asked = target()
            route = find_route(
                method,
                host,
                asked.port,
                asked.path,
                compatible_hosts=compatible_hosts,
                provider=provider,
                own=state.providers,
            )
            if route is None:
                return unrecorded(state, host, suspicion(host, asked.path)) if method == "POST" else None
            return _exchange(state, route, host, asked, _tags(state, tags, request)) if _enabled(state) else None
        except LLMCostError:
            raise
        except Exception as error:
            report(log, error, "Watching a request to %s failed; it goes out unwatched.", host)
            return None


def _exchange(state: State, route: Route, host: str, target: Target, tags: dict[str, str]) -> Exchange:
    exchange = Exchange(state, route, host=host, target=target, tags=tags)
    exchange.question = question_for(state, exchange)
    return exchange


def _enabled(state: State) -> bool:
    """Whether calls are recorded now. A switch that cannot be read stands where it stands by default."""
    try:
        return state.enabled
    except Exception as error:
        report(log, error, "LLM_COST_ENABLED could not be read; the call is recorded.")
        return True


def _tags(state: State, tags: TagsArgument, request: object) -> dict[str, str]:
    try:
        return tagging.merge(
            tagging.default_tags(state.settings), tagging.scoped_tags(), tagging.call_tags(tags, request)
        )
    except Exception as error:
        report(log, error, "The tags of a call could not be told; it is recorded without them.")
        return {}
