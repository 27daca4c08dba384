"""Where a call goes."""

from __future__ import annotations

from dataclasses import dataclass

from flask_llm_cost.providers.wire import WireFormat


@dataclass(frozen=True, slots=True)
class Route:
    """Where a call goes.

    Attributes:
        provider: our name of who answers.
        wire: how it answers.
        operation: OpenTelemetry's ``gen_ai.operation.name``.
        geo: the region that the host stands for, where prices depend on it; ``None`` for the usual one.
        fetches: whether it asks for an answer made earlier, or calls one off, instead of asking for a new one.
    """

    provider: str
    wire: WireFormat
    operation: str
    geo: str | None = None
    fetches: bool = False
