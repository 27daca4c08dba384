"""The demo, as a person starts it: a process of its own, an empty folder, no key, nothing but loopback."""

from __future__ import annotations

import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]
FEATURES = ("support-chat", "summaries", "code-review", "search")
KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY", "FLASK_DEBUG")


def environment(folder: Path, **more: str) -> dict[str, str]:
    """This process's environment without any key; proxies point nowhere, so a call off the machine fails."""
    clean = {name: value for name, value in os.environ.items() if name not in KEYS and "PROXY" not in name.upper()}
    nowhere = {"HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"}
    return clean | nowhere | {"DEMO_INSTANCE": str(folder / "instance"), "PYTHONPATH": str(ROOT)} | more


@contextmanager
def running(folder: Path, **more: str) -> Iterator[tuple[str, str]]:
    """The demo's base URL and what it printed up to its last line; stopped as Ctrl+C stops it, without a complaint."""
    with (folder / "stderr").open("w") as complaints:
        process = subprocess.Popen(
            [sys.executable, "-W", "default::ResourceWarning", str(ROOT / "demo_app.py")],
            cwd=folder,
            env=environment(folder, **{"PORT": "0", **more}),
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
        )
    assert process.stdout is not None
    try:
        printed = ""
        for line in process.stdout:
            printed += line
            if line.startswith("Stop with"):
                break
        url = re.search(r"The app: +(http://127\.0\.0\.1:\d+)/", printed)
        assert url is not None, printed + (folder / "stderr").read_text()
        yield url[1], printed
    finally:
        process.send_signal(signal.SIGINT)
        process.stdout.close()
        status = process.wait(30)
    complained = (folder / "stderr").read_text()
    assert (status, re.findall(r"Traceback|ResourceWarning", complained)) == (0, []), complained


def rows(folder: Path, query: str, *parameters: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(folder / "instance" / "llm_cost.db")) as database:
        return database.execute(query, parameters).fetchall()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("empty")


@pytest.fixture(scope="module")
def first_start(folder: Path) -> str:
    """A start in the empty folder, a call of every feature, and a busy provider; what it printed."""
    with running(folder) as (url, printed), httpx.Client(base_url=url, trust_env=False, timeout=30) as browser:
        home = browser.get("/").text
        assert all(f'action="/{name}"' in home for name in FEATURES)
        for name in FEATURES:
            answer = browser.post(f"/{name}", data={"tenant": "initech", "prompt": f"A prompt for {name} <b>&"})
            assert answer.status_code == 200, answer.text
            assert f"A prompt for {name} &lt;b&gt;&amp;" in answer.text
            assert "env=production" in answer.text
        statuses = [browser.post("/summaries", data={"tenant": "acme"}).status_code for _ in range(5)]
        assert sorted(statuses) == [200, 200, 200, 200, 503]
        assert browser.post("/summaries", data={"tenant": "nobody"}).status_code == 400
        assert browser.post("/nothing", data={"tenant": "acme"}).status_code == 404
        for page in ("/llm-costs/", "/llm-costs/calls"):
            shown = browser.get(page)
            assert shown.status_code == 200
            assert "gpt-4.1-mini" in shown.text
    return printed


def test_the_first_start_says_where_to_look_and_who_answers(first_start: str) -> None:
    assert "Providers: no API keys set; a local server answers." in first_start
    assert re.search(r"The dashboard: http://127\.0\.0\.1:\d+/llm-costs/", first_start)
    assert re.search(r"Recorded [789],\d{3} calls", first_start)


def test_the_calls_of_the_pages_are_in_the_ledger(first_start: str, folder: Path) -> None:
    """Through the real SDKs, with tags, priced; the busy one as an error without a cost."""
    query = """
        SELECT json_extract(c.tags, '$.feature'), c.provider, c.model, c.stream, c.status, c.cost_status
        FROM llm_cost_calls c WHERE c.captured_by = 'httpx2' ORDER BY c.id
    """
    live = rows(folder, query)
    assert live[:4] == [
        ("support-chat", "anthropic", "claude-haiku-4-5-20251001", 1, "ok", "complete"),
        ("summaries", "openai", "gpt-4.1-mini-2025-04-14", 0, "ok", "complete"),
        ("code-review", "openai", "gpt-5.4-mini-2026-03-17", 0, "ok", "complete"),
        ("search", "gemini", "gemini-2.5-flash", 1, "ok", "complete"),
    ]
    assert [row[4] for row in live[4:]] == ["ok"] * 4 + ["error"]
    assert len(live) == 9


def test_the_history_is_worth_looking_at(first_start: str, folder: Path) -> None:
    """A month of tenants and features, streams, cached and hidden tokens, errors, and a model without a price."""
    days, providers, features, tenants = rows(
        folder,
        """
        SELECT count(DISTINCT date(tracked_at)), count(DISTINCT provider),
               count(DISTINCT json_extract(tags, '$.feature')), count(DISTINCT json_extract(tags, '$.tenant'))
        FROM llm_cost_calls WHERE captured_by = 'demo'
        """,
    )[0]
    assert days in (63, 64)
    assert (providers, features, tenants) == (3, 4, 3)
    ((cached, written, hidden, streams, errors, partial, untagged),) = rows(
        folder,
        """
        SELECT sum(cache_read_input_tokens > 0), sum(cache_write_input_tokens > 0), sum(hidden_output_tokens > 0),
               sum(stream), sum(status = 'error'), sum(usage_source = 'partial'), sum(tags = '{}')
        FROM llm_cost_calls WHERE captured_by = 'demo'
        """,
    )
    for count in (cached, written, hidden, streams, errors, partial, untagged):
        assert isinstance(count, int)
        assert count > 0
    unpriced = "SELECT DISTINCT model FROM llm_cost_calls WHERE cost_status = 'unknown' AND output_tokens > 0"
    assert rows(folder, unpriced) == [("house-summarizer-2",)]


@dataclass(frozen=True)
class SecondStart:
    """What a second start did, with one key set and its port taken by somebody else."""

    printed: str
    taken: int
    port: int
    dashboard_status: int
    calls_before: int
    calls_after: int


@pytest.fixture(scope="module")
def second_start(first_start: str, folder: Path) -> SecondStart:
    def count() -> int:
        ((calls,),) = rows(folder, "SELECT count(*) FROM llm_cost_calls")
        assert isinstance(calls, int)
        return calls

    before = count()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        with running(folder, PORT=str(taken), OPENAI_API_KEY="sk-not-a-key") as (url, printed):
            status = httpx.get(f"{url}/llm-costs/", trust_env=False).status_code
    return SecondStart(printed, taken, int(url.rsplit(":", 1)[1]), status, before, count())


def test_a_second_start_records_no_history_again(second_start: SecondStart) -> None:
    assert "Recorded" not in second_start.printed
    assert second_start.calls_after == second_start.calls_before > 4000
    assert second_start.dashboard_status == 200


def test_a_port_in_use_is_passed_over(second_start: SecondStart) -> None:
    assert second_start.port in range(second_start.taken + 1, second_start.taken + 20)


def test_a_key_in_the_environment_is_said_to_be_used(second_start: SecondStart) -> None:
    """The announcement only: a call with such a key would leave the machine."""
    assert "real calls to openai; a local provider server plays the rest" in second_start.printed


def test_the_command_line_works_on_the_demo(first_start: str, folder: Path) -> None:
    command = [sys.executable, "-m", "flask", "--app", str(ROOT / "demo_app.py"), "llm-cost", "report", "--json"]
    done = subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "code-review" in done.stdout
