"""What was acknowledged against what the ledger holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import UUID

from sqlalchemy import URL, func, select

from crash.events import event_of
from flask_llm_cost.ledger import Ledger
from flask_llm_cost.ledger.ledger import SPOOL_FOLDER
from flask_llm_cost.ledger.models import Call, DeadLetter
from flask_llm_cost.ledger.segment import SUFFIX
from flask_llm_cost.settings import Settings

_COMPARED = ("event_id", "tracked_at", "provider", "model", "status", "stream", "input_tokens", "output_tokens",
             "total_tokens", "input_cost", "total_cost", "cost_status", "latency_ms", "tags")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Account:
    """The count after everybody died and what they left was shipped.

    Attributes:
        acknowledged: events for which ``record`` returned.
        found: how many of those are in the ledger.
        untold: calls in the ledger whose process died between the append and saying so.
        duplicates: rows beyond the first of an event.
        harmed: rows that do not say what was recorded.
        rollup_differences: rows of rollups that are not the sum of their calls.
        dead_letters: events that the ledger would not take.
        left: files that are still in the spool.
    """

    acknowledged: int
    found: int
    untold: int
    duplicates: int
    harmed: int
    rollup_differences: int
    dead_letters: int
    left: int

    @property
    def faults(self) -> dict[str, int]:
        """What should be zero and is not. Empty when the ledger kept every promise."""
        counts = asdict(self)
        faults = {name: counts[name] for name in ("duplicates", "harmed", "rollup_differences", "dead_letters", "left")}
        faults["lost"] = self.acknowledged - self.found
        return {name: count for name, count in faults.items() if count}


def account(url: URL, folder: Path, acknowledged: Iterable[UUID]) -> Account:
    """Count. Nobody may be at work on the ledger any more."""
    ledger = Ledger.open(url=url, settings=Settings(durability="sync"), spool_dir=folder)
    told = set(acknowledged)
    with ledger.session() as session:
        rows = session.execute(select(*(getattr(Call, name) for name in _COMPARED))).all()
        letters = session.scalar(select(func.count()).select_from(DeadLetter)) or 0
    copies = Counter(row.event_id for row in rows)
    counted = Account(
        acknowledged=len(told),
        found=len(told & copies.keys()),
        untold=len(copies.keys() - told),
        duplicates=sum(copies.values()) - len(copies),
        harmed=sum(row._asdict() != _recorded(row.event_id) for row in rows),
        rollup_differences=ledger.upkeep.verify_rollups().differences,
        dead_letters=letters,
        left=len(list(folder.glob(f"{SPOOL_FOLDER}/*{SUFFIX}"))),
    )
    ledger.shutdown()
    return counted


def _recorded(event_id: UUID) -> dict[str, object]:
    event = event_of(event_id)
    return {name: getattr(event, name) for name in _COMPARED}
