"""Style sheets and scripts: vendored, named with the hash of their content, kept by the browser for a year."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from flask import Response, abort, request, url_for

FINGERPRINT_DIGITS = 12
KEPT_FOR_A_YEAR = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Asset:
    """A file as it is served: its content, its type, and the first 12 digits of its SHA-256."""

    content: bytes
    content_type: str
    fingerprint: str


@cache
def assets() -> Mapping[str, Asset]:
    """Every served file of ``static/`` by name; read once per process."""
    static = files("flask_llm_cost") / "static"
    return {file.name: _asset(file.name, file.read_bytes()) for file in static.iterdir() if "." in file.name}


def _asset(name: str, content: bytes) -> Asset:
    guessed = mimetypes.guess_type(name)[0] or "application/octet-stream"
    is_text = guessed.startswith("text/") or guessed.endswith(("javascript", "xml"))
    content_type = f"{guessed}; charset=utf-8" if is_text else guessed
    return Asset(content, content_type, hashlib.sha256(content).hexdigest()[:FINGERPRINT_DIGITS])


def asset_url(name: str) -> str:
    """The address of a file, with its fingerprint."""
    return url_for(".asset", name=name, v=assets()[name].fingerprint)


def asset(name: str) -> Response:
    """One file. They hold no data of the app, so that the page which refuses access is styled too."""
    found = assets().get(name)
    if found is None or request.args.get("v") != found.fingerprint:
        abort(404)
    response = Response(found.content)
    response.headers["Content-Type"] = found.content_type
    response.headers["Cache-Control"] = KEPT_FOR_A_YEAR
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response
