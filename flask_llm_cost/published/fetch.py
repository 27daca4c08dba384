"""Fetching a file of prices: over HTTPS only, of bounded size and time, and only if it changed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from time import monotonic
from urllib.parse import urljoin, urlsplit

import requests

from flask_llm_cost.errors import PriceSourceError

CONNECT_SECONDS, READ_SECONDS, ALL_SECONDS = 5, 10, 60
MOST_BYTES = 16 * 1024 * 1024
MOST_REDIRECTS = 5
_CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer.

    Attributes:
        content: ``None`` where it is what ``version`` was before.
        version: the ETag, else Last-Modified, else the SHA-256 of the content.
    """

    content: bytes | None
    version: str


def fetch(url: str, version: str | None = None) -> Fetched:
    """Get a file.

    Args:
        version: of what we have; asked for only if it changed since.

    Raises:
        PriceSourceError: not HTTPS at some point, not there, too large, too slow, cut short.
    """
    deadline = monotonic() + ALL_SECONDS
    with requests.Session() as session:
        at = url
        for _ in range(MOST_REDIRECTS + 1):
            _refuse_plain(url, at)
            with _get(session, url, at, version) as response:
                if not response.is_redirect:
                    return _read(url, response, version, deadline)
                at = urljoin(at, response.headers["location"])
    raise PriceSourceError(f"Unable to fetch {url}: more than {MOST_REDIRECTS} redirects.")


def _refuse_plain(url: str, at: str) -> None:
    parts = urlsplit(at)
    if parts.scheme != "https" or not parts.hostname:
        where = f"{url} redirects to {at}, which" if at != url else url
        raise PriceSourceError(f"Unable to fetch {where} is not an https:// address.")


def _get(session: requests.Session, url: str, at: str, version: str | None) -> requests.Response:
    headers = {"Accept": "application/json"} | _conditions(version)
    try:
        return session.get(
            at, headers=headers, timeout=(CONNECT_SECONDS, READ_SECONDS), stream=True, allow_redirects=False
        )
    except requests.RequestException as error:
        raise PriceSourceError(f"Unable to fetch {url}: {_reason(error)}.") from error


def _conditions(version: str | None) -> dict[str, str]:
    if version is None or version.startswith("sha256:"):
        return {}
    return {"If-None-Match" if '"' in version else "If-Modified-Since": version}


def _read(url: str, response: requests.Response, version: str | None, deadline: float) -> Fetched:
    if response.status_code == requests.codes.not_modified and version is not None:
        return Fetched(None, version)
    if response.status_code != requests.codes.ok:
        raise PriceSourceError(f"Unable to fetch {url}: it answered {response.status_code}.")
    content = _content(url, response, deadline)
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    own = response.headers.get("etag") or response.headers.get("last-modified") or digest
    return Fetched(None if own == version else content, own)


def _content(url: str, response: requests.Response, deadline: float) -> bytes:
    received = bytearray()
    try:
        for chunk in response.iter_content(_CHUNK):
            received += chunk
            if len(received) > MOST_BYTES:
                raise PriceSourceError(f"Unable to fetch {url}: it is larger than {MOST_BYTES // 2**20} MiB.")
            if monotonic() > deadline:
                raise PriceSourceError(f"Unable to fetch {url}: it took longer than {ALL_SECONDS} seconds.")
    except requests.RequestException as error:
        raise PriceSourceError(f"Unable to fetch {url}: {_reason(error)}.") from error
    return bytes(received)


def _reason(error: requests.RequestException) -> str:
    """What went wrong in a few words, without the address and the innards of the HTTP library."""
    if isinstance(error, requests.exceptions.SSLError):
        return "the TLS certificate or connection is not good"
    if isinstance(error, requests.Timeout):
        return "it does not answer in time"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return f"{type(error).__name__}: the answer broke off or is malformed"
