"""The door to the ledger for everything above the queries: a session, and one kind of error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Literal, Protocol

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from flask_llm_cost.errors import LedgerUnavailableError, SchemaMissingError
from flask_llm_cost.ledger.schema import message

LedgerSession = Session
"""What queries read from; its name for those who know no SQLAlchemy."""


class Readable(Protocol):
    """What gives sessions on the ledger: ``ledger.Ledger``."""

    def session(self) -> AbstractContextManager[Session]: ...


class Explainable(Readable, Protocol):
    """What also knows whether its tables are those we need: ``ledger.Ledger``."""

    def schema_state(self) -> Literal["missing", "older", "current"]: ...


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


@contextmanager
def answering(ledger: Explainable) -> Iterator[Session]:
    """``reading`` for people: where the tables are the reason, the error names the command.

    Raises:
        SchemaMissingError: tables or columns are missing.
        StorageError: the database failed in any other way.
    """
    try:
        with reading(ledger) as session:
            yield session
    except LedgerUnavailableError as error:
        state = ledger.schema_state()
        if state == "current":
            raise
        raise SchemaMissingError(message(state)) from error
    except OSError as error:
        raise LedgerUnavailableError("The ledger's file cannot be reached.") from error
