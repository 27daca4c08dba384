"""Processes to kill, and an ear for what they acknowledge."""

from __future__ import annotations

import multiprocessing
import os
import random
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from sqlalchemy import URL

from crash.workers import Post

_ID = 16


class Fleet:
    """Workers at one ledger. They are forked from a process that has no threads and all imports: a start is cheap."""

    def __init__(self, url: URL, folder: Path) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["flask_llm_cost.ledger", "sqlalchemy.dialects.sqlite", "psycopg"])
        self._ear, mouth = self._context.Pipe(duplex=False)
        self.post = Post(url, folder, mouth)
        self._heard = bytearray()
        self._listener = Thread(target=self._listen, daemon=True)
        self._living: list[BaseProcess] = []
        self.killed = 0
        """How many were ended by ``kill -9``."""

    def __enter__(self) -> Self:
        self._listener.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for process in list(self._living):
            self.kill(process)
        self.hear_all()

    def start(self, work: Callable[..., None], *args: Any) -> None:
        """Start a worker at ``work(post, *args)``."""
        process = self._context.Process(target=work, args=(self.post, *args), daemon=True)
        process.start()
        self._living.append(process)

    def kill(self, process: BaseProcess) -> None:
        """``kill -9``."""
        process.kill()
        process.join()
        # Nothing else may end a worker: it would have failed.
        assert process.exitcode == -9, f"a worker ended by itself: {process.exitcode}"
        self._living.remove(process)
        self.killed += 1

    def kill_all(self, within: float) -> None:
        """Kill each at a moment of its own in the next ``within`` seconds."""
        begun = time.monotonic()
        moments = sorted((random.uniform(0, within), number) for number in range(len(self._living)))
        for (moment, _), process in zip(moments, random.sample(self._living, len(self._living)), strict=True):
            time.sleep(max(0.0, begun + moment - time.monotonic()))
            self.kill(process)

    def join_all(self) -> None:
        """Wait until all have ended by themselves."""
        for process in self._living:
            process.join()
            assert process.exitcode == 0, f"a worker failed: {process.exitcode}"
        self._living.clear()

    def wait_for_more(self, seconds: float = 30) -> None:
        """Wait until another event is acknowledged."""
        before, deadline = len(self._heard), time.monotonic() + seconds
        while len(self._heard) == before:
            assert time.monotonic() < deadline, "nothing was acknowledged"
            time.sleep(0.01)

    def hear_all(self) -> list[UUID]:
        """What was acknowledged; to be asked when nobody lives any more."""
        self.post.told.close()
        self._listener.join()
        return [UUID(bytes=bytes(self._heard[at : at + _ID])) for at in range(0, len(self._heard), _ID)]

    def _listen(self) -> None:
        while heard := os.read(self._ear.fileno(), 1 << 16):
            self._heard += heard
