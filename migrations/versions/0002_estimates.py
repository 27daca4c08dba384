"""Estimates in the rollups of tags, and in the index of what has no certain cost.

A call whose usage never came costs something between two bounds (``cost_low``, ``cost_high``); the rollups of
days and hours have added those up from the start, the rollups of tags do from here on.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.schema import conv

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels = None
depends_on = None

TABLES = ("llm_cost_tag_daily", "llm_cost_tag_monthly", "llm_cost_tag_key_daily")
COLUMNS = ("cost_low_nano", "cost_high_nano")
INDEX = "ix_llm_cost_calls_unpriced"


def upgrade() -> None:
    for table in TABLES:
        for name in COLUMNS:
            op.add_column(table, sa.Column(name, sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    index_unpriced("cost_status IN ('unknown', 'partial', 'estimated')")


def downgrade() -> None:
    index_unpriced("cost_status IN ('unknown', 'partial')")
    for table in TABLES:
        for name in COLUMNS:
            op.drop_column(table, name)


def index_unpriced(condition: str) -> None:
    dialect = op.get_context().dialect.name
    if dialect in ("postgresql", "sqlite"):
        op.drop_index(conv(INDEX), "llm_cost_calls")
        where = {f"{dialect}_where": sa.text(condition)}
        op.create_index(conv(INDEX), "llm_cost_calls", ["tracked_at", "id"], **where)
