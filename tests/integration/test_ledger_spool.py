"""The spool on a real disk: order, bounds, torn tails, owners."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from flask_llm_cost.ledger.spool import MAGIC, Backlog, Spool, SpoolFullError, is_writable

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def drain(spool: Spool, limit: int = 100) -> list[bytes]:
    """Everything that waits, marked as shipped."""
    found: list[bytes] = []
    while batch := spool.next_batch(limit):
        found += batch.payloads
        spool.done(batch)
    return found


def test_records_come_back_in_order_and_leave_nothing(folder: Path) -> None:
    spool = Spool(folder, "x", 1 << 20)
    payloads = [b"%d" % n for n in range(25)]
    for payload in payloads:
        spool.append(payload)
    assert spool.backlog() == Backlog(records=25, bytes=25 * 12 + 10 + 30, files=1)
    assert drain(spool, limit=10) == payloads
    assert spool.backlog() == Backlog(0, 0, 0)
    assert (spool.appended, spool.shipped) == (25, 25)
    assert [path.stat().st_size for path in folder.iterdir()] == [len(MAGIC)]
    spool.close()
    assert list(folder.iterdir()) == []


def test_only_the_owner_can_read_the_files(folder: Path) -> None:
    spool = Spool(folder, "x", 1 << 20)
    spool.append(b"one")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [path.stat().st_mode & 0o777 for path in folder.iterdir()] == [0o600]
    spool.close()


def test_a_large_record_comes_back_whole(folder: Path) -> None:
    """Larger than what is read at once."""
    spool = Spool(folder, "x", 64 << 20)
    payloads = [b"a", b"b" * (3 << 20), b"c"]
    for payload in payloads:
        spool.append(payload)
    assert drain(spool) == payloads
    spool.close()


def test_segments_rotate_and_go_when_shipped(folder: Path) -> None:
    """While events keep coming, what is shipped frees its space."""
    spool = Spool(folder, "x", 2 << 20)
    payloads = [bytes([n]) * 50_000 for n in range(30)]
    for payload in payloads:
        spool.append(payload)
    assert len(list(folder.iterdir())) > 5
    assert drain(spool, limit=1) == payloads
    assert len(list(folder.iterdir())) == 1
    spool.close()


def test_a_full_spool_refuses_and_recovers(folder: Path) -> None:
    spool = Spool(folder, "x", 100_000)
    spool.append(b"x" * 60_000)
    with pytest.raises(SpoolFullError):
        spool.append(b"y" * 60_000)
    assert drain(spool) == [b"x" * 60_000]
    spool.append(b"y" * 60_000)
    assert drain(spool) == [b"y" * 60_000]
    spool.close()


def test_a_write_cut_short_leaves_no_trace(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up in the middle of a record: an error, and the next record is readable."""
    spool = Spool(folder, "x", 1 << 20)
    spool.append(b"before")
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:-4]))
    with pytest.raises(OSError, match="could be written"):
        spool.append(b"torn")
    monkeypatch.setattr(os, "write", lambda fd, data: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")))
    with pytest.raises(OSError, match="No space left"):
        spool.append(b"none")
    monkeypatch.undo()
    spool.append(b"after")
    assert drain(spool) == [b"before", b"after"]
    spool.close()


def test_a_live_owner_keeps_its_files(folder: Path) -> None:
    """P-ING-08, P-ING-06: what another holds is not touched until it lets go."""
    owner, other = Spool(folder, "x", 1 << 20), Spool(folder, "x", 1 << 20)
    owner.append(b"one")
    assert other.adopt() == 0
    assert other.backlog().records == 1
    owner.close()
    assert other.adopt() == 1
    assert drain(other) == [b"one"]
    assert list(folder.iterdir()) == []


def test_spools_of_another_ledger_are_left_alone(folder: Path) -> None:
    spool = Spool(folder, "x", 1 << 20)
    spool.append(b"one")
    spool.close()
    other = Spool(folder, "y", 1 << 20)
    assert (other.adopt(), other.backlog()) == (0, Backlog(0, 0, 0))


@pytest.mark.parametrize("cut", [1, 3, 11, 14])
def test_a_torn_tail_is_cut_off(folder: Path, cut: int, caplog: pytest.LogCaptureFixture) -> None:
    """A crash in the middle of a write: everything before it is adopted, the rest is told and dropped."""
    spool = Spool(folder, "x", 1 << 20)
    spool.append(b"one")
    spool.append(b"two")
    spool.close()
    (path,) = folder.iterdir()
    os.truncate(path, path.stat().st_size - cut)
    heir = Spool(folder, "x", 1 << 20)
    assert heir.adopt() == 1
    assert drain(heir) == [b"one"]
    assert list(folder.iterdir()) == []
    assert f"{15 - cut} bytes are no whole record" in caplog.text


def test_a_file_of_another_version_is_left_alone(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """That version can ship it; it is told of once, and nobody waits for it."""
    writer = Spool(folder, "x", 1 << 20)
    writer.append(b"a record that looks the same")
    writer.close()
    (path,) = folder.iterdir()
    path.write_bytes(MAGIC[:-1] + b"\x09" + path.read_bytes()[len(MAGIC) :])
    spool = Spool(folder, "x", 1 << 20)
    assert [spool.adopt(), spool.adopt()] == [0, 0]
    assert spool.next_batch(1) is None
    assert spool.backlog() == Backlog(0, 0, 0)
    assert path.exists()
    assert [record.message for record in caplog.records] == [
        f"{path} was written by another version of flask-llm-cost, which can ship it: left alone."
    ]


def test_what_is_handed_over_is_shipped_by_others(folder: Path) -> None:
    """While the process that appends it lives, and goes on in another file."""
    recorder, ingest = Spool(folder, "x", 1 << 20, hands_over=True), Spool(folder, "x", 1 << 20)
    recorder.append(b"one")
    recorder.append(b"two")
    assert recorder.next_batch(9) is None
    assert ingest.adopt() == 1
    recorder.append(b"three")
    assert drain(ingest) == [b"one", b"two"]
    assert ingest.adopt() == 1
    assert drain(ingest) == [b"three"]
    assert list(folder.iterdir()) == []
    recorder.append(b"four")
    assert not recorder.has_arrived(4)
    assert drain(recorder) == [b"four"]
    assert recorder.has_arrived(4)
    recorder.close()
    assert list(folder.iterdir()) == []


def test_what_is_handed_over_is_bounded_and_makes_room(folder: Path) -> None:
    """Nobody ships: it is full in the end; somebody does: there is room again."""
    recorder, ingest = Spool(folder, "x", 100_000, hands_over=True), Spool(folder, "x", 1 << 20)
    recorder.append(b"x" * 60_000)
    with pytest.raises(SpoolFullError):
        recorder.append(b"y" * 60_000)
    ingest.adopt()
    assert drain(ingest) == [b"x" * 60_000]
    recorder.append(b"y" * 60_000)
    ingest.adopt()
    assert drain(ingest) == [b"y" * 60_000]
    recorder.close()


def test_appending_and_handing_over_race_without_loss(folder: Path) -> None:
    """Two threads append while two others ship whatever they get hold of: each record once."""
    recorder = Spool(folder, "x", 64 << 20, hands_over=True)
    done, found = threading.Event(), list[bytes]()

    def append(number: int) -> None:
        for n in range(2000):
            recorder.append(b"%d-%d" % (number, n))

    def ship() -> None:
        spool = Spool(folder, "x", 1 << 20)
        while True:
            last = done.is_set()
            spool.adopt()
            found.extend(drain(spool))
            if last:
                return

    appending = [threading.Thread(target=append, args=(number,)) for number in range(2)]
    shipping = [threading.Thread(target=ship) for _ in range(2)]
    for thread in (*appending, *shipping):
        thread.start()
    for thread in appending:
        thread.join()
    done.set()
    for thread in shipping:
        thread.join()
    assert sorted(found) == sorted(b"%d-%d" % (number, n) for number in range(2) for n in range(2000))
    recorder.close()
    assert list(folder.iterdir()) == []


def test_an_empty_file_of_a_dead_process_goes(folder: Path) -> None:
    folder.mkdir()
    (folder / "x-1-abcd-000001.spool").write_bytes(MAGIC)
    assert Spool(folder, "x", 1 << 20).adopt() == 0
    assert list(folder.iterdir()) == []


def test_a_file_killed_before_it_had_its_name_is_removed(folder: Path) -> None:
    """Not those that may be about to get it, nor those of other ledgers."""
    folder.mkdir()
    old, young, foreign = (folder / f"{name}-1-abcd-000001.new" for name in ("x-7", "x-8", "y-9"))
    for path in (old, young, foreign):
        path.write_bytes(MAGIC)
    for path in (old, foreign):
        os.utime(path, (0, 0))
    assert Spool(folder, "x", 1 << 20).adopt() == 0
    assert sorted(folder.iterdir()) == [young, foreign]


KILLED = """
import os, signal, sys
from pathlib import Path
from flask_llm_cost.ledger.spool import Spool
spool = Spool(Path(sys.argv[1]), "x", 1 << 20)
for n in range(100):
    spool.append(b"%d" % n)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_appended_survives_kill_9(folder: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(folder)], cwd=REPOSITORY, check=False)
    assert killed.returncode == -9
    spool = Spool(folder, "x", 1 << 20)
    assert spool.adopt() == 1
    assert drain(spool) == [b"%d" % n for n in range(100)]


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert is_writable(tmp_path / "new" / "spool")
    assert not is_writable(tmp_path / "file" / "spool")
