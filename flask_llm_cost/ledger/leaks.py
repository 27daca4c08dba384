"""Leaks: calls to models that are not recorded, counted by host and nothing else.

They are counted in memory and now and then added to the ledger's ``meta`` table, by the shipper, so that other
processes can tell. A count is a hint, not money: what was not added yet goes with a killed process.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime

from sqlalchemy import Connection, func, select

from flask_llm_cost.ledger.dialects import Dialect

META_PREFIX = "leak:"
OTHER_HOSTS = "(other hosts)"
_NAME_LENGTH = 64
_MOST_HOSTS = 100
_PAUSE_SECONDS = 5.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Leak:
    """The unrecorded calls to one host.

    Attributes:
        known_host: whether it is a provider's own, called on a path that no rule covers.
        first_day, last_day: in UTC.
    """

    host: str
    known_host: bool
    calls: int
    first_day: date
    last_day: date

    @property
    def remedy(self) -> str:
        """What to do about it."""
        ignore = f"LLM_COST_IGNORED_HOSTS = [{self.host!r}]"
        if self.known_host:
            return f"Record them with llm_cost.track(…), or ignore them: {ignore}."
        if self.host == OTHER_HOSTS:
            return "Add those hosts to LLM_COST_OPENAI_COMPATIBLE_HOSTS."
        return (
            f'Set LLM_COST_OPENAI_COMPATIBLE_HOSTS = {{{self.host!r}: "openai"}}, or whose models it has; '
            f"or ignore them: {ignore}."
        )

    @classmethod
    def from_json(cls, text: str) -> Leak:
        """Raises ``ValueError``, ``KeyError`` or ``TypeError`` where that is none."""
        held = json.loads(text)
        days = {name: date.fromisoformat(held[name]) for name in ("first_day", "last_day")}
        return cls(str(held["host"]), bool(held["known_host"]), int(held["calls"]), **days)

    def to_json(self) -> str:
        return json.dumps(asdict(self), default=date.isoformat)

    def plus(self, other: Leak) -> Leak:
        return replace(
            self,
            known_host=other.known_host,
            calls=self.calls + other.calls,
            first_day=min(self.first_day, other.first_day),
            last_day=max(self.last_day, other.last_day),
        )


class Leaks:
    """The leaks of this process that are not in the ledger yet."""

    def __init__(self, write: Callable[[Iterable[Leak]], None]) -> None:
        self._write = write
        self._seen: set[str] = set()
        self.after_fork()

    def after_fork(self) -> None:
        """In the child: what was counted so far is the parent's to write."""
        self._lock = threading.Lock()
        self._waiting: dict[str, Leak] = {}
        self._written_at = float("-inf")

    def count(self, host: str, *, known_host: bool) -> bool:
        """Count a call. Warns of each host once. Returns whether it is the first that waits to be written."""
        today = datetime.now(UTC).date()
        with self._lock:
            if host not in self._seen and len(self._seen) >= _MOST_HOSTS:
                host, known_host = OTHER_HOSTS, False
            leak = Leak(host, known_host, 1, today, today)
            is_new, is_first = host not in self._seen, not self._waiting
            self._seen.add(host)
            held = self._waiting.get(host)
            self._waiting[host] = leak if held is None else held.plus(leak)
        if is_new:
            log.warning("Calls to %s look like calls to a model, and are not recorded. %s", host, leak.remedy)
        return is_first

    def write(self, *, now: bool = False) -> None:
        """Add what waits to the ledger, every few seconds unless ``now``. What the ledger does not take waits on."""
        if not self._waiting or not (now or time.monotonic() - self._written_at > _PAUSE_SECONDS):
            return
        with self._lock:
            taken, self._waiting = self._waiting, {}
            self._written_at = time.monotonic()
        try:
            self._write(taken.values())
        except Exception as error:
            # Tried again: that the ledger is away, or has no tables, is told where events wait for it.
            log.debug("Unrecorded calls could not be counted in the ledger: %s", error)
            with self._lock:
                for host, leak in taken.items():
                    held = self._waiting.get(host)
                    self._waiting[host] = leak if held is None else held.plus(leak)


def add_leaks(dialect: Dialect, connection: Connection, leaks: Iterable[Leak]) -> None:
    """Add counts to those in the ledger, in the order of the hosts: the rows stay locked until the commit."""
    meta = dialect.table("llm_cost_meta")
    kept = connection.execute(
        select(func.count()).select_from(meta).where(meta.c.name.startswith(META_PREFIX))
    ).scalar_one()
    for leak in sorted(leaks, key=lambda each: each.host):
        held = _held(dialect, connection, leak.host)
        if held is None and kept >= _MOST_HOSTS:
            leak = replace(leak, host=OTHER_HOSTS, known_host=False)
            held = _held(dialect, connection, OTHER_HOSTS)
        kept += held is None
        value = (leak if held is None else held.plus(leak)).to_json()
        dialect.put(connection, meta.name, {"name": _name(leak.host), "value": value}, ["name"])


def _held(dialect: Dialect, connection: Connection, host: str) -> Leak | None:
    meta = dialect.table("llm_cost_meta")
    row = select(meta.c.value).where(meta.c.name == _name(host)).with_for_update()
    held = connection.execute(row).scalar()
    return None if held is None else Leak.from_json(held)


def _name(host: str) -> str:
    return f"{META_PREFIX}{host}"[:_NAME_LENGTH]
