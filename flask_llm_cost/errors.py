"""Every error this package raises on purpose: one tree, so that ``except LLMCostError`` catches all of it."""

from __future__ import annotations


class LLMCostError(Exception):
    """Anything flask-llm-cost raises on purpose."""


class ConfigurationError(LLMCostError, ValueError):
    """A setting is wrong. The message names the key, its value and what is allowed."""


class NotInitializedError(LLMCostError, RuntimeError):
    """A verb was used where no initialised app can be told."""


class StorageError(LLMCostError):
    """An event could not be stored. ``__cause__`` holds the database's or file system's own error."""


class SchemaMissingError(StorageError):
    """The ledger's tables are absent or older than this version needs."""


class LedgerUnavailableError(StorageError):
    """The ledger could not be read. ``__cause__`` holds the database's own error; the message shows no SQL."""


class PriceSourceError(LLMCostError):
    """Published prices cannot be fetched, read or written down."""


class UnknownPricingError(LLMCostError):
    """``LLM_COST_UNKNOWN_PRICING = "raise"`` met a model without a price. The event is already recorded."""

    def __init__(self, provider: str, model: str) -> None:
        self.provider = provider
        self.model = model
        super().__init__(
            f"No price for {provider}/{model}: the call is recorded with an unknown cost. "
            f"Add it to LLM_COST_PRICING_OVERRIDES or map it in LLM_COST_MODEL_ALIASES."
        )


class PriceTableError(ConfigurationError):
    """A price table is malformed. The message names the file (or setting), the model and the field."""


class InvalidFilterError(LLMCostError, ValueError):
    """A report's or a page's filter makes no sense. The message is fit for the person who typed it."""
