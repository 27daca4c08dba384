"""The watch: which requests are calls to a model, and whose."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from flask_llm_cost import tagging
from flask_llm_cost.capture.exchange import Exchange, Target, being_sent
from flask_llm_cost.errors import LLMCostError
from flask_llm_cost.providers import find_route, is_known
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
        target: Callable[[], Target],
        *,
        provider: str | None = None,
        tags: TagsArgument = None,
        request: object = None,
    ) -> Exchange | None:
        """The exchange to follow, or ``None`` where this is no call to a model or somebody follows it already.

        Args:
            host: in any case; a host in no table costs a look-up and no more.
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
                return None
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
            if route is None or not state.enabled:
                return None
            merged = tagging.merge(
                tagging.default_tags(state.settings), tagging.scoped_tags(), tagging.call_tags(tags, request)
            )
            return Exchange(state, route, host=host, target=asked, tags=merged)
        except LLMCostError:
            raise
        except Exception:
            log.exception("Watching a request to %s failed; it goes out unwatched.", host)
            return None
