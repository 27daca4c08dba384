"""Alembic's environment for the ledger's own migrations. ``flask_llm_cost.ledger.schema`` runs it.

It configures no logging and reads no ``alembic.ini``: both belong to the host.
"""

from __future__ import annotations

from alembic import context

from flask_llm_cost.ledger.models import Base
from flask_llm_cost.ledger.schema import VERSION_TABLE

OPTIONS = {"target_metadata": Base.metadata, "version_table": VERSION_TABLE}

if context.is_offline_mode():
    context.configure(dialect_name=context.config.attributes["dialect"], literal_binds=True, **OPTIONS)
else:
    context.configure(connection=context.config.attributes["connection"], **OPTIONS)

with context.begin_transaction():
    context.run_migrations()
