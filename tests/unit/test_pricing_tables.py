"""User price tables: both forms, and one clear line for everything that is wrong with one."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_llm_cost.errors import PriceTableError
from flask_llm_cost.pricing import PriceBook
from flask_llm_cost.pricing.entry import Rate, Rule, When, Window
from flask_llm_cost.pricing.table import Table, decimal_text, parse_table
from flask_llm_cost.pricing.tablefile import MOST_BYTES, read_table

Write = Callable[[str, str | bytes], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to(name: str, content: str | bytes) -> str:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return to


NO_CURRENCY = "is not supported: the ledger and the bundled prices are in USD. Convert every rate of the table to USD."
FULL = """
models:
  anthropic/claude-sonnet-4-5:
    source: manual
    checked_at: 2026-11-10
    aliases: [claude-sonnet-4-5-20250929, claude-sonnet-4-5-latest]
    rates:
      - {input: "3", output: 15, cache_read: 0.30, cache_write.1h: "6", tool.web_search: {usd: "10", per: 1000}}
      - {when: {context_over: 200000}, input: "6"}
      - when: {mode: [batch, bulk]}
        effective_from: 2026-10-14
        effective_until: 2027-01-01
        input: "1.5"
        source: deal
      - {when: {geo: US, windows: [{from: "22:00", to: "06:00", days: [sat, sun]}]}, multiplier: "1.1"}
"""


def test_the_full_form(write: Write) -> None:
    table = read_table(write("prices.yml", FULL))
    entry = table.entries["anthropic/claude-sonnet-4-5"]
    assert (entry.source, entry.checked_at, entry.user) == ("manual", date(2026, 11, 10), True)
    assert table.aliases[entry.key] == ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5-latest")
    assert entry.rules == (
        Rule(
            When(modes=frozenset({"batch", "bulk"})),
            {"input": Rate(Decimal("1.5"), 10**6)},
            effective_from=date(2026, 10, 14),
            effective_until=date(2027, 1, 1),
            source="deal",
        ),
        Rule(When(geos=frozenset({"us"}), windows=(Window(1320, 360, frozenset({5, 6})),)), multiplier=Decimal("1.1")),
        Rule(When(context_over=200_000), {"input": Rate(Decimal(6), 10**6)}),
        Rule(
            When(),
            {
                "input": Rate(Decimal(3), 10**6),
                "output": Rate(Decimal(15), 10**6),
                "cache_read": Rate(Decimal("0.30"), 10**6),
                "cache_write.1h": Rate(Decimal(6), 10**6),
                "tool.web_search": Rate(Decimal(10), 1000),
            },
        ),
    )


FLAT = {
    "input": 0.1,
    "output": "2.50",
    "cache_read_input": 0,
    "cache_write_input": 1,
    "batch_input": 0.05,
    "priority_cache_read_input": 0.2,
    "cache_write_1h_input": 2,
    "_source": "invoice",
    "_notes": ["a", "b"],
}


@pytest.mark.parametrize("name", ["prices.json", "prices.txt", "prices.yml", "PRICES.YAML"])
@pytest.mark.parametrize("wrapped", [True, False])
def test_the_flat_form_of_the_gem_in_json_and_yaml(write: Write, name: str, wrapped: bool) -> None:
    """Covers P-PRC-24, P-PRC-25, P-PRC-32, P-PRC-33 and P-PRC-35; 0.1 means one tenth."""
    models = {"openai/gpt-4o": FLAT}
    table = read_table(write(name, json.dumps({"models": models} if wrapped else models)))
    entry = table.entries["openai/gpt-4o"]
    found = {rule.when.modes: {meter: rate.usd for meter, rate in rule.rates.items()} for rule in entry.rules}
    assert found == {
        frozenset(): {
            "input": Decimal("0.1"),
            "output": Decimal("2.50"),
            "cache_read": Decimal(0),
            "cache_write": Decimal(1),
            "cache_write.1h": Decimal(2),
        },
        frozenset({"batch"}): {"input": Decimal("0.05")},
        frozenset({"priority"}): {"cache_read": Decimal("0.2")},
    }
    assert table.ignored == []


def test_overrides_from_python_take_numbers_as_they_print() -> None:
    """Covers P-PRC-47: a float 0.1 is one tenth."""
    table = parse_table({"gpt-4o": {"input": 0.1, "output": Decimal("0.3"), "cache_read_input": 1}}, "overrides")
    (rule,) = table.entries["gpt-4o"].rules
    assert [rate.usd for rate in rule.rates.values()] == [Decimal("0.1"), Decimal("0.3"), Decimal(1)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.yml", ""),
        ("p.yaml", "# nothing yet\n"),
        ("p.json", "{}"),
        ("p.json", '{"models": {}}'),
        ("p.yml", "models:\n"),
    ],
)
def test_an_empty_table_has_no_prices(write: Write, name: str, text: str) -> None:
    """Covers P-PRC-25."""
    assert read_table(write(name, text)) == Table()


def test_unknown_keys_are_ignored_and_mentioned_once(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    """Covers P-PRC-31; answers P-PRC-34: the gem's older names are no modes."""
    entry = {"input": 1, "cached_input": 2, "cache_creation_input": 3, "imput": 4, "_note": "fine"}
    path = write(
        "p.json", json.dumps({"gpt-4o": entry, "gpt-4": {"rates": [{"input": 1, "outptu": 2}], "colour": "red"}})
    )
    with caplog.at_level(logging.WARNING):
        PriceBook.open(overrides={}, prices_file=path, model_aliases={})
    (message,) = caplog.messages
    assert message == (
        f"LLM_COST_PRICES_FILE {path!r}: these keys are no prices and were ignored: "
        "gpt-4o: cached_input, gpt-4o: cache_creation_input, gpt-4o: imput, gpt-4: colour, gpt-4: outptu."
    )


def test_what_stands_beside_the_models_is_mentioned_not_lost_in_silence() -> None:
    """A model a level too high would be without its price, and nobody would know."""
    raw = {"models": {}, "metadata": {"currency": "usd"}, "schema_version": 1, "_notes": "x", "gpt-4o": {"input": 1}}
    assert parse_table(raw, "T").ignored == ["gpt-4o"]


@pytest.mark.parametrize(
    ("rates", "complaint"),
    [
        ({"input": -1}, "gpt-4o: input: -1 is negative; 0 or more is allowed."),
        ({"batch_input": "-0.01"}, "gpt-4o: batch_input: '-0.01' is negative; 0 or more is allowed."),
        ({"input": float("nan")}, "gpt-4o: input: nan is not finite."),
        ({"input": "NaN"}, "gpt-4o: input: 'NaN' is not finite."),
        ({"input": float("inf")}, "gpt-4o: input: inf is not finite."),
        ({"input": "sNaN"}, "gpt-4o: input: 'sNaN' is not finite."),
        ({"input": "three"}, "gpt-4o: input: 'three' is not a number."),
        ({"input": ""}, "gpt-4o: input: '' is not a number."),
        ({"input": None}, "gpt-4o: input: None is not a number."),
        ({"input": True}, "gpt-4o: input: True is not a number."),
        ({"input": [1]}, "gpt-4o: input: [1] is not a number."),
        ({"input": "1e999999999"},
         "gpt-4o: input: '1e999999999' is out of range; at most 10^9 with at most 18 decimals is allowed."),
        ({"input": "1e-999999999"},
         "gpt-4o: input: '1e-999999999' is out of range; at most 10^9 with at most 18 decimals is allowed."),
        ({"input": "0." + "1" * 100}, "out of range; at most 10^9 with at most 18 decimals is allowed."),
        ({"input": Decimal("-Infinity")}, "gpt-4o: input: Decimal('-Infinity') is not finite."),
        ({"input": {"usd": "1", "per": 1, "eur": 2}}, "gpt-4o: input: usd and per are needed,"),
        ({"input": {"usd": True}}, "gpt-4o: input: usd: True is not a number."),
        ({"in\nput.x": "1\n2"}, r"gpt-4o: 'in\nput.x': '1\n2' is not a number."),
        ({"aliases": [1]}, "gpt-4o: aliases: a list of model names is needed, not [1]."),
        ({"input": {"usd": 1, "per": 0}}, "gpt-4o: input: per: 0 is not a whole number of at least 1."),
        ({"input": {"usd": 1, "per": 1.5}}, "gpt-4o: input: per: 1.5 is not a whole number of at least 1."),
        ({"input": {"eur": 1}}, "gpt-4o: input: usd and per are needed, not {'eur': 1}."),
        ("3", "gpt-4o: a mapping of rates is needed, not '3'."),
        (None, "gpt-4o: a mapping of rates is needed, not None."),
        ({"aliases": "gpt"}, "gpt-4o: aliases: a list of model names is needed, not 'gpt'."),
        ({"rates": "3"}, "gpt-4o: rates: a list of rules is needed, not '3'."),
        ({"rates": ["3"]}, "gpt-4o: rates: rule 1: a mapping is needed, not '3'."),
        ({"rates": [{"input": 1}, {"output": "x"}]}, "gpt-4o: rates: rule 2: output: 'x' is not a number."),
        ({"rates": [{"multiplier": -2}]}, "gpt-4o: rates: rule 1: multiplier: -2 is negative; 0 or more is allowed."),
        ({"rates": [{"when": {"moon": "full"}}]},
         "gpt-4o: rates: rule 1: when: 'moon' is not a condition; known are mode, geo,"),
        ({"rates": [{"when": {"mode": []}}]},
         "gpt-4o: rates: rule 1: when: mode: a text or a list of texts is needed, not []."),
        ({"rates": [{"when": {"context_over": "many"}}]},
         "gpt-4o: rates: rule 1: when: context_over: 'many' is not a number."),
        ({"rates": [{"when": {"context_from": 0}}]}, "when: context_from: 0 is not a whole number of tokens."),
        ({"rates": [{"when": {"context_from": 1, "context_over": 1}}]},
         "when: context_over and context_from exclude each other."),
        ({"rates": [{"when": {"windows": [{"from": "24:30"}]}}]}, "when: windows: '24:30' is not a time of day;"),
        ({"rates": [{"when": {"windows": [{"days": ["someday"]}]}}]}, "when: windows: days: ['someday'];"),
        ({"rates": [{"when": {"windows": []}}]}, "when: windows: a list like"),
        ({"rates": [{"effective_from": "tomorrow"}]},
         "rule 1: effective_from: 'tomorrow' is not a date; write it like 2026-10-14."),
        ({"rates": [{"effective_from": 20261014}]},
         "rule 1: effective_from: 20261014 is not a date; write it like 2026-10-14."),
        ({"rates": [{"effective_from": "2026-10-14", "effective_until": "2026-10-14"}]},
         "effective_until: 2026-10-14 is not after"),
        ({"checked_at": "never"}, "gpt-4o: checked_at: 'never' is not a date; write it like 2026-10-14."),
    ],
)  # fmt: skip
def test_a_wrong_entry_stops_start_up_with_one_line(rates: object, complaint: str) -> None:
    """The line names setting, model and field. Covers P-PRC-28, answers P-PRC-35."""
    with pytest.raises(PriceTableError) as caught:
        PriceBook.open(overrides={"gpt-4o": rates}, prices_file=None, model_aliases={})
    message = str(caught.value)
    assert message.startswith("LLM_COST_PRICING_OVERRIDES: ")
    assert complaint in message
    assert "\n" not in message
    assert len(message) < 300


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        (["gpt-4o"], "a mapping of models is needed, not ['gpt-4o']."),
        ({"models": ["gpt-4o"]}, "models: a mapping is needed, not ['gpt-4o']."),
        ({"metadata": "x", "models": {}}, "metadata: a mapping is needed, not 'x'."),
        ({"metadata": {"currency": "EUR"}}, f"metadata: currency: 'EUR' {NO_CURRENCY}"),
        ({"metadata": {"currency": ["USD"]}}, f"metadata: currency: ['USD'] {NO_CURRENCY}"),
        ({"currency": "EUR", "models": {}}, f"currency: 'EUR' {NO_CURRENCY}"),
        ({"currency": "EUR", "gpt-4o": {"input": 1}}, f"currency: 'EUR' {NO_CURRENCY}"),
        ({"gpt-4o": {"input": 1, "currency": "EUR"}}, f"gpt-4o: currency: 'EUR' {NO_CURRENCY}"),
        ({"gpt-4o": {"rates": [], "currency": None}}, f"gpt-4o: currency: None {NO_CURRENCY}"),
        ({1: {"input": 1}}, "1 is not a model name; a non-empty text is needed."),
        ({" ": {"input": 1}}, "' ' is not a model name; a non-empty text is needed."),
    ],
)
def test_a_wrong_table_is_refused(table: object, complaint: str) -> None:
    """Covers P-PRC-29."""
    with pytest.raises(PriceTableError) as caught:
        parse_table(table, "T")
    assert str(caught.value) == f"T: {complaint}"


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("p.json", "", "the file is empty; an empty table is {}."),
        ("p.json", "{", "Expecting property name"),
        ("p.json", "{}{}", "Extra data"),
        ("p.json", '{"m": {"input": NaN}}', "NaN is not a number of JSON."),
        ("p.json", '{"m": {"input": 1}, "m": {"input": 2}}', "'m' is there twice."),
        ("p.json", "[" * 100_000, "nested too deeply"),
        ("p.json", '{"m": {"input": ' + "9" * 5000 + "}}", "m: input:"),
        ("p.json", b"\xff\xfe", "not UTF-8 text (byte 0)."),
        ("p.json", b" " * (MOST_BYTES + 1), "larger than 2 MiB."),
        ("p.yml", "a: &x {input: 1}\nb: *x", "line 1: YAML anchors and aliases are not allowed."),
        ("p.yml", "a: {input: 1}\nb: *x", "line 2: YAML anchors and aliases are not allowed."),
        ("p.yml", "a: {input: 1}\na: {input: 2}", "'a' is there twice."),
        ("p.yml", "a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]", "line 1: YAML anchors and aliases are not allowed."),
        ("p.yml", "a: {input: 1}\n---\nb: {input: 2}", "expected a single document"),
        ("p.yml", "a: {input: .inf}", "a: input: '.inf' is not a number."),
        ("p.yml", "a: {input: 1, input: 2}", "'input' is there twice."),
        ("p.yml", "a:\n\t input: 1", "cannot start any token"),
        ("p.json", '{"m": {"input": true}}', "m: input: True is not a number."),
        ("p.json", '{"m": {"input": 1, "input": 2}}', "'input' is there twice."),
        ("p.json", '{"m": {"input": 1e400}}', "m: input: '1e400' is out of range;"),
        ("p.json", '{"m": {"input": -0.1}}', "m: input: '-0.1' is negative;"),
        ("p.json", '{"m": {"input": "\\ud800"}}', r"m: input: '\ud800' is not a number."),
        ("p.json", '{"a": 1}'.encode("utf-16"), "not UTF-8 text (byte 0)."),
        ("p.json", '{"a": 1}'.encode("utf-16-le"), "Expecting property name"),
        ("p.json", b'{"caf\xe9": {}}', "not UTF-8 text (byte 5)."),
        ("p.json", '{"m": ' * 50_000, "nested too deeply"),
        ("p.yml", "a: [", "while parsing"),
        ("p.yml", "? [1, 2]\n: {input: 1}", "line 1: a key has to be a text."),
        ("p.yml", "[" * 3000, "p.yml"),
        ("p.yml", "a: {input: !!python/object/apply:os.system [true]}", "a: input: ['true'] is not a number."),
        ("p.yml", "a: {input: true}", "a: input: 'true' is not a number."),
        ("p.yml", "a: {input: }", "a: input: '' is not a number."),
        ("p.yml", "just a text", "a mapping of models is needed, not 'just a text'."),
    ],
)  # fmt: skip
def test_a_wrong_file_stops_start_up_with_one_line(
    write: Write, name: str, content: str | bytes, complaint: str
) -> None:
    """Covers P-PRC-26, P-PRC-27 and P-PRC-30."""
    path = write(name, content)
    with pytest.raises(PriceTableError) as caught:
        PriceBook.open(overrides={}, prices_file=path, model_aliases={})
    message = str(caught.value)
    assert message.startswith(f"Unable to load LLM_COST_PRICES_FILE {path!r}: ")
    assert complaint in message
    assert "\n" not in message


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    """Covers P-PRC-30. A pipe does not make start-up wait for a writer, nor 100 MB for a disk."""
    pipe, loop, huge = tmp_path / "pipe.json", tmp_path / "loop.json", tmp_path / "huge.json"
    os.mkfifo(pipe)
    loop.symlink_to(loop)
    huge.touch()
    os.truncate(huge, 100 * 2**20)
    for path, complaint in (
        (tmp_path / "none.json", "No such file or directory."),
        (tmp_path, "it is not a regular file."),
        (pipe, "it is not a regular file."),
        ("/dev/zero", "it is not a regular file."),
        (loop, "Too many levels of symbolic links."),
        (huge, "it is larger than 2 MiB."),
        (tmp_path / "nul\0.json", "embedded null byte."),
        (tmp_path / ("x" * 300), "File name too long."),
    ):
        with pytest.raises(PriceTableError) as caught:
            PriceBook.open(overrides={}, prices_file=str(path), model_aliases={})
        assert str(caught.value) == f"Unable to load LLM_COST_PRICES_FILE {str(path)!r}: {complaint}"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_is_refused(write: Write) -> None:
    path = write("p.json", "{}")
    os.chmod(path, 0)
    with pytest.raises(PriceTableError, match=r"Permission denied\.$"):
        PriceBook.open(overrides={}, prices_file=path, model_aliases={})


def test_yaml_keeps_numbers_and_dates_as_they_are_written(write: Write) -> None:
    """An unquoted date is a date and 0.10 keeps no binary dust; 1_000 and 0x10 are no numbers of price lists."""
    table = read_table(write("p.yml", "m: {rates: [{effective_from: 2026-01-31, input: 0.10}]}"))
    (rule,) = table.entries["m"].rules
    assert (rule.effective_from, rule.rates["input"].usd) == (date(2026, 1, 31), Decimal("0.10"))
    with pytest.raises(PriceTableError, match="'0x10' is not a number"):
        read_table(write("q.yml", "m: {input: 0x10}"))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.decimals(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
field_names = st.sampled_from(
    ["input", "output", "rates", "when", "aliases", "checked_at", "batch_input", "effective_from"]
)


@given(
    st.dictionaries(
        st.text(max_size=6), st.dictionaries(field_names, json_values, max_size=4) | json_values, max_size=3
    )
)
def test_any_shape_is_a_table_or_a_price_table_error(raw: dict[str, object]) -> None:
    """Nothing else ever comes out of a user's table, and a table that is accepted holds sound rates only."""
    complaint = ""
    table = Table()
    try:
        table = parse_table(raw, "T")
    except PriceTableError as error:
        complaint = str(error)
    assert "\n" not in complaint
    for entry in table.entries.values():
        for rule in entry.rules:
            assert all(rate.usd >= 0 and rate.usd.is_finite() and rate.per >= 1 for rate in rule.rates.values())


@given(st.decimals(min_value=0, max_value=10**9, places=18, allow_nan=False))
def test_a_rate_is_written_without_exponent_and_reads_back(value: Decimal) -> None:
    text = decimal_text(value)
    assert "E" not in text
    assert Decimal(text) == value
