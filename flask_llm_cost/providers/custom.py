"""A provider of the app's own: the class to derive from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from flask_llm_cost.providers.fields import JSON, text
from flask_llm_cost.providers.wire import Answer


class Provider(ABC):
    """A provider that is not built in: which calls are its own, and what its answers say about usage.

    Register it with ``LLM_COST_PROVIDERS`` or ``llm_cost.register_provider``. Only POSTs are looked at. What a
    method raises never reaches the app: the call is recorded with unknown usage, and the log says so once.

    Attributes:
        name: as the ledger and the price tables are to call it.
        hosts: "api.acme.example", "127.0.0.1:8001" (that port only), or ".acme.example" (every host below).
        paths: what the path ends in, from a "/" or a ":" on: "/v1/generate", ":predict".
        operation: OpenTelemetry's ``gen_ai.operation.name``.
        opaque: its answers may be sound or plain text: what is no JSON and no stream is read as an empty body.
    """

    name: str
    hosts: Sequence[str]
    paths: Sequence[str]
    operation: str = "chat"
    opaque: bool = False

    @abstractmethod
    def read(self, body: JSON, request: JSON) -> Answer | None:
        """Read one answer that is a JSON object. ``None``: it says nothing about usage.

        Args:
            request: the request's fields, from JSON or a form; none where its body is not in memory.
        """

    def read_stream(self, events: Sequence[JSON], request: JSON) -> Answer | None:
        """Read an answer that came as server-sent events, JSON lines or a JSON array.

        Best folded into the body that ``read`` takes. Without this, streams have unknown usage.

        Args:
            events: the JSON objects among its events, in order. Of a very long stream the middle is missing.
        """
        return None

    def ends_stream(self, event: JSON) -> bool:
        """Whether a stream is over with this event, though the connection may be open still.

        An app that stops reading there has not cut anything off. ``[DONE]`` ends every stream.
        """
        return False

    def requested_model(self, path: str, request: JSON) -> str | None:
        """The model that was asked for; it stands in where the answer names none."""
        return text(request, "model")
