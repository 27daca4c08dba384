"""The demo, started as a person starts it, in a real browser."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).parents[2]
CHROMIUM = Path("/usr/bin/chromium")
KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY")
# A headless browser as root in a container, that looks nothing up by itself.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a running demo without any API key."""
    folder = tmp_path_factory.mktemp("demo")
    environment = {name: value for name, value in os.environ.items() if name not in KEYS}
    environment |= {"DEMO_INSTANCE": str(folder), "PORT": "0", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "demo_app.py")],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    printed = ""
    for line in process.stdout:
        printed += line
        if line.startswith("Stop with"):
            break
    url = re.search(r"The app: +(http://127\.0\.0\.1:\d+)/", printed)
    assert url is not None, printed
    # What it goes on to print must not fill the pipe.
    reader = subprocess.Popen(["cat"], stdin=process.stdout, stdout=subprocess.DEVNULL)
    yield url[1]
    process.send_signal(signal.SIGINT)
    process.stdout.close()
    assert process.wait(30) == 0
    reader.wait(30)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium. No longer than a module: Playwright's event loop would be in the way of tests with one of their own."""
    if not CHROMIUM.exists():
        if os.environ.get("LLM_COST_REQUIRE_SERVERS") == "1":
            pytest.fail(f"{CHROMIUM} is not installed, and LLM_COST_REQUIRE_SERVERS=1 asks for it")
        pytest.skip(f"{CHROMIUM} is not installed")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield started
        started.close()


class Complaints(list[str]):
    """What the browser complained of: console errors, page errors, refused loads."""

    def watch(self, page: Page) -> None:
        page.on("console", lambda message: self.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.append(str(error)))
        page.on("requestfailed", lambda request: self.append(f"{request.url}: {request.failure}"))


@pytest.fixture
def complaints() -> Iterator[Complaints]:
    """Checked to be empty at the end of the test."""
    found = Complaints()
    yield found
    assert found == []


@contextmanager
def opened(browser: Browser, complaints: Complaints, scheme: Literal["light", "dark"], width: int) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    page.set_default_timeout(20_000)
    complaints.watch(page)
    yield page
    context.close()


@pytest.fixture
def page(browser: Browser, complaints: Complaints) -> Iterator[Page]:
    """A page on a wide, light screen."""
    with opened(browser, complaints, "light", 1280) as page:
        yield page


@pytest.fixture(
    params=[("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)], ids=lambda each: f"{each[0]}-{each[1]}"
)
def any_page(request: pytest.FixtureRequest, browser: Browser, complaints: Complaints) -> Iterator[Page]:
    """A page in each theme and width."""
    with opened(browser, complaints, *request.param) as page:
        yield page
