"""Where databases differ. The only such place: everything above asks the ``Dialect`` of its engine or session.

Adding a database means a file here, a line in ``dialect_of``, and its tests.
"""

from __future__ import annotations

from sqlalchemy.orm import Session

from flask_llm_cost.errors import ConfigurationError
from flask_llm_cost.ledger.dialects.dialect import Dialect
from flask_llm_cost.ledger.dialects.mysql import MySQL
from flask_llm_cost.ledger.dialects.postgresql import PostgreSQL
from flask_llm_cost.ledger.dialects.sqlite import SQLite

__all__ = ["Dialect", "dialect_in", "dialect_of"]


def dialect_of(name: str) -> Dialect:
    """A dialect for SQLAlchemy's name of it. Cheap to make: what its statements need is prepared when they are used.

    Raises:
        ConfigurationError: the ledger does not know this database.
    """
    known: dict[str, type[Dialect]] = {"sqlite": SQLite, "postgresql": PostgreSQL, "mysql": MySQL, "mariadb": MySQL}
    if name not in known:
        raise ConfigurationError(
            f"The ledger cannot live in {name!r}: SQLite, PostgreSQL, MySQL and MariaDB can hold it."
        )
    return known[name]()


def dialect_in(session: Session) -> Dialect:
    """The dialect of the database that a session reads. Raises as ``dialect_of``."""
    return dialect_of(session.get_bind().dialect.name)
