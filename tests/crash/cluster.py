"""A PostgreSQL of our own, to be stopped in the middle of its work."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

from sqlalchemy import URL


class NoPostgreSQL(Exception):
    """Why there can be no cluster here."""


@dataclass(slots=True)
class Cluster:
    """A running PostgreSQL with its data in a folder of its own, on a port of its own."""

    folder: Path
    port: int
    failures: int = 0
    """How often it was stopped by ``failing``."""

    @property
    def url(self) -> URL:
        return URL.create(
            "postgresql+psycopg", username="postgres", host="127.0.0.1", port=self.port, database="postgres"
        )

    def start(self) -> None:
        _run("pg_ctl", "-D", str(self.folder / "data"), "-l", str(self.folder / "log"), "-w", "start")

    def stop(self) -> None:
        """As if its machine were switched off: clients are cut off, the next start recovers."""
        _run("pg_ctl", "-D", str(self.folder / "data"), "-m", "immediate", "-w", "stop")

    @contextmanager
    def failing(self, up: float, down: float) -> Iterator[None]:
        """Meanwhile, stop and start again and again, at random intervals of up to ``up`` and ``down`` seconds."""
        enough = Event()
        errors: list[Exception] = []

        def fail() -> None:
            try:
                while not enough.is_set():
                    enough.wait(random.uniform(0, up))
                    self.stop()
                    self.failures += 1
                    time.sleep(random.uniform(0, down))
                    self.start()
            except Exception as error:
                errors.append(error)

        thread = Thread(target=fail)
        thread.start()
        try:
            yield
        finally:
            enough.set()
            thread.join()
        if errors:
            raise errors[0]


@contextmanager
def private_cluster() -> Iterator[Cluster]:
    """A cluster that is gone afterwards.

    Raises:
        NoPostgreSQL: its programs are not installed, or may not be run.
    """
    folder = Path(tempfile.mkdtemp(prefix="llm_cost_pg_"))
    cluster = Cluster(folder, _free_port())
    try:
        _initialise(cluster)
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _initialise(cluster: Cluster) -> None:
    folder, data = cluster.folder, cluster.folder / "data"
    if os.geteuid() == 0:
        try:
            shutil.chown(folder, "postgres")
        except LookupError as error:
            raise NoPostgreSQL("there is no user 'postgres' to run it as") from error
    _run("initdb", "-D", str(data), "-U", "postgres", "-A", "trust", "--no-sync", "--no-instructions")
    settings = f"port = {cluster.port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{folder}'\n"
    with (data / "postgresql.auto.conf").open("a") as file:
        file.write(settings)


def _run(program: str, *args: str) -> None:
    found = shutil.which(program) or max(map(str, Path("/usr/lib/postgresql").glob(f"*/bin/{program}")), default=None)
    if found is None:
        raise NoPostgreSQL(f"{program} is not installed")
    # It refuses to run as root.
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    # A server that was started keeps its standard streams: a pipe would never end.
    with tempfile.TemporaryFile() as output:
        done = subprocess.run([*user, found, *args], stdout=output, stderr=output, check=False, cwd="/")
        output.seek(0)
        assert done.returncode == 0, output.read().decode()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
