"""Who is measured: nobody, ourselves, and the peers, each set up as its documentation says for production.

A peer exports to nowhere (``Nowhere``) through OpenTelemetry's batch processor with its default queue and delay:
sending is left out for everybody. Each contender lives in a process of its own: what they patch is process-wide.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module, metadata
from typing import Any

import httpx2
from flask import Flask

from flask_llm_cost import Event, LLMCost


@dataclass(frozen=True, slots=True)
class Setup:
    """A contender at work.

    Attributes:
        client: prepares an HTTP client that is to be watched.
        seen: how many calls it has recorded so far.
    """

    client: Callable[[httpx2.Client], object]
    seen: Callable[[], int]


@dataclass(frozen=True, slots=True)
class Contender:
    """Somebody to measure.

    Attributes:
        title: for people.
        install: sets it up in this process.
        package: what must be installed; ``None``: nothing beyond ourselves.
        http: whether it looks at HTTP calls that go to no model.
        stream: whether it reads the answers of streams.
    """

    title: str
    install: Callable[[], Setup]
    package: str | None = None
    http: bool = False
    stream: bool = True

    def version(self) -> str | None:
        """The installed version, ``None`` where it is missing or comes without one."""
        try:
            return metadata.version(self.package) if self.package else None
        except metadata.PackageNotFoundError:
            return None

    def is_there(self) -> bool:
        return self.package is None or self.version() is not None


class Discard:
    """A store that keeps nothing: the append is the ledger's own benchmark."""

    def __init__(self) -> None:
        self.events = 0

    def record(self, _event: Event) -> None:
        """Take the event and forget it."""
        self.events += 1


def _nothing() -> Setup:
    return Setup(client=lambda _client: None, seen=lambda: 0)


def app_with(durability: object, folder: str) -> tuple[Flask, LLMCost]:
    """An app of its own, in an app context for good."""
    app = Flask("benchmark", instance_path=folder)
    app.config["LLM_COST_DURABILITY"] = durability
    llm_cost = LLMCost(app)
    app.app_context().push()
    return app, llm_cost


def _ours() -> Setup:
    store = Discard()
    _, llm_cost = app_with(store, tempfile.mkdtemp(prefix="llm_cost_benchmark_"))
    llm_cost.instrument("openai")
    return Setup(client=lambda _client: llm_cost, seen=lambda: store.events)


def _ours_kept() -> Setup:
    _, llm_cost = app_with("spool", tempfile.mkdtemp(prefix="llm_cost_benchmark_"))
    llm_cost.upgrade()
    llm_cost.instrument("openai")

    def seen() -> int:
        from sqlalchemy import func, select

        from flask_llm_cost.ledger.models import Call

        llm_cost.flush(60)
        with llm_cost.session() as session:
            return session.scalar(select(func.count()).select_from(Call)) or 0

    return Setup(client=lambda _client: llm_cost, seen=seen)


def _nowhere() -> Any:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    class Nowhere(SpanExporter):
        """Counts what it is given."""

        spans = 0

        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            self.spans += len(spans)
            return SpanExportResult.SUCCESS

    return Nowhere()


def _traced() -> tuple[Any, Callable[[], int]]:
    """OpenTelemetry's tracer provider for production, and how many spans it has exported."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    exporter, provider = _nowhere(), TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(exporter))

    def seen() -> int:
        provider.force_flush()
        return int(exporter.spans)

    return provider, seen


def _otel_httpx() -> Setup:
    from opentelemetry.instrumentation.httpx import HTTPX2ClientInstrumentor

    provider, seen = _traced()
    return Setup(
        client=lambda client: HTTPX2ClientInstrumentor.instrument_client(client, tracer_provider=provider), seen=seen
    )


def _otel_openai() -> Setup:
    from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor

    provider, seen = _traced()
    OpenAIInstrumentor().instrument(tracer_provider=provider)
    return Setup(client=lambda _client: None, seen=seen)


def _openllmetry() -> Setup:
    from opentelemetry.instrumentation.openai import OpenAIInstrumentor

    provider, seen = _traced()
    OpenAIInstrumentor().instrument(tracer_provider=provider)
    return Setup(client=lambda _client: None, seen=seen)


def _langfuse() -> Setup:
    from langfuse import Langfuse

    exporter = _nowhere()
    langfuse = Langfuse(public_key="pk-lf-1", secret_key="sk-lf-1", span_exporter=exporter)
    import_module("langfuse.openai")  # importing it is what patches the SDK

    def seen() -> int:
        langfuse.flush()
        return int(exporter.spans)

    return Setup(client=lambda _client: None, seen=seen)


CONTENDERS = {
    "none": Contender("no instrumentation", _nothing),
    "ours": Contender("flask-llm-cost", _ours, http=True),
    "ours_kept": Contender("flask-llm-cost, kept in SQLite", _ours_kept, http=True),
    "otel_httpx": Contender(
        "OpenTelemetry httpx", _otel_httpx, "opentelemetry-instrumentation-httpx", http=True, stream=False
    ),
    "otel_openai": Contender("OpenTelemetry openai-v2", _otel_openai, "opentelemetry-instrumentation-openai-v2"),
    "openllmetry": Contender("OpenLLMetry openai", _openllmetry, "opentelemetry-instrumentation-openai"),
    "langfuse": Contender("Langfuse openai", _langfuse, "langfuse"),
}
