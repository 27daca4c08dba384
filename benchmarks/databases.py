"""Empty databases to measure in, gone afterwards."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from sqlalchemy import URL, create_engine, make_url, text


@contextmanager
def fresh(server: str) -> Iterator[URL]:
    """A database of its own: a file for ``sqlite://``, else made on the server that the URL leads to."""
    url = make_url(server)
    if url.get_backend_name() == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield url.set(database=f"{folder}/ledger.db")
        return
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    name = f"llm_cost_benchmark_{uuid4().hex[:12]}"
    try:
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        try:
            yield url.set(database=name)
        finally:
            with engine.connect() as connection:
                connection.execute(text(f"DROP DATABASE {name}"))
    finally:
        engine.dispose()


def percentile(values: list[float], share: float) -> float:
    """By the nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
