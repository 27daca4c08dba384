"""The door to the ledger for everything above the queries: a session, and one kind of error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from flask_llm_cost.errors import LedgerUnavailableError

LedgerSession = Session
"""What queries read from; its name for those who know no SQLAlchemy."""


class Readable(Protocol):
    """What gives sessions on the ledger: ``ledger.Ledger``."""

    def session(self) -> AbstractContextManager[Session]: ...


@contextmanager
def reading(ledger: Readable) -> Iterator[Session]:
    """A session for reading, closed at the end.

    Raises:
        LedgerUnavailableError: the database failed in any way, a missing table included.
    """
    try:
        with ledger.session() as session:
            yield session
    except SQLAlchemyError as error:
        raise LedgerUnavailableError("The ledger's database did not answer.") from error
