"""The documentation does what it says: its code runs, over a real socket, in the order of the page."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest
from flask import Flask

from docs_blocks import python_blocks, run_page
from flask_llm_cost import LLMCost
from flask_llm_cost.settings import Settings

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [page for page in sorted(DOCS.rglob("*.md")) if python_blocks(page)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the page's app keeps its files."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(DOCS)) for page in PAGES])
def test_the_code_on_a_page_runs(page: Path, folder: Path) -> None:
    module = run_page(page)
    apps = [value for value in vars(module).values() if isinstance(value, Flask)]
    for llm_cost in [value for value in vars(module).values() if isinstance(value, LLMCost)]:
        llm_cost.uninstrument()
        for app in apps:
            with app.app_context():
                assert llm_cost.shutdown(timeout=5)


def test_the_readme_lists_every_setting_and_no_other() -> None:
    """Each row of its table is a setting, and each setting has a row. Covers P-MIG-06."""
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    table = readme[readme.index("## Settings") : readme.index("## Command line")]
    cells = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `LLM_COST_")]
    listed = [key for cell in cells for key in re.findall(r"LLM_COST_[A-Z_]+", cell)]
    assert sorted(listed) == sorted(f"LLM_COST_{field.name.upper()}" for field in fields(Settings))


def test_a_page_that_is_wrong_fails_at_its_own_line(folder: Path) -> None:
    page = folder / "wrong.md"
    page.write_text("# Wrong\n\n```python\nright = 1\n```\n\nThen\n\n```python\nassert right == 2\n```\n")
    with pytest.raises(AssertionError) as caught:
        run_page(page)
    frame = caught.traceback[-1]
    assert (frame.path, frame.lineno + 1) == (page, 10)
