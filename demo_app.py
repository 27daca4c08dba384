"""The demo: a small Flask app that calls OpenAI, Anthropic and Gemini, and shows what that costs.

``python demo_app.py`` starts it. A provider whose key is in the environment (``OPENAI_API_KEY``,
``ANTHROPIC_API_KEY``, ``GEMINI_API_KEY``) is called for real; the others are played by a local server.
``python demo_app.py --reset`` forgets what was recorded. ``flask --app demo_app llm-cost report`` works too.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from flask import Flask, current_app
from sqlalchemy import select
from werkzeug.serving import make_server

from demo.clients import Clients
from demo.history import record_history
from demo.pages import create_pages
from flask_llm_cost import LLMCost
from flask_llm_cost.ledger.models import Call
from flask_llm_cost.state import current_state

HOST = "127.0.0.1"
FIRST_PORT = 5000
PORTS_TO_TRY = 20


def create_app() -> Flask:
    """The app with the extension on it. Touches no database and calls nobody.

    ``DEMO_INSTANCE`` is the folder for its database, ``instance`` beside this file unless set.
    """
    instance = Path(os.environ.get("DEMO_INSTANCE") or Path(__file__).parent / "instance").resolve()
    app = Flask(__name__, instance_path=str(instance))
    app.config["LLM_COST_REPORT_TAGS"] = ["feature", "tenant", "env"]
    app.config["LLM_COST_UNKNOWN_PRICING"] = "ignore"
    llm_cost = LLMCost(app)
    clients = Clients(llm_cost)
    app.register_blueprint(llm_cost.dashboard, url_prefix="/llm-costs")
    app.register_blueprint(create_pages(llm_cost, clients))
    app.extensions["demo"] = (llm_cost, clients)
    return app


def prepare(llm_cost: LLMCost) -> None:
    """Bring the ledger's tables up to date and, where it is empty, record a month of history."""
    Path(current_app.instance_path).mkdir(parents=True, exist_ok=True)
    llm_cost.upgrade()
    with llm_cost.session() as session:
        if session.scalar(select(Call.id).limit(1)) is not None:
            return
    print("First start: recording a month of history …", flush=True)
    started = time.monotonic()
    count = record_history(current_state().recorder, datetime.now(UTC))
    if not llm_cost.flush(timeout=120):
        print("Not everything is in the ledger yet; the rest follows while the demo runs.")
    print(f"Recorded {count:,} calls in {time.monotonic() - started:.1f} s.", flush=True)


def listen(first: int) -> socket.socket:
    """A socket on the first free port from ``first`` on; 0 takes any.

    Raises:
        OSError: none of them is free.
    """
    for port in range(first, first + PORTS_TO_TRY):
        listener = socket.socket()
        # Without it, a port stays taken for a minute after the demo was stopped.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
            listener.listen(128)
        except OSError:
            listener.close()
            continue
        return listener
    raise OSError(f"No port from {first} to {first + PORTS_TO_TRY - 1} is free; choose one with PORT.")


def announce(port: int, real: tuple[str, ...]) -> None:
    """Say where to look and who answers."""
    who = f"real calls to {', '.join(real)}" if real else "no API keys set"
    rest = "" if len(real) == 3 else "; a local provider server plays the rest" if real else "; a local server answers"
    print(f"Providers: {who}{rest}.")
    print(f"The app:       http://{HOST}:{port}/")
    print(f"The dashboard: http://{HOST}:{port}/llm-costs/")
    print("Stop with Ctrl+C.", flush=True)


def main(arguments: list[str]) -> None:
    """Prepare, serve until interrupted, and clean up."""
    app = create_app()
    if "--reset" in arguments:
        shutil.rmtree(app.instance_path, ignore_errors=True)
    # As under ``flask run --debug``, the dashboard is open; there is neither a debugger nor a reloader.
    app.debug = True
    llm_cost, clients = app.extensions["demo"]
    with app.app_context():
        prepare(llm_cost)
    with listen(int(os.environ.get("PORT") or FIRST_PORT)) as listener:
        server = make_server(HOST, listener.getsockname()[1], app, threaded=True, fd=listener.fileno())
        announce(server.port, clients.real)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        server.serve_forever()
    clients.stop()
    with app.app_context():
        llm_cost.shutdown()


if __name__ == "__main__":
    main(sys.argv[1:])
