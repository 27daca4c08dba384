"""The ledger's tables as SQLAlchemy models, to read with ``llm_cost.session()``, or ``db.session`` where that works.

Read only: whatever changes a call must change the rollups with it. Costs are USD (``Decimal``, NULL is unknown),
times aware and UTC, days those of ``LLM_COST_TIMEZONE``.
"""

from flask_llm_cost.ledger.models import (
    Audit,
    BudgetTotal,
    Call,
    CallTag,
    Daily,
    DeadLetter,
    Hourly,
    LatencyDaily,
    Reservation,
    Tag,
    TagDaily,
    TagKeyDaily,
    TagMonthly,
)

__all__ = [
    "Audit",
    "BudgetTotal",
    "Call",
    "CallTag",
    "Daily",
    "DeadLetter",
    "Hourly",
    "LatencyDaily",
    "Reservation",
    "Tag",
    "TagDaily",
    "TagKeyDaily",
    "TagMonthly",
]
