"""What runs in the processes that get killed. Each says an id aloud when ``record`` has returned, never before."""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from sqlalchemy import URL

from crash.events import event_of
from flask_llm_cost.ledger import Ledger
from flask_llm_cost.ledger.identity import uuid7
from flask_llm_cost.settings import Durability, Settings

LOG = "workers.log"


@dataclass(frozen=True, slots=True)
class Post:
    """Where a worker works.

    Attributes:
        url: the database.
        folder: takes the spools, and the log of all workers.
        told: the pipe that takes 16 bytes for each acknowledged event: fewer than would ever be written in parts.
    """

    url: URL
    folder: Path
    told: Connection

    def open(self, durability: Durability = "spool", *, shipper: bool = True) -> Ledger:
        form = "%(process)d %(levelname)s %(message)s"
        logging.basicConfig(filename=self.folder / LOG, level=logging.WARNING, format=form)
        settings = Settings(durability=durability, shipper=shipper)
        return Ledger.open(url=self.url, settings=settings, spool_dir=self.folder)

    def record(self, ledger: Ledger) -> None:
        event = event_of(uuid7())
        ledger.record(event)
        os.write(self.told.fileno(), event.event_id.bytes)


def record_until_killed(post: Post, threads: int, durability: Durability, shipper: bool) -> None:
    """Record in bursts, from several threads, while the shipper of this process (if it has one) is at work."""
    ledger = post.open(durability, shipper=shipper)

    def work() -> None:
        while True:
            for _ in range(random.randint(1, 30)):
                post.record(ledger)
            time.sleep(random.uniform(0, 0.03))

    _in_threads(work, threads)


def ship_until_killed(post: Post) -> None:
    """What ``flask llm-cost ingest`` runs."""
    ledger = post.open()
    ledger.ingest().run(threading.Event(), lambda records, error: None)


def record_and_leave(post: Post, threads: int, each: int, durability: Durability) -> None:
    """Record ``each`` events in every thread, then end as a process does. What an app would see goes to the log."""
    ledger = post.open(durability)

    def work() -> None:
        try:
            for _ in range(each):
                post.record(ledger)
        except Exception:
            logging.exception("The app sees this")

    _in_threads(work, threads)
    ledger.shutdown(timeout=60)


def _in_threads(work: Callable[[], None], count: int) -> None:
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
