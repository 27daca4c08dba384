"""The databases of the integration suite."""

from __future__ import annotations

from tests.integration.conftest import database_url, make_event, mariadb_url, open_ledger, postgres_url, sqlite_url

__all__ = ["database_url", "make_event", "mariadb_url", "open_ledger", "postgres_url", "sqlite_url"]
