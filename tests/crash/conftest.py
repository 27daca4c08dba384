"""The databases of the integration suite."""

from __future__ import annotations

from tests.integration.conftest import postgres_url, sqlite_url

__all__ = ["postgres_url", "sqlite_url"]
