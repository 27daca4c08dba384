"""``LLMCost``: wiring an app and the public verbs. The state of an app lives with the app, not here."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import date, datetime
from pathlib import Path
from typing import Any, TypeVar

import requests
from flask import Flask, current_app
from sqlalchemy.orm import Session

from flask_llm_cost import tagging
from flask_llm_cost.capture import clients, http, httpx, instrument, leftovers, manual, recorded, told
from flask_llm_cost.capture.lines import Lines
from flask_llm_cost.capture.watch import Watch
from flask_llm_cost.cli import llm_cost as command_group
from flask_llm_cost.dashboard import blueprint as dashboard
from flask_llm_cost.errors import ConfigurationError, NotInitializedError
from flask_llm_cost.hosting import join_host, ledger_url
from flask_llm_cost.ledger import Ledger
from flask_llm_cost.ledger.event import Event
from flask_llm_cost.ledger.reprice import Selection
from flask_llm_cost.ledger.tally import Repriced
from flask_llm_cost.pricing import PriceBook
from flask_llm_cost.providers import Provider, Registry, stream_usage
from flask_llm_cost.queries.query import Query
from flask_llm_cost.recorder import Recorder
from flask_llm_cost.settings import Settings
from flask_llm_cost.state import EXTENSION, State, state_of, state_of_current_app
from flask_llm_cost.tagging import TagsArgument

Client = TypeVar("Client")
NewProvider = TypeVar("NewProvider", bound=Provider | type[Provider])
Guard = TypeVar("Guard", bound=Callable[[], object])


class LLMCost:
    """What a Flask app spends on LLM APIs.

    ``LLMCost(app)``, or ``LLMCost()`` and ``init_app(app)`` later, after ``SQLAlchemy``.
    Its verbs work inside an app context; outside one (threads, scripts) whenever this object was
    initialised on exactly one app.

    Attributes:
        dashboard: the blueprint to register: ``app.register_blueprint(llm_cost.dashboard, url_prefix="/llm-costs")``.
    """

    def __init__(self, app: Flask | None = None) -> None:
        self._apps: weakref.WeakSet[Flask] = weakref.WeakSet()
        self._watch = Watch(self._find_state)
        self.dashboard = dashboard.create_dashboard()
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Read every ``LLM_COST_*`` key of ``app.config`` (see ``Settings``) and set the app up.

        The database is not touched and nothing is fetched.

        Raises:
            ConfigurationError: a setting is wrong, or the app was initialised before.
        """
        if EXTENSION in app.extensions:
            raise ConfigurationError(f"flask-llm-cost is already initialised on the app {app.name!r}.")
        settings = Settings.from_config(app.config)
        providers = Registry(settings.providers, key="LLM_COST_PROVIDERS")
        stream_usage.check_hosts(settings.inject_stream_usage)
        targets = instrument.names(settings.instrument)
        libraries = [library for name in targets for library in instrument.check(name)]
        prices = PriceBook.open(
            overrides=settings.pricing_overrides,
            prices_file=settings.prices_file,
            model_aliases=settings.model_aliases,
        )
        ledger = Ledger.open(
            url=ledger_url(app, settings),
            settings=settings,
            spool_dir=Path(settings.spool_dir or app.instance_path),
            testing=app.testing,
            engine_options=app.config.get("SQLALCHEMY_ENGINE_OPTIONS"),
        )
        recorder = Recorder(app, settings, prices, ledger)
        app.extensions[EXTENSION] = State(app, self, settings, prices, ledger, recorder, providers)
        self._apps.add(app)
        app.after_request(tagging.keep_scope_while_streaming)
        join_host(app, settings)
        if command_group.name not in app.cli.commands:
            app.cli.add_command(command_group)
        instrument.PATCHES.add(self._watch, libraries)

    def instrument(self, *names: str) -> None:
        """Watch SDKs ("openai", "anthropic", "google-genai", "boto3"), HTTP libraries ("httpx", …), or "all".

        The HTTP libraries are "httpx" with "httpx2", "requests", "aiohttp" and "botocore".

        Raises:
            ConfigurationError: a name is unknown, or an SDK is not installed or too old.
        """
        libraries = [library for name in instrument.names(names) for library in instrument.check(name)]
        instrument.PATCHES.add(self._watch, libraries)

    def uninstrument(self) -> None:
        """Stop watching what ``instrument`` watched."""
        instrument.PATCHES.remove(self._watch)

    def wrap(self, client: Client, *, tags: TagsArgument = None) -> Client:
        """Watch every call of one client: an SDK's, a requests or aiohttp session, an httpx or httpx2 client.

        Returns:
            the same client.

        Raises:
            UnknownClientError: no HTTP client was found in it.
        """
        clients.wrap(client, self._watch, tags)
        return client

    def mount(self, session: requests.Session, *, provider: str = "", tags: TagsArgument = None) -> requests.Session:
        """Watch a requests session, around the adapters it has. Returns the same session."""
        http.mount(session, self._watch, provider=provider, tags=tags)
        return session

    def adapter(
        self, inner: requests.adapters.BaseAdapter | None = None, *, provider: str = "", tags: TagsArgument = None
    ) -> http.LLMCostAdapter:
        """A requests adapter around another one, to mount by hand."""
        return http.LLMCostAdapter(inner, provider=provider, tags=tags, watch=self._watch)

    def httpx_transport(self, inner: Any = None, *, provider: str = "", tags: TagsArgument = None) -> Any:
        """A transport for ``httpx.Client`` or ``httpx2.Client``, around another one."""
        return httpx.Transport(self._watch, inner, provider=provider, tags=tags)

    def async_httpx_transport(self, inner: Any = None, *, provider: str = "", tags: TagsArgument = None) -> Any:
        """A transport for the async client of either family, around another one."""
        return httpx.AsyncTransport(self._watch, inner, provider=provider, tags=tags)

    def register_provider(self, provider: NewProvider) -> NewProvider:
        """Add a provider of the app's own: a ``flask_llm_cost.providers.Provider`` class, or an object of one.

        The same as ``LLM_COST_PROVIDERS``, later. Returns what it was given, so that it decorates a class.

        Raises:
            ConfigurationError: its name, hosts or paths are wrong.
        """
        self._state().providers.add(provider, key="register_provider()")
        return provider

    def tags(self, mapping: Mapping[str, object] | None = None, /, **values: object) -> AbstractContextManager[None]:
        """Tag every call started inside the block: ``with llm_cost.tags(feature="chat", user_id=42):``."""
        return tagging.tags(mapping, **values)

    def tag_request(self, mapping: Mapping[str, object] | None = None, /, **values: object) -> None:
        """Tag every call of the current Flask request from here on."""
        tagging.tag_request(mapping, **values)

    def track(
        self,
        *,
        provider: str,
        model: str | None = None,
        input_tokens: int,
        output_tokens: int,
        cache_read_input_tokens: int = 0,
        cache_write_input_tokens: int = 0,
        cache_write_1h_input_tokens: int = 0,
        hidden_output_tokens: int = 0,
        pricing_mode: str | None = None,
        provider_response_id: str | None = None,
        latency_ms: float | None = None,
        stream: bool = False,
        tags: TagsArgument = None,
        tracked_at: datetime | None = None,
    ) -> Event | None:
        """Record a call by hand. ``input_tokens`` are without cached ones, ``output_tokens`` with hidden ones.

        Returns:
            the event, or ``None`` while ``LLM_COST_ENABLED`` is off.

        Raises:
            ValueError: a count is negative or no number.
        """
        state = self._enabled_state()
        if state is None:
            return None
        counts = told.told(
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            cache_read_input_tokens=cache_read_input_tokens,
            cache_write_input_tokens=cache_write_input_tokens,
            cache_write_1h_input_tokens=cache_write_1h_input_tokens,
            hidden_output_tokens=hidden_output_tokens,
        )
        reading = told.reading_of(
            provider,
            model,
            counts,
            pricing_mode=pricing_mode,
            provider_response_id=provider_response_id,
            stream=stream,
        )
        return manual.track(state, reading, tags=tags, latency_ms=latency_ms, tracked_at=tracked_at)

    def track_stream(
        self,
        *,
        provider: str,
        model: str | None = None,
        tags: TagsArgument = None,
        pricing_mode: str | None = None,
    ) -> AbstractContextManager[manual.TrackedStream]:
        """Record a stream by hand: ``with llm_cost.track_stream(provider="openai") as stream: stream.event(chunk)``."""
        return manual.track_stream(
            self._enabled_state(),
            provider=str(provider),
            model=told.model_of(model),
            tags=tags,
            pricing_mode=told.mode_of(pricing_mode),
        )

    def record_response(
        self,
        provider: str,
        body: object,
        *,
        tags: TagsArgument = None,
        tracked_at: datetime | None = None,
        latency_ms: float | None = None,
        pricing_mode: str | None = None,
    ) -> Event | None:
        """Record an answer that the app has: an SDK's object, a mapping, or the JSON as text or bytes.

        One with an id of the provider's is recorded once, however often. ``tracked_at`` counts where the answer
        does not say when it was made. Returns ``None`` while ``LLM_COST_ENABLED`` is off.

        Raises:
            ValueError: it is no answer of a known format.
        """
        mode, state = told.mode_of(pricing_mode), self._enabled_state()
        return recorded.record_response(
            state, str(provider), body, tags=tags, tracked_at=tracked_at, latency_ms=latency_ms, pricing_mode=mode
        )

    def record_batch(
        self, provider: str, results: Lines, *, tags: recorded.LineTags = None, tracked_at: datetime | None = None
    ) -> recorded.BatchResult:
        """Record the results of a batch at batch prices: each line once, however often and by however many.

        Args:
            provider: "openai", "azure", "anthropic", "gemini", "vertex", …
            results: a path, bytes, an open file, an SDK's download, or any iterable of lines; read line by line.
            tags: a mapping, or a callable that gets each line's ``custom_id`` and the decoded line.
            tracked_at: the time of lines that do not say when they were answered; now unless told otherwise.

        Raises:
            OSError, TypeError: the lines cannot be read.
            StorageError: the ledger cannot take them; recording the file again does the rest.
            UnknownPricingError: as configured, for the first model without a price; all is recorded.
        """
        return recorded.record_batch(self._enabled_state(), str(provider), results, tags=tags, tracked_at=tracked_at)

    def dashboard_guard(self, guard: Guard) -> Guard:
        """Register who may see the dashboard: a function returning truthy, or a Flask response (a redirect, say)."""
        dashboard.set_guard(self.dashboard, guard)
        return guard

    @property
    def query(self) -> Query:
        """Figures for the app's own code: ``llm_cost.query.this_month().by_tags(feature="chat").cost_by_model()``."""
        state = self._state()
        return Query.of(state.ledger, state.settings.timezone)

    def reprice(
        self,
        *,
        since: date | datetime | None = None,
        until: date | datetime | None = None,
        unknown_only: bool = False,
        dry_run: bool = False,
    ) -> Repriced:
        """Price calls again, each at the prices of its own time, and every total with them.

        Args:
            since, until: days of ``LLM_COST_TIMEZONE``, both included; or instants with a time zone, ``until`` not.
            unknown_only: only calls whose cost is unknown, partial or estimated.
            dry_run: write nothing.

        Returns:
            what changed, or would: ``calls``, ``before``, ``after``, ``difference`` (USD), ``changes`` by model.

        Raises:
            InvalidFilterError: ``since`` or ``until`` makes no sense.
            PriceTableError: the newest edit of the prices file cannot be read.
            SchemaMissingError, StorageError: the database refused; doing it again does the rest.
        """
        state = self._state()
        selection = Selection.between(since, until, state.settings.timezone, unknown_only=unknown_only)
        return state.ledger.reprice(state.prices, selection, dry_run=dry_run)

    def session(self) -> AbstractContextManager[Session]:
        """A session on the ledger, for the app's own queries."""
        return self._state().ledger.session()

    def upgrade(self) -> None:
        """Bring the ledger's tables up to date: what ``flask llm-cost db upgrade`` does."""
        self._state().ledger.upgrade()

    def flush(self, timeout: float = 10) -> bool:
        """Wait until everything recorded is in the ledger. ``False`` when the time ran out."""
        leftovers.collect()
        return self._state().ledger.flush(timeout)

    def shutdown(self, timeout: float = 10, *, drain: bool = True) -> bool:
        """Stop shipping, after draining unless told not to."""
        leftovers.collect()
        return self._state().ledger.shutdown(timeout, drain)

    def _enabled_state(self) -> State | None:
        state = self._state()
        return state if state.enabled else None

    def _state(self) -> State:
        state = self._find_state()
        if state is not None:
            return state
        if current_app:
            raise NotInitializedError(f"flask-llm-cost is not initialised on the app {current_app.name!r}.")
        count = len(self._apps)
        raise NotInitializedError(
            "flask-llm-cost was used outside an app context, and "
            + ("no app is initialised yet." if not count else f"{count} apps are initialised: which one is meant?")
            + " Use: with app.app_context(): …"
        )

    def _find_state(self) -> State | None:
        """The current app's state if it is one of ours; without a context, the only app's."""
        state = state_of_current_app()
        if state is not None:
            return state if state.owner is self else None
        if current_app:
            return None
        apps = tuple(self._apps)
        return state_of(apps[0]) if len(apps) == 1 else None
