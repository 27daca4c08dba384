"""The app whose ``flask llm-cost`` ships what the dead have left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from flask import Flask
from sqlalchemy import URL

from flask_llm_cost import LLMCost

_TESTS = Path(__file__).parents[1]


def create_app(url: str, folder: str) -> Flask:
    app = Flask("crash", instance_path=folder)
    app.config.update(LLM_COST_DATABASE_URI=url, LLM_COST_SPOOL_DIR=folder)
    LLMCost(app)
    return app


def ingest_until_empty(url: URL, folder: Path) -> None:
    """``flask llm-cost ingest --until-empty``."""
    factory = f"crash.host:create_app({url.render_as_string(hide_password=False)!r}, {str(folder)!r})"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(_TESTS), str(_TESTS.parent)))}
    command = [sys.executable, "-m", "flask", "--app", factory, "llm-cost", "ingest", "--until-empty", "--quiet"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
