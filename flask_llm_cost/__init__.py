"""What a Flask app spends on LLM APIs, and where that spend comes from."""

from flask_llm_cost.capture.http import LLMCostAdapter
from flask_llm_cost.capture.recorded import BatchResult, LineProblem
from flask_llm_cost.errors import (
    ConfigurationError,
    InvalidFilterError,
    LLMCostError,
    NotInitializedError,
    PriceTableError,
    StorageError,
    UnknownPricingError,
)
from flask_llm_cost.extension import LLMCost
from flask_llm_cost.ledger.event import Event
from flask_llm_cost.queries.breakdown import Spend
from flask_llm_cost.queries.query import Query
from flask_llm_cost.queries.totals import CostSpan, Totals
from flask_llm_cost.signals import call_recorded, storage_failed

__all__ = [
    "BatchResult",
    "ConfigurationError",
    "CostSpan",
    "Event",
    "InvalidFilterError",
    "LLMCost",
    "LLMCostAdapter",
    "LLMCostError",
    "LineProblem",
    "NotInitializedError",
    "PriceTableError",
    "Query",
    "Spend",
    "StorageError",
    "Totals",
    "UnknownPricingError",
    "call_recorded",
    "storage_failed",
]
