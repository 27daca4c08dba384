"""The price book of one app: reload, caches, threads, several models in one answer."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from flask_llm_cost.pricing import Catalogue, PriceBook, price
from flask_llm_cost.pricing import book as book_module
from flask_llm_cost.pricing import pricer as pricer_module
from flask_llm_cost.pricing.bundle import as_bundled, bundled
from flask_llm_cost.pricing.catalog import Layer
from flask_llm_cost.pricing.entry import Entry
from flask_llm_cost.pricing.table import Table, parse_table
from flask_llm_cost.pricing.tablefile import read_table
from flask_llm_cost.usage import ModelUsage
from receipt_lines import line


class Clock:
    """A monotonic clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(book_module, "monotonic", clock)
    return clock


def save(path: Path, rate: object) -> None:
    """Write a table whose time and inode differ from the last one's, as an editor's does."""
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps({"acme/model": {"input": rate, "output": 1}}))
    stamp = path.stat().st_mtime_ns + 10**9 if path.exists() else 10**18
    os.utime(fresh, ns=(stamp, stamp))
    fresh.replace(path)


def opened(path: Path | None = None, **tables: object) -> PriceBook:
    return PriceBook.open(
        overrides=tables.get("overrides", {}),  # type: ignore[arg-type]
        prices_file=None if path is None else str(path),
        model_aliases=tables.get("aliases", {}),  # type: ignore[arg-type]
    )


def rate_of(book: PriceBook) -> Decimal | None:
    """The rate once an edit that a call has noticed is read."""
    book.price("acme", "model", {"input": 1})
    for thread in threading.enumerate():
        if thread.name == book_module.READER:
            thread.join(10)
    return book.price("acme", "model", {"input": 1}).lines[0].rate


def test_an_edited_file_is_noticed_within_a_second(tmp_path: Path, clock: Clock) -> None:
    """Answers P-PRC-38; the file is read once per edit (P-PRC-37), looked at once a second, and caches follow."""
    path = tmp_path / "prices.json"
    save(path, 1)
    book = opened(path)
    assert rate_of(book) == 1
    save(path, 2)
    clock.now += 0.9
    assert rate_of(book) == 1
    clock.now += 0.2
    assert rate_of(book) == 2
    catalogue = book.catalogue
    clock.now += 100
    assert rate_of(book) == 2
    assert book.catalogue is catalogue


def test_no_call_waits_for_the_file_to_be_read(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Meanwhile the table before it holds, and the file is read once, however many calls there are."""
    path = tmp_path / "prices.json"
    save(path, 1)
    book = opened(path)
    may_read, reads = threading.Event(), []

    def slowly(path: str) -> Table:
        reads.append(threading.current_thread().name)
        assert may_read.wait(10)
        return read_table(path)

    monkeypatch.setattr(book_module, "read_table", slowly)
    save(path, 2)
    for _ in range(3):
        clock.now += 2
        assert book.price("acme", "model", {"input": 1}).lines[0].rate == 1
    may_read.set()
    assert rate_of(book) == 2
    assert reads == [book_module.READER]


@pytest.mark.parametrize("broken", ["delete", "syntax", "negative"])
def test_a_broken_edit_keeps_the_last_good_table_and_warns_once(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    path = tmp_path / "prices.json"
    save(path, 1)
    book = opened(path)
    if broken == "delete":
        path.unlink()
    elif broken == "syntax":
        path.write_text('{"acme/model": {')
    else:
        save(path, -1)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            clock.now += 2
            assert rate_of(book) == 1
    (record,) = caplog.records
    assert record.exc_info is None
    assert str(path) in record.getMessage()
    assert book.file_error is not None
    assert book.file_error.startswith("Unable to load LLM_COST_PRICES_FILE")
    save(path, 3)
    clock.now += 2
    assert rate_of(book) == 3
    assert book.file_error is None


def test_books_of_two_apps_know_nothing_of_each_other() -> None:
    """Covers P-PRC-36, P-CFG-26: a changed configuration is another book."""
    first, second = (opened(overrides={"acme/model": {"input": rate}}) for rate in (1, 2))
    assert (rate_of(first), rate_of(second), rate_of(opened())) == (1, 2, None)


def test_the_callers_tables_are_copied() -> None:
    overrides: dict[str, dict[str, object]] = {"acme/model": {"input": 1}}
    aliases = {"own": "acme/model"}
    book = opened(overrides=overrides, aliases=aliases)
    overrides["acme/model"]["input"] = 2
    aliases["own"] = "openai/gpt-4o"
    assert rate_of(book) == 1
    assert book.price("acme", "own", {"input": 1}).key == "acme/model"


def test_another_models_part_of_an_answer_is_priced_as_that_model() -> None:
    """Lines name the other model; the total is the sum of all of them."""
    book = opened(overrides={"acme/big": {"input": 10, "output": 20}, "acme/small": {"input": 1, "output": 2}})
    extra = (ModelUsage("small", {"input": 3_000_000, "output": 1_000_000}),)
    receipt = book.price("acme", "big", {"input": 1_000_000}, extra=extra)
    assert receipt.lines == (
        line("input", 10**6, Decimal(10), 10**6, Decimal(10), "manual"),
        line("input", 3 * 10**6, Decimal(1), 10**6, Decimal(3), "manual", None, "small"),
        line("output", 10**6, Decimal(2), 10**6, Decimal(2), "manual", None, "small"),
    )
    assert (receipt.total, receipt.status, receipt.key) == (Decimal(15), "complete", "acme/big")


@pytest.mark.parametrize(
    ("model", "usage", "other", "expected"),
    [
        ("big", {"input": 10**6}, "nobody", ("partial", "missing_rate", Decimal(10))),
        ("nobody", {"input": 10**6}, "big", ("partial", "no_price", Decimal(10))),
        ("nobody", {}, "big", ("complete", None, Decimal(10))),
        ("nobody", {"input": 1}, "nobody", ("unknown", "no_price", None)),
        ("big", {}, "big", ("complete", None, Decimal(10))),
    ],
)
def test_an_unknown_part_makes_the_whole_a_lower_bound(
    model: str, usage: dict[str, int], other: str, expected: tuple[str, str | None, Decimal | None]
) -> None:
    book = opened(overrides={"acme/big": {"input": 10, "output": 20}})
    receipt = book.price("acme", model, usage, extra=(ModelUsage(other, {"input": 10**6}),))
    assert (receipt.status, receipt.reason, receipt.total) == expected


def test_the_tier_is_the_other_models_too() -> None:
    book = opened(overrides={"acme/big": {"input": 10, "batch_input": 5}, "acme/small": {"input": 1}})
    receipt = book.price("acme", "big", {"input": 1}, mode="batch", extra=(ModelUsage("small", {"input": 1}),))
    assert (receipt.status, receipt.reason) == ("partial", "unknown_tier")


def test_the_cache_of_tariffs_is_bounded_and_keeps_misses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Covers P-PRC-39: model names come from outside."""
    monkeypatch.setattr(pricer_module, "MOST_TARIFFS", 8)
    catalogue = Catalogue([Layer.of("overrides", parse_table({"acme/model": {"input": 1}}, "T"))])
    for number in range(100):
        assert catalogue.price("acme", f"unheard-{number}", {"input": 1}).status == "unknown"
        assert catalogue.price("acme", "model", {"input": 1}).status == "complete"
        assert len(catalogue._tariffs) <= 8
    matched: list[str] = []
    monkeypatch.setattr(pricer_module, "match", lambda *arguments: matched.append(arguments[3]))
    for _ in range(3):
        catalogue.price("acme", "a-miss", {"input": 1})
    assert matched == ["a-miss"]


def together(work: Callable[[int], object], threads: int = 12) -> list[object]:
    """The answers of many threads that start at the same moment."""
    barrier = threading.Barrier(threads)
    answers: list[object] = [None] * threads

    def run(number: int) -> None:
        barrier.wait()
        try:
            answers[number] = work(number)
        except BaseException as error:
            answers[number] = error

    running = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return answers


def test_many_threads_meeting_a_cold_catalogue_agree() -> None:
    """Covers P-PRC-40, P-CON-04: entries, provider index and cards are all made at first use."""
    raw = {
        "schema": 1, "updated": "2026-11-01", "sources": {"s": "1"}, "providers": {}, "latest": {},
        "entries": {
            f"openai/m-{number}": {"rates": [{"input": str(number)}, {"when": {"context_over": 5}, "output": "1"}]}
            for number in range(300)
        },
    }  # fmt: skip
    catalogue = Catalogue([as_bundled(raw).layer])  # type: ignore[arg-type]

    def work(_: int) -> object:
        return [
            catalogue.price(name, f"m-{number}", {"input": 9, "output": 1})
            for number in range(300)
            for name in ("openai", "")
        ]

    answers = together(work)
    assert all(answer == answers[0] for answer in answers)
    assert [receipt.status for receipt in answers[0]] == ["complete"] * 600  # type: ignore[attr-defined]


def test_prices_never_tear_while_a_file_is_reloaded(tmp_path: Path) -> None:
    """Every receipt is wholly of one table, old or new."""
    path = tmp_path / "prices.json"

    def write(rate: int) -> None:
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps({"acme/model": {"input": rate, "output": rate}}))
        fresh.replace(path)

    write(1)
    book = opened(path)

    def work(number: int) -> object:
        if number == 0:
            for rate in range(2, 40):
                write(rate)
                book.refresh()
            return set()
        usage = {"input": 1, "output": 1}
        return {tuple(line.rate for line in book.price("acme", "model", usage).lines) for _ in range(400)}

    seen = together(work, threads=4)
    assert all(one == other for pairs in seen for one, other in pairs)  # type: ignore[attr-defined]


def test_an_entry_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[str] = []

    def read(key: str) -> Entry:
        reads.append(key)
        return Entry(key, (), "test")

    layer = Layer("bundled", ["openai/a", "openai/b"], read)
    for _ in range(3):
        layer.find("openai", "a")
    assert reads == ["openai/a"]


def test_a_mapping_to_nothing_is_mentioned_at_start_up(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        opened(aliases={"a": "openai/gpt-4o", "azure/b": "gpt-4o-mini", "c": "nobody/knows"})
    assert caplog.messages == ["LLM_COST_MODEL_ALIASES: no price table has 'c' → 'nobody/knows'."]


def test_the_book_says_how_old_its_bundled_prices_are() -> None:
    book = opened()
    assert isinstance(book.updated, date)
    assert book.version == f"{bundled().updated} (genai-prices 0.2.3, litellm 1.109.1)"


def test_without_tables_a_book_prices_like_the_bundle() -> None:
    at = datetime(2026, 11, 1, tzinfo=UTC)
    usage = {"input": 1234, "output": 56}
    assert opened().price("openai", "gpt-4o", usage, at=at) == price("openai", "gpt-4o", usage, at=at)
