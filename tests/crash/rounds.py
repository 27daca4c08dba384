"""Rounds of killing, and the count at the end of them."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL

from crash.account import Account, account
from crash.fleet import Fleet
from crash.host import ingest_until_empty
from crash.workers import LOG, record_and_leave, record_until_killed, ship_until_killed
from flask_llm_cost.ledger import Ledger
from flask_llm_cost.settings import Durability, Settings

RECORDERS, THREADS = 3, 3


@dataclass(frozen=True, slots=True)
class Outcome:
    """How often ``kill -9`` struck, what it did to the ledger, and what the workers' log says."""

    kills: int
    account: Account
    log: str


def killed(
    url: URL,
    folder: Path,
    rounds: int,
    meanwhile: AbstractContextManager[None] | None = None,
    drain: Callable[[URL, Path], None] = ingest_until_empty,
    tell: Callable[[int], None] = lambda number: None,
) -> Outcome:
    """Kill recorders and a shipper, each at a random moment, ``rounds`` times; ship what they left, and count.

    Those of a round find what earlier ones left and are killed over it too. The last of the recorders has no shipper
    of its own; durability changes from one to the next.

    Args:
        meanwhile: what is done to the database until the last is dead.
        drain: ships what was left.
        tell: is called with the number of rounds after each.
    """
    _make_tables(url, folder)
    with Fleet(url, folder) as fleet, meanwhile or nullcontext():
        for number in range(rounds):
            for recorder in range(RECORDERS):
                durability = random.choice(("spool", "spool", "fsync"))
                fleet.start(record_until_killed, THREADS, durability, recorder != RECORDERS - 1)
            fleet.start(ship_until_killed)
            fleet.wait_for_more()
            fleet.kill_all(within=0.5)
            tell(number + 1)
    drain(url, folder)
    return _outcome(fleet)


def crowded(url: URL, folder: Path, processes: int, threads: int, each: int, durability: Durability) -> Outcome:
    """Many processes and threads at one ledger at once, that end as they should."""
    _make_tables(url, folder)
    with Fleet(url, folder) as fleet:
        for _ in range(processes):
            fleet.start(record_and_leave, threads, each, durability)
        fleet.join_all()
    return _outcome(fleet)


def survive(url: URL, folder: Path) -> None:
    """Ship what was left as any process of an app does that is still there."""
    ledger = Ledger.open(url=url, settings=Settings(durability="spool"), spool_dir=folder)
    assert ledger.flush(timeout=60, everyone=True), ledger.last_error
    assert ledger.shutdown()


def _outcome(fleet: Fleet) -> Outcome:
    post = fleet.post
    counted = account(post.url, post.folder, fleet.hear_all())
    log = post.folder / LOG
    return Outcome(fleet.killed, counted, log.read_text() if log.exists() else "")


def _make_tables(url: URL, folder: Path) -> None:
    ledger = Ledger.open(url=url, settings=Settings(durability="sync"), spool_dir=folder)
    ledger.upgrade()
    ledger.shutdown()
