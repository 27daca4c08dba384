"""From an exchange to a reading: framing, folding, and what to say when something is missing or broken."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from urllib.parse import urlsplit

from flask_llm_cost.failures import report
from flask_llm_cost.providers import estimate, skim
from flask_llm_cost.providers.estimate import or_nothing
from flask_llm_cost.providers.events import Event
from flask_llm_cost.providers.fields import JSON, NO_FIELDS, first_present
from flask_llm_cost.providers.hosts import find_route
from flask_llm_cost.providers.registry import Registry
from flask_llm_cost.providers.route import Route
from flask_llm_cost.providers.sse import ends_of
from flask_llm_cost.providers.wire import Answer, Asked, Folded, WireFormat
from flask_llm_cost.usage import NO_USAGE, CallStatus, Reading, UsageSource

CUT_OFF = "cut_off"
# error.type of a stream that its server ended before the answer was.
TRUNCATED = "truncated"
PENDING = "pending"
UNPARSABLE_BODY, EMPTY_BODY, NO_REPORT, RECOVERED = "unparsable_body", "empty_body", "no_usage", "recovered_usage"

# Sources of a usage that is known and final.
_TOLD = frozenset({"response", "stream_final"})
_BROKEN = frozenset({CUT_OFF, UNPARSABLE_BODY, EMPTY_BODY})

log = logging.getLogger(__name__)

# The words for the tier, place and speed at which the list price holds. Groq says "on_demand", Anthropic
# "standard_only" (asked for), "not_available" and "global"; OpenAI serves "fast" as "priority".
_STANDARD = frozenset({"", "default", "standard", "auto", "standard_only", "on_demand", "unspecified"})
_ANYWHERE = frozenset({"", "not_available", "global"})
_SAME_TIER = {"fast": "priority"}
# A code, never a sentence: what does not look like one may be text of the app's users.
_ERROR_CODE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,63}", re.ASCII)
_OTHER_ERROR = "_OTHER"  # OpenTelemetry's error.type where there is no better word
_BOM = b"\xef\xbb\xbf"


def read_exchange(
    *,
    url: str,
    request_body: bytes,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    provider: str | None = None,
    compatible_hosts: Mapping[str, str] | None = None,
    providers: Iterable[object] = (),
) -> Reading | None:
    """Read one exchange that was a POST. Pure; no exchange makes it raise. ``None``: it was no call to a model.

    Args:
        headers: of the answer, names in any case.
        body: the whole, content-decoded answer: JSON, server-sent events, JSON lines or a JSON array.
        provider: who was asked, where the host may be in no table ("" where that is not known).
        compatible_hosts: more hosts that speak a known format, "host" or "host:port" → provider.
        providers: of the app's own, as ``LLM_COST_PROVIDERS`` takes them.

    Raises:
        ConfigurationError: one of ``providers`` is no provider.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return None
    hosts = {name.lower(): who for name, who in (compatible_hosts or {}).items()}
    own = Registry(providers) if providers else None
    route = find_route("POST", host, port, parts.path, compatible_hosts=hosts, provider=provider, own=own)
    if route is None:
        return None
    return read(route, url=url, request_body=request_body, status=status, headers=headers, body=body)


def read(
    route: Route,
    *,
    url: str,
    request_body: bytes,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    complete: bool = True,
    dropped_bytes: int = 0,
) -> Reading:
    """Read the answer to a routed call. Never raises: what cannot be read is an unknown usage with a note why.

    Args:
        status: the HTTP status; outside 2xx the answer is an error without usage.
        body: as for ``read_exchange``; of a long stream perhaps only head and tail, with a blank line between.
        complete: ``False``: the app left the answer, or the connection broke. A stream that says itself that it is
            over is whole all the same; any other gets the note ``CUT_OFF``. With ``True`` a stream of a format that
            says when it is over, and has not, is an error of the type ``TRUNCATED``.
        dropped_bytes: how much of a long stream is not in ``body``.
    """
    asked, request = Asked(), NO_FIELDS
    documents = partial(_documents, route, body)
    try:
        request = route.wire.request(request_body)
        asked = route.wire.asked(_path(url), request)
        if not 200 <= status < 300:
            return _refused(route, asked, status, headers, body)
        reading = _answered(route, asked, headers, body, complete)
    except Exception as error:
        report(log, error, "An answer from %s could not be read.", route.provider)
        reading, documents = _silent(route, asked, UNPARSABLE_BODY, complete), partial(list[JSON])
        if not 200 <= status < 300:
            return replace(reading, status="error", error_type=str(status))
    if reading.usage_source in _TOLD:
        return reading
    reading = _bounded(route, reading, request, documents, dropped_bytes)
    if complete and reading.status == "ok" and CUT_OFF in reading.notes:
        # Nobody but the server ended this stream.
        return replace(reading, status="error", error_type=TRUNCATED)
    return reading


def read_document(route: Route, document: JSON) -> Reading:
    """Read one answer that is a JSON object already. Never raises."""
    try:
        return _reading(route, Asked(), route.wire.read(document, Asked()), body=document)
    except Exception as error:
        report(log, error, "An answer from %s could not be read.", route.provider)
        return _reading(route, Asked(), Answer(), notes=(UNPARSABLE_BODY,))


def read_events(route: Route, events: Sequence[Event]) -> Reading:
    """Read a stream whose events the app has decoded itself. Never raises."""
    try:
        reading = _streamed(route, Asked(stream=True), route.wire.fold(events), b"", complete=True)
    except Exception as error:
        report(log, error, "A stream from %s could not be read.", route.provider)
        reading = _reading(route, Asked(), Answer(), stream=True, notes=(UNPARSABLE_BODY,))
    if reading.usage_source in _TOLD:
        return reading
    return _bounded(route, reading, NO_FIELDS, lambda: _decoded(events), 0)


def unanswered(route: Route, *, url: str, request_body: bytes) -> Reading:
    """The reading of a request that got no answer, though it may have been charged: from nothing to all that it
    allowed. Never raises.
    """
    reading = read(route, url=url, request_body=request_body, status=200, headers={}, body=b"", complete=False)
    return replace(reading, bounds=or_nothing(reading.bounds), notes=())


def _bounded(
    route: Route, reading: Reading, request: JSON, documents: Callable[[], list[JSON]], dropped_bytes: int
) -> Reading:
    """The reading with bounds on what it does not tell.

    An error that came instead of an answer is charged as little as a refusal is; one that came within an answer
    may have been, or not.
    """
    try:
        came = documents()
        whole = reading.status == "ok" and _BROKEN.isdisjoint(reading.notes)
        found = estimate.bounds(route.wire, reading, request, estimate.Delivered(came, whole, dropped_bytes))
        if reading.status == "error":
            if not reading.usage and not any(route.wire.said_in(came)):
                return reading
            found = or_nothing(found)
        return replace(reading, bounds=found)
    except Exception as error:
        report(log, error, "What a call to %s used could not be estimated.", route.provider)
        return reading


def _documents(route: Route, body: bytes) -> list[JSON]:
    """What came of an answer: its one body, or its events."""
    document = _parsed(body)
    if isinstance(document, dict):
        return [document]
    return _decoded(route.wire.events(body))


def _decoded(events: Iterable[Event]) -> list[JSON]:
    return [document for event in events if (document := event.decoded()) is not None]


def _path(url: str) -> str:
    try:
        return urlsplit(url).path
    except ValueError:
        return ""


def _refused(route: Route, asked: Asked, status: int, headers: Mapping[str, str], body: bytes) -> Reading:
    reading = _reading(route, asked, Answer(), stream=asked.stream)
    error = route.wire.refusal(_parsed(body), headers)
    return replace(reading, status="error", error_type=error_type(error, str(status)), notes=())


def _answered(route: Route, asked: Asked, headers: Mapping[str, str], body: bytes, complete: bool) -> Reading:
    wire, content = route.wire, body.removeprefix(_BOM).strip()
    if not content:
        return _silent(route, asked, EMPTY_BODY, complete)
    if content[:1] == b"{":
        document = _document(route, content)
        if document is not None:
            document = wire.with_headers(document, headers)
            return _reading(route, asked, wire.read(document, asked), body=document)
    if wire.told_at_ends:
        folded = _from_ends(wire, content)
        if folded is not None:
            return _streamed(
                route, asked, replace(folded, body={**wire.with_headers(folded.body, headers)}), content, complete
            )
    events = wire.events(body)
    if any(event.done or event.decoded() is not None for event in events):
        folded = wire.fold(events)
        folded = replace(folded, body={**wire.with_headers(folded.body, headers)})
        return _streamed(route, asked, folded, content, complete)
    if wire.opaque:
        return _reading(route, asked, wire.read({}, asked), notes=() if complete else (CUT_OFF,))
    return _salvaged(route, asked, content, complete)


def _from_ends(wire: WireFormat, content: bytes) -> Folded | None:
    """A long stream by its two ends. ``None``: it has to be read whole."""
    ends = ends_of(content, wire.telling)
    folded = None if ends is None else wire.fold(ends)
    return folded if folded is not None and folded.final and folded.body.get(wire.usage_key) else None


def _document(route: Route, content: bytes) -> JSON | None:
    """One JSON object, skimmed where it is long and of numbers. ``None``: it is none."""
    if route.wire.embeds and len(content) > skim.BIG:
        found = skim.embeddings(content, route.wire.usage_key)
        if found is not None:
            return found
    parsed = _parsed(content)
    return parsed if isinstance(parsed, dict) else None


def _streamed(route: Route, asked: Asked, folded: Folded, content: bytes, complete: bool) -> Reading:
    body: JSON = folded.body
    notes: tuple[str, ...] = ()
    if not body.get(route.wire.usage_key) and content:
        recovered = skim.last_object(content, route.wire.usage_key)
        if recovered is not None:
            body, notes = {**body, route.wire.usage_key: recovered}, (RECOVERED,)
    answer = route.wire.read(body, asked)
    # Of a long stream the last event may be there in part only.
    ended = not route.wire.must_end or (bool(notes) and route.wire.ends_with_usage)
    whole = folded.final or (complete and ended and "error" not in body)
    source: UsageSource = "unknown" if not answer.usage else "stream_final" if whole else "partial"
    if not whole and "error" not in body:
        notes = (*notes, CUT_OFF)
    return _reading(route, asked, answer, stream=True, body=body, source=source, notes=notes)


def _salvaged(route: Route, asked: Asked, content: bytes, complete: bool) -> Reading:
    """A body that is neither JSON nor a stream: broken or cut off, or a web page."""
    recovered = skim.last_object(content, route.wire.usage_key)
    if recovered is None:
        return _silent(route, asked, UNPARSABLE_BODY, complete)
    body = {**skim.identity(content), route.wire.usage_key: recovered}
    return _reading(route, asked, route.wire.read(body, asked), body=body, notes=(UNPARSABLE_BODY, RECOVERED))


def _silent(route: Route, asked: Asked, note: str, complete: bool) -> Reading:
    notes = (note,) if complete else (note, CUT_OFF)
    return _reading(route, asked, Answer(), stream=asked.stream, notes=notes)


def _reading(
    route: Route,
    asked: Asked,
    answer: Answer,
    *,
    body: JSON | None = None,
    stream: bool = False,
    source: UsageSource = "response",
    notes: tuple[str, ...] = (),
) -> Reading:
    """Put together what the answer says, what the request asked and what the transport saw."""
    failed = body is not None and bool(body.get("error"))
    status: CallStatus = "error" if failed else "cancelled" if answer.cancelled else "ok"
    pending = answer.stored is not None and answer.stored.pending
    unreported = () if answer.usage or failed or notes else (PENDING if pending else NO_REPORT,)
    return Reading(
        provider=route.provider,
        model=(asked.model or "unknown") if answer.model is None else (answer.model or "unknown"),
        usage=answer.usage or NO_USAGE,
        request_model=asked.model,
        operation=route.operation,
        stream=stream,
        status=status,
        error_type=error_type(body, _OTHER_ERROR) if failed else None,
        pricing_mode=_tier(asked.tier if answer.tier is None else answer.tier),
        geo=_plain(asked.geo if answer.geo is None else answer.geo, _ANYWHERE) or route.geo,
        speed=_plain(asked.speed if answer.speed is None else answer.speed, _STANDARD),
        provider_response_id=answer.response_id,
        usage_source=source if answer.usage else "unknown",
        provider_cost=answer.provider_cost,
        raw_usage=answer.raw_usage,
        extra=answer.extra,
        notes=(*answer.notes, *notes, *unreported),
        stored=answer.stored,
    )


def _tier(name: str | None) -> str | None:
    tier = _plain(name, _STANDARD)
    return None if tier is None else _SAME_TIER.get(tier, tier)


def _plain(name: str | None, usual: frozenset[str]) -> str | None:
    """A word in lower case; ``None`` for those that change no price."""
    word = (name or "").strip().lower()
    return None if word in usual else word


def _parsed(body: bytes) -> object:
    try:
        return json.loads(body.removeprefix(_BOM).decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None


def error_type(body: object, otherwise: str) -> str:
    """The provider's own code for an error: a word before a number, never a sentence."""
    if isinstance(body, list) and body:
        body = body[0]
    if not isinstance(body, Mapping):
        return otherwise
    error = first_present(body, "error")
    holder = error if isinstance(error, Mapping) else body
    codes = [holder.get(name) for name in ("code", "status", "type")]
    words = [code for code in codes if isinstance(code, str) and code != "error" and _ERROR_CODE.fullmatch(code)]
    return next((word for word in words if not word.isdigit()), words[0] if words else otherwise)
