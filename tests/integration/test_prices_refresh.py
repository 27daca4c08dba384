"""``prices check`` and ``prices refresh``: published prices over HTTP, compared and written down."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
import responses
import yaml
from click.testing import Result
from flask import Flask

from flask_llm_cost import LLMCost
from flask_llm_cost.cli import llm_cost
from flask_llm_cost.published import fetch, pricefile, source

MakeApp = Callable[..., tuple[Flask, LLMCost]]
Run = Callable[..., Result]

URL = "https://prices.example/table.json"
TODAY = datetime.now(UTC).date().isoformat()


def registry(models: dict[str, Any], **metadata: Any) -> str:
    return json.dumps({"metadata": {"schema_version": 1, **metadata}, "models": models})


FILE = {
    "metadata": {"updated_at": "2026-01-02", "owner": "finance"},
    "models": {
        "openai/gpt-4o": {"source": "litellm", "input": "5", "output": "15"},
        "acme/negotiated": {"input": "0.10", "output": "0.20"},
        "acme/retired": {"source": "litellm", "input": "1", "output": "2"},
    },
}
PUBLISHED = {
    "openai/gpt-4o": {"source": "litellm", "input": "2.5", "output": "10", "cache_read_input": "1.25"},
    "acme/negotiated": {"source": "litellm", "input": "9", "output": "9"},
    "acme/new": {"source": "litellm", "input": "1", "output": "1"},
}


@pytest.fixture
def prices_file(tmp_path: Path) -> Path:
    path = tmp_path / "prices.json"
    path.write_text(json.dumps(FILE))
    return path


@pytest.fixture
def run(make_app: MakeApp, prices_file: Path) -> Run:
    app, _ = make_app(LLM_COST_PRICES_FILE=str(prices_file))

    def invoke(*arguments: str) -> Result:
        return app.test_cli_runner().invoke(llm_cost, ["prices", *arguments])

    return invoke


def lines(result: Result) -> list[str]:
    return [" ".join(line.split()) for line in result.output.splitlines()]


@responses.activate
def test_refresh_writes_what_is_published_and_leaves_what_a_person_wrote(run: Run, prices_file: Path) -> None:
    """Covers P-SYNC-03, P-SYNC-04, P-SYNC-20, P-SYNC-21, P-SYNC-24; answers P-SYNC-23."""
    responses.get(URL, body=registry(PUBLISHED), headers={"etag": '"v2"'})
    result = run("refresh", "--source", URL)
    assert (result.exit_code, lines(result)) == (
        0,
        [
            "model meter condition in use published",
            "openai/gpt-4o cache_read none 1.25",
            "openai/gpt-4o input 5 2.5",
            "openai/gpt-4o output 15 10",
            "",
            f"Source: {URL}.",
            "3 rates of 1 models differ.",
            "1 models are new: acme/new.",
            "1 models are gone from the source and kept: acme/retired.",
            "1 entries of yours are left alone: acme/negotiated.",
            f"Written: {prices_file}.",
        ],
    )
    written = json.loads(prices_file.read_text())
    assert written == {
        "metadata": {
            "updated_at": TODAY,
            "owner": "finance",
            "schema_version": 1,
            "currency": "USD",
            "source": URL,
            "sources": {URL: '"v2"'},
        },
        "models": {
            "acme/negotiated": FILE["models"]["acme/negotiated"],
            "acme/new": PUBLISHED["acme/new"],
            "acme/retired": FILE["models"]["acme/retired"],
            "openai/gpt-4o": PUBLISHED["openai/gpt-4o"],
        },
    }
    assert list(prices_file.parent.glob(".prices*")) == []
    assert prices_file.read_text().endswith("}\n")


@responses.activate
def test_a_second_refresh_asks_only_for_what_changed(run: Run, prices_file: Path) -> None:
    """Covers P-SYNC-06."""
    responses.get(URL, body=registry(PUBLISHED), headers={"etag": '"v2"'})
    responses.get(URL, status=304)
    assert run("refresh", "--source", URL).exit_code == 0
    before = prices_file.stat().st_mtime_ns
    result = run("refresh", "--source", URL)
    assert (result.exit_code, lines(result)) == (0, ["Nothing changed at the source."])
    assert prices_file.stat().st_mtime_ns == before
    assert "If-None-Match" not in responses.calls[0].request.headers
    assert responses.calls[1].request.headers["If-None-Match"] == '"v2"'


@pytest.mark.parametrize(
    ("headers", "version", "asked"),
    [
        ({"last-modified": "Sun, 22 Nov 2026 07:00:00 GMT"}, "Sun, 22 Nov 2026 07:00:00 GMT", "If-Modified-Since"),
        ({}, "sha256:", None),
    ],
)
@responses.activate
def test_without_an_etag_the_date_or_the_content_itself_tells_versions_apart(
    run: Run, prices_file: Path, headers: dict[str, str], version: str, asked: str | None
) -> None:
    """Covers P-SYNC-19."""
    responses.get(URL, body=registry(PUBLISHED), headers=headers)
    assert run("refresh", "--source", URL).exit_code == 0
    held = json.loads(prices_file.read_text())["metadata"]["sources"][URL]
    assert held.startswith(version)
    result = run("refresh", "--source", URL)
    assert lines(result) == ["Nothing changed at the source."]
    again = responses.calls[1].request.headers
    assert {name: again.get(name) for name in ("If-None-Match", "If-Modified-Since")} == {
        "If-None-Match": None,
        "If-Modified-Since": version if asked else None,
    }


@responses.activate
def test_a_preview_writes_nothing(run: Run, prices_file: Path) -> None:
    """Covers P-SYNC-05."""
    responses.get(URL, body=registry(PUBLISHED))
    before = prices_file.read_bytes()
    result = run("refresh", "--source", URL, "--preview")
    assert (result.exit_code, lines(result)[-1]) == (0, "Nothing is written: this was a preview.")
    assert prices_file.read_bytes() == before


@pytest.mark.parametrize("price", ["0", "16", "1.6"])
@responses.activate
def test_a_price_that_moved_far_needs_a_yes(run: Run, prices_file: Path, price: str) -> None:
    responses.get(URL, body=registry({"openai/gpt-4o": {"source": "litellm", "input": price, "output": "15"}}))
    before = prices_file.read_bytes()
    refused = run("refresh", "--source", URL)
    assert refused.exit_code == 1
    assert f"openai/gpt-4o input 5 {price} ?" in lines(refused)
    assert lines(refused)[-1] == (
        "Nothing is written: 1 prices moved far (marked ?). Look at them, then run again with --yes."
    )
    assert prices_file.read_bytes() == before
    assert run("refresh", "--source", URL, "--yes").exit_code == 0
    assert json.loads(prices_file.read_text())["models"]["openai/gpt-4o"]["input"] == price


@responses.activate
def test_check_names_each_difference_writes_nothing_and_exits_with_1(run: Run, prices_file: Path) -> None:
    """Covers P-SYNC-12, P-SYNC-25; P-EXP-06 and P-EXP-07 for a table of January."""
    responses.get(URL, body=registry(PUBLISHED))
    before = prices_file.read_bytes()
    result = run("check", "--source", URL)
    assert result.exit_code == 1
    assert "openai/gpt-4o input 5 2.5" in lines(result)
    assert f"LLM_COST_PRICES_FILE {str(prices_file)!r}: the prices of 2026-01-02 are older than 30 days. " in (
        result.output
    )
    assert "flask llm-cost prices refresh" in result.output
    assert prices_file.read_bytes() == before


@responses.activate
def test_check_sees_a_changed_rate_of_any_tier(run: Run) -> None:
    """Answers P-SYNC-22: a changed batch rate is drift."""
    held = FILE["models"]["openai/gpt-4o"]
    rates = [{"input": held["input"], "output": held["output"]}, {"when": {"mode": "batch"}, "input": "2"}]
    responses.get(URL, body=registry({"openai/gpt-4o": {"source": "litellm", "rates": rates}}))
    result = run("check", "--source", URL)
    assert result.exit_code == 1
    assert lines(result)[1] == "openai/gpt-4o input mode batch none 2"


@responses.activate
def test_check_of_the_same_prices_exits_with_0(run: Run) -> None:
    models = {key: entry for key, entry in FILE["models"].items() if key != "acme/retired"}
    responses.get(URL, body=registry(models))
    result = run("check", "--source", URL)
    assert (result.exit_code, lines(result)[1]) == (0, "Up to date.")


@responses.activate
def test_check_for_machines(run: Run) -> None:
    responses.get(URL, body=registry(PUBLISHED), headers={"etag": '"v2"'})
    result = run("check", "--source", URL, "--json")
    change = {"model": "openai/gpt-4o", "condition": None, "suspicious": False}
    assert json.loads(result.output) == {
        "source": URL,
        "up_to_date": False,
        "changes": [
            {**change, "meter": "cache_read", "in_use": None, "published": "1.25"},
            {**change, "meter": "input", "in_use": "5", "published": "2.5"},
            {**change, "meter": "output", "in_use": "15", "published": "10"},
        ],
        "added": ["acme/new"],
        "dropped": ["acme/retired"],
        "manual": ["acme/negotiated"],
        "notes": [],
        "versions": {URL: '"v2"'},
        "fresh": False,
    }


@responses.activate
def test_without_a_prices_file_the_bundled_prices_are_compared_and_the_instance_folder_written(
    make_app: MakeApp,
) -> None:
    """Covers P-SYNC-01, P-SYNC-13."""
    app, _ = make_app()
    responses.get(URL, body=registry({"openai/gpt-4o": {"source": "litellm", "input": "2.4", "output": "10"}}))
    runner = app.test_cli_runner()
    result = runner.invoke(llm_cost, ["prices", "check", "--source", URL])
    assert result.exit_code == 1
    assert "openai/gpt-4o input 2.5 2.4" in lines(result)
    path = Path(app.instance_path) / "llm_cost_prices.json"
    result = runner.invoke(llm_cost, ["prices", "refresh", "--source", URL])
    assert lines(result)[-2:] == [f"Written: {path}.", f"To use it, set LLM_COST_PRICES_FILE = {str(path)!r}."]
    assert set(json.loads(path.read_text())["models"]) == {"openai/gpt-4o"}


@responses.activate
def test_yaml_is_written_where_the_name_says_so_and_the_app_reads_it(make_app: MakeApp, tmp_path: Path) -> None:
    """Covers P-SYNC-21: the extension decides; folders are made."""
    path = tmp_path / "config" / "prices.YML"
    app, _ = make_app()
    responses.get(URL, body=registry(PUBLISHED))
    result = app.test_cli_runner().invoke(llm_cost, ["prices", "refresh", "--source", URL, "--output", str(path)])
    assert result.exit_code == 0
    assert yaml.safe_load(path.read_text())["models"]["acme/new"] == PUBLISHED["acme/new"]
    other, _ = make_app(LLM_COST_PRICES_FILE=str(path))
    result = other.test_cli_runner().invoke(llm_cost, ["prices", "explain", "acme", "new"])
    assert (result.exit_code, lines(result)[0]) == (0, "Matched acme/new from file via exact.")


@responses.activate
def test_a_published_cache_price_that_is_missing_is_not_the_input_price(run: Run, make_app: MakeApp) -> None:
    """Only a person's own table lets cache meters fall to the input rate."""
    responses.get(URL, body=registry(PUBLISHED))
    path = json.loads(run("refresh", "--source", URL, "--json").output)["path"]
    app, _ = make_app(LLM_COST_PRICES_FILE=path)
    explained = [
        app.test_cli_runner().invoke(
            llm_cost, ["prices", "explain", "acme", model, "--cache-read-tokens", "1", "--json"]
        )
        for model in ("new", "negotiated")
    ]
    assert [json.loads(result.output)["missing"] for result in explained] == [["cache_read"], []]


GENAI = [
    {
        "id": "openai",
        "models": [
            {"id": "gpt-4o", "match": {"equals": "gpt-4o"}, "prices": {"input_mtok": 2.5, "output_mtok": 10}},
            {"id": "gpt-0", "match": {"equals": "gpt-0"}, "prices": {"input_mtok": 1, "output_mtok": 2}},
        ],
    }
]
LITELLM = {
    "sample_spec": {"input_cost_per_token": 0},
    "gpt-4o": {"litellm_provider": "openai", "input_cost_per_token": 2e-06, "input_cost_per_audio_token": 1e-05},
    "gpt-1": {"litellm_provider": "openai", "input_cost_per_token": 3e-06, "output_cost_per_token": 4e-06},
}
OPENROUTER = {
    "data": [
        {"id": "acme/m", "pricing": {"prompt": "0.000001", "completion": "0.000002", "request": "0"}},
        {"id": "openrouter/auto", "pricing": {"prompt": "-1", "completion": "-1"}},
    ]
}


@responses.activate
def test_all_lays_the_published_sources_over_each_other(run: Run, prices_file: Path) -> None:
    """Covers P-SYNC-02: the default is the maintained sources."""
    for name, body in (("genai-prices", GENAI), ("litellm", LITELLM), ("openrouter", OPENROUTER)):
        responses.get(source.URLS[name], json=body, headers={"etag": f'"{name}"'})
    result = run("refresh", "--yes")
    assert result.exit_code == 0
    assert "genai-prices and litellm disagree on 1 more rates: genai-prices is used." in lines(result)
    written = json.loads(prices_file.read_text())
    assert written["metadata"]["sources"] == {url: f'"{name}"' for name, url in source.URLS.items()}
    models = written["models"]
    assert {key: models[key]["source"] for key in ("openai/gpt-0", "openai/gpt-1", "openrouter/acme/m")} == {
        "openai/gpt-0": "genai-prices",
        "openai/gpt-1": "litellm",
        "openrouter/acme/m": "openrouter",
    }
    assert models["openai/gpt-4o"]["rates"][:2] == [
        {"input": "2.5", "output": "10"},
        {"source": "litellm", "input.audio": "10"},
    ]
    assert models["openrouter/acme/m"]["rates"] == [{"input": "1", "output": "2"}]
    assert "openrouter/openrouter/auto" not in models


@responses.activate
def test_where_one_of_the_sources_changed_the_others_are_got_again(run: Run, prices_file: Path) -> None:
    for name, body in (("genai-prices", GENAI), ("litellm", LITELLM), ("openrouter", OPENROUTER)):
        responses.get(source.URLS[name], json=body, headers={"etag": f'"{name}"'})
    assert run("refresh", "--yes").exit_code == 0
    responses.reset()
    for name, body in (("genai-prices", GENAI), ("litellm", LITELLM)):
        conditional = [responses.matchers.header_matcher({"If-None-Match": f'"{name}"'})]
        responses.get(source.URLS[name], status=304, match=conditional)
        responses.get(source.URLS[name], json=body, headers={"etag": f'"{name}"'})
    changed = {"data": [{"id": "acme/m", "pricing": {"prompt": "0.0000015", "completion": "0.000002"}}]}
    responses.get(source.URLS["openrouter"], json=changed, headers={"etag": '"next"'})
    result = run("refresh")
    assert result.exit_code == 0
    assert "openrouter/acme/m input 1 1.5" in lines(result)
    assert "openai/gpt-1" in json.loads(prices_file.read_text())["models"]


@responses.activate
def test_a_source_of_some_rates_leaves_the_others_in_use(make_app: MakeApp, tmp_path: Path) -> None:
    """OpenRouter's list knows no batch prices; refreshing from it does not lose them."""
    path = tmp_path / "prices.json"
    rates = [{"input": "1", "output": "2"}, {"when": {"mode": "batch"}, "input": "0.5", "output": "1"},
             {"effective_until": "2026-01-01", "input": "3"}]  # fmt: skip
    held = {"source": "genai-prices", "aliases": ["m-1"], "rates": rates}
    path.write_text(json.dumps({"models": {"openrouter/acme/m": held}}))
    app, _ = make_app(LLM_COST_PRICES_FILE=str(path))
    changed = {"data": [{"id": "acme/m", "pricing": {"prompt": "0.0000015", "completion": "0.000002"}}]}
    responses.get(source.URLS["openrouter"], json=changed)
    result = app.test_cli_runner().invoke(llm_cost, ["prices", "refresh", "--source", "openrouter"])
    assert [line for line in lines(result) if line.startswith("openrouter/")] == ["openrouter/acme/m input 1 1.5"]
    assert json.loads(path.read_text())["models"]["openrouter/acme/m"] == {
        "source": "genai-prices",
        "aliases": ["m-1"],
        "rates": [
            {"source": "openrouter", "input": "1.5", "output": "2"},
            {"source": "genai-prices", "when": {"mode": "batch"}, "input": "0.5", "output": "1"},
            {"source": "genai-prices", "effective_until": "2026-01-01", "input": "3"},
        ],
    }


@pytest.mark.parametrize(
    ("name", "body", "key"),
    [
        ("genai.json", GENAI, "openai/gpt-0"),
        ("litellm.json", LITELLM, "openai/gpt-1"),
        ("openrouter.json", OPENROUTER, "openrouter/acme/m"),
        ("ours.yaml", json.loads(registry(PUBLISHED)), "acme/new"),
    ],
)
def test_a_file_of_any_of_the_known_forms_will_do(
    run: Run, tmp_path: Path, prices_file: Path, name: str, body: object, key: str
) -> None:
    path = tmp_path / name
    path.write_text(yaml.safe_dump(body) if name.endswith("yaml") else json.dumps(body))
    assert run("refresh", "--source", str(path), "--yes").exit_code == 0
    assert key in json.loads(prices_file.read_text())["models"]


def broken(**registered: Any) -> Callable[[], None]:
    return lambda: responses.get(URL, **registered)  # type: ignore[return-value]


BROKEN = {
    "it answered 500": broken(status=500),
    "it answered 404": broken(status=404),
    "is not JSON": broken(body="<html>"),
    "is no price table: it is neither": broken(body='"text"'),
    "no connection": broken(body=requests.ConnectionError("refused")),
    "it does not answer in time": broken(body=requests.ReadTimeout()),
    "the TLS certificate or connection is not good": broken(body=requests.exceptions.SSLError("self-signed")),
    "the answer broke off or is malformed": broken(body=requests.exceptions.ChunkedEncodingError("cut")),
    "schema_version = 2: this version of flask-llm-cost reads 1": broken(body=registry({}, schema_version=2)),
    "schema_version = None: this version": broken(body=registry({}, schema_version=None)),
    "needs flask-llm-cost 99.0 or newer; this is": broken(body=registry({}, minimum_version="99.0")),
    "minimum_version = 'soon' is not a version": broken(body=registry({}, minimum_version="soon")),
    "where a mapping belongs": broken(body=registry({"a/b": 3})),
    "acme/bad: input: '-1' is negative": broken(body=registry({"acme/bad": {"input": "-1", "output": "1"}})),
    "redirects to http://elsewhere.example/t, which is not an https:// address": broken(
        status=302, headers={"location": "http://elsewhere.example/t"}
    ),
    "more than 5 redirects": broken(status=302, headers={"location": "/table.json"}),
}


@pytest.mark.parametrize("expected", BROKEN)
@pytest.mark.parametrize("command", ["check", "refresh"])
@responses.activate
def test_a_source_that_cannot_be_read_is_one_line_and_changes_nothing(
    run: Run, prices_file: Path, command: str, expected: str
) -> None:
    """Covers P-SYNC-08, P-SYNC-09, P-SYNC-10, P-SYNC-11, P-SYNC-15, P-SYNC-18."""
    BROKEN[expected]()
    before = prices_file.read_bytes()
    result = run(command, "--source", URL)
    assert result.exit_code == 2
    assert expected in result.output
    assert len(result.output.strip().splitlines()) == 1
    assert prices_file.read_bytes() == before


@responses.activate
def test_redirects_over_https_are_followed(run: Run) -> None:
    """Covers P-SYNC-18: relative ones too."""
    responses.get(URL, status=301, headers={"location": "/moved"})
    responses.get("https://prices.example/moved", status=307, headers={"location": "https://cdn.example/t"})
    responses.get("https://cdn.example/t", body=registry(PUBLISHED))
    assert run("check", "--source", URL).exit_code == 1


@pytest.mark.parametrize("address", ["http://prices.example/t", "file:///etc/passwd", "ftp://prices.example/t"])
@responses.activate
def test_only_https_is_asked(run: Run, address: str) -> None:
    """Covers P-SYNC-16: refused before anything is asked."""
    result = run("check", "--source", address)
    assert result.exit_code == 2
    assert "is not an https:// address" in result.output
    assert len(responses.calls) == 0


@responses.activate
def test_a_body_larger_than_the_cap_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Covers P-SYNC-17."""
    monkeypatch.setattr(fetch, "MOST_BYTES", 3 * 2**20)
    responses.get(URL, body=b" " * (3 * 2**20 + 1))
    result = run("check", "--source", URL)
    assert (result.exit_code, "it is larger than 3 MiB" in result.output) == (2, True)


@responses.activate
def test_a_source_that_dribbles_is_given_up(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Covers P-SYNC-14."""
    monkeypatch.setattr(fetch, "ALL_SECONDS", -1)
    responses.get(URL, body=registry(PUBLISHED))
    result = run("check", "--source", URL)
    assert (result.exit_code, "it took longer than" in result.output) == (2, True)
    assert responses.calls[0].request.req_kwargs["timeout"] == (5, 10)  # type: ignore[attr-defined]


def test_a_local_file_that_is_too_large_is_refused_first(run: Run, prices_file: Path) -> None:
    """Covers P-SYNC-07."""
    prices_file.write_text(json.dumps({"models": {}, "metadata": {"notes": "x" * (2 * 2**20)}}))
    result = run("refresh", "--source", URL)
    assert (result.exit_code, "it is larger than 2 MiB" in result.output) == (2, True)


@responses.activate
def test_a_file_that_cannot_be_written_is_one_line(run: Run, prices_file: Path) -> None:
    responses.get(URL, body=registry(PUBLISHED))
    result = run("refresh", "--source", URL, "--output", str(prices_file / "below.json"))
    assert result.exit_code == 2
    assert f"Error: Unable to write {prices_file}/below.json: " in result.output


@responses.activate
def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(
    run: Run, prices_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Covers P-SYNC-20: the temporary file is cleaned up."""

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    responses.get(URL, body=registry(PUBLISHED))
    monkeypatch.setattr(pricefile.os, "fsync", full)
    before = prices_file.read_bytes()
    result = run("refresh", "--source", URL)
    assert (result.exit_code, "No space left on device" in result.output) == (2, True)
    assert prices_file.read_bytes() == before
    assert [path.name for path in prices_file.parent.glob("*price*")] == [prices_file.name]
