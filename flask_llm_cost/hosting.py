"""The host app as it is set up: its databases, where the ledger may live, and its migrations, which leave us alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Flask, appcontext_pushed
from sqlalchemy import URL, event, make_url
from sqlalchemy.orm import ORMExecuteState

from flask_llm_cost.errors import ConfigurationError
from flask_llm_cost.ledger import exclude_from_host, resolve_url
from flask_llm_cost.ledger.models import Base
from flask_llm_cost.settings import Settings
from flask_llm_cost.state import state_of_current_app


def ledger_url(app: Flask, settings: Settings) -> URL:
    """The ledger's database, from the settings and the app's own databases.

    Raises:
        ConfigurationError: the chosen bind or URL is none.
    """
    return resolve_url(
        database_uri=settings.database_uri,
        bind_url=_bind_url(app, settings.bind_key) if settings.bind_key else None,
        app_url=_engine_url(app.config.get("SQLALCHEMY_DATABASE_URI")),
        instance_path=app.instance_path,
    )


def join_host(app: Flask, settings: Settings) -> None:
    """Tell Flask-Migrate to leave the ledger's tables alone, and ``db.session`` on which bind its models are.

    Either may be initialised after us: then that is done when an app context is pushed, which every ``flask db …``
    and every use of ``db.session`` needs.
    """
    if not _join_migrations(app):
        appcontext_pushed.connect(_when_migrate_is_there, app)
    if settings.bind_key and not _join_session(app):
        appcontext_pushed.connect(_when_sqlalchemy_is_there, app)


def _when_migrate_is_there(app: Flask, **_: object) -> None:
    if _join_migrations(app):
        appcontext_pushed.disconnect(_when_migrate_is_there, app)


def _when_sqlalchemy_is_there(app: Flask, **_: object) -> None:
    if _join_session(app):
        appcontext_pushed.disconnect(_when_sqlalchemy_is_there, app)


def _join_migrations(app: Flask) -> bool:
    migrate = app.extensions.get("migrate")
    if migrate is None:
        return False
    exclude_from_host(migrate.configure_args)
    return True


def _join_session(app: Flask) -> bool:
    db = app.extensions.get("sqlalchemy")
    if db is None:
        return False
    # Apps may share a ``db``.
    if not event.contains(db.session, "do_orm_execute", _on_the_ledgers_bind):
        event.listen(db.session, "do_orm_execute", _on_the_ledgers_bind)
    return True


def _on_the_ledgers_bind(execution: ORMExecuteState) -> None:
    """``db.session`` looks for a model on the bind of its metadata; ours are on another one with each app."""
    mapper = execution.bind_mapper
    if mapper is None or not issubclass(mapper.class_, Base):
        return
    state = state_of_current_app()
    if state is not None and state.settings.bind_key:
        engines = state.app.extensions["sqlalchemy"].engines
        execution.bind_arguments.setdefault("bind", engines[state.settings.bind_key])


def _bind_url(app: Flask, bind_key: str) -> URL:
    binds = app.config.get("SQLALCHEMY_BINDS") or {}
    if bind_key not in binds:
        raise ConfigurationError(
            f"LLM_COST_BIND_KEY = {bind_key!r}: SQLALCHEMY_BINDS has {', '.join(map(repr, binds)) or 'no binds'}."
        )
    url = _engine_url(binds[bind_key])
    if url is None:
        raise ConfigurationError(f"LLM_COST_BIND_KEY = {bind_key!r}: that bind of SQLALCHEMY_BINDS has no URL.")
    return url


def _engine_url(configured: Any) -> URL | None:
    """Flask-SQLAlchemy takes a URL, or a mapping of engine options with the URL among them."""
    value = configured.get("url") if isinstance(configured, Mapping) else configured
    return None if not value else make_url(value)
