"""The audit: what changed the ledger after the fact, each row in the transaction of the change."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, insert, update

from flask_llm_cost.ledger.models import Audit


def note(connection: Connection, action: str, details: Mapping[str, Any]) -> int:
    """Add a row. Returns its id."""
    row = insert(Audit).values(at=datetime.now(UTC), action=action, details=dict(details))
    return int(connection.execute(row).inserted_primary_key[0])  # type: ignore[index]


def amend(connection: Connection, audit_id: int, details: Mapping[str, Any]) -> None:
    """Say more about what goes on."""
    connection.execute(update(Audit).where(Audit.id == audit_id).values(details=dict(details)))
