"""The ledger: what was recorded, kept exactly once.

Way in: ``Ledger.record`` → spool → shipper → ``Writer.write_batch``, one transaction for calls, tags and rollups.
"""

from flask_llm_cost.ledger.engine import resolve_url
from flask_llm_cost.ledger.ledger import Ledger
from flask_llm_cost.ledger.schema import UPGRADE_COMMAND, exclude_from_host
from flask_llm_cost.ledger.spool import Backlog
from flask_llm_cost.ledger.store import Store

__all__ = ["UPGRADE_COMMAND", "Backlog", "Ledger", "Store", "exclude_from_host", "resolve_url"]
