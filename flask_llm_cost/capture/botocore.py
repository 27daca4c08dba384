"""botocore (boto3): ``_make_api_call`` of all clients (``instrument``) or of one for ``bedrock-runtime`` (``wrap``).

Every method of a client ends there, also of clients made before. What is handed on is what Bedrock's HTTP
API has on the wire: the path with the model, the parameters as JSON, an event stream's own bytes.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any
from urllib.parse import quote, urlsplit

from flask_llm_cost.capture.exchange import Exchange
from flask_llm_cost.capture.guards import body_in_memory, guarded, never_raising
from flask_llm_cost.capture.http import RawTee
from flask_llm_cost.capture.layers import sending
from flask_llm_cost.capture.target import Target
from flask_llm_cost.capture.watch import Watch
from flask_llm_cost.failures import report
from flask_llm_cost.tagging import TagsArgument

log = logging.getLogger(__name__)

# botocore is no dependency and is never imported from here: its objects go by their shape.
BotocoreClient = Any
Parsed = dict[str, Any]

SERVICE = "bedrock-runtime"
# The operations that a model answers → what their paths end in (Bedrock API reference, "Amazon Bedrock Runtime").
_VERBS: Mapping[str, str] = MappingProxyType(
    {
        "Converse": "converse",
        "ConverseStream": "converse-stream",
        "InvokeModel": "invoke",
        "InvokeModelWithResponseStream": "invoke-with-response-stream",
    }
)


class APICall:
    """The wrapper around ``_make_api_call``."""

    def __init__(self, watch: Watch, *, tags: TagsArgument = None) -> None:
        self.watch = watch
        self.tags = tags

    def __call__(
        self, make: Callable[..., Parsed], client: BotocoreClient, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Parsed:
        exchange = self._begin(client, *args, **kwargs)
        if exchange is None:
            return make(*args, **kwargs)
        attempts = Attempts(exchange, client)
        token = _making.set(attempts)
        try:
            with sending(exchange):
                try:
                    parsed = make(*args, **kwargs)
                except BaseException as error:
                    attempts.failed(error)
                    raise
        finally:
            _making.reset(token)
        with guarded(attempts.current):
            _follow(attempts.current, parsed)
        return parsed

    @never_raising
    def _begin(
        self, client: BotocoreClient, operation_name: str = "", api_params: object = None, **_others: object
    ) -> Exchange | None:
        verb = _VERBS.get(operation_name)
        if verb is None or not isinstance(api_params, Mapping) or not is_bedrock(client):
            return None
        try:
            parts = urlsplit(client.meta.endpoint_url)
            host, port = parts.hostname or "", parts.port
        except (AttributeError, ValueError):
            return None
        path = f"/model/{quote(str(api_params.get('modelId', '')), safe='')}/{verb}"
        return self.watch.begin(
            "POST",
            host,
            lambda: path,
            lambda: Target(
                f"{parts.scheme}://{parts.netloc}{path}",
                port,
                path,
                body_in_memory(lambda: _body(api_params)),
                captured_by="botocore",
            ),
            # The client itself says whom it asks, also where its endpoint is a private one.
            provider="bedrock",
            tags=self.tags,
            request=api_params,
        )


class Attempts:
    """The attempts of one API call, as botocore's own events tell of them: each is an exchange of its own.

    Attributes:
        current: the attempt under way, or the last one.
    """

    def __init__(self, exchange: Exchange, client: BotocoreClient) -> None:
        self.current = exchange
        self._sent = 0
        self._listens = True
        self._answer: Parsed | None = None
        self._error: Exception | None = None
        try:
            _listen(client.meta.events)
        except Exception as error:
            report(log, error, "The attempts of a call to Bedrock cannot be told apart.")
            self._listens = False

    def sends(self) -> None:
        if not self._listens:
            return
        if self._sent:
            self._ended()
            self.current = self.current.again()
        self._sent += 1

    def answered(self, answer: Parsed | None, error: Exception | None) -> None:
        self._answer, self._error = answer, error

    def failed(self, error: BaseException) -> None:
        """The call raised. Where no request went out (parameters that botocore refuses) there is nothing to record."""
        if self._listens and not self._sent:
            self.current.leave()
            return
        if isinstance(error, Exception):
            with guarded(self.current):
                _refused(self.current, error)
        self.current.fail(error)

    def _ended(self) -> None:
        """botocore asks again: this attempt is over."""
        if self._error is not None:
            self.current.fail(self._error)
            return
        answer = self._answer or {}
        self.current.answered(*_metadata(answer))
        self.current.finish(_code(answer))


_making: ContextVar[Attempts | None] = ContextVar("llm_cost_making", default=None)


def _listen(events: Any) -> None:
    # Registering again under the same id does nothing.
    events.register_first(f"before-send.{SERVICE}", _on_send, unique_id="llm-cost-send")
    events.register_last(f"response-received.{SERVICE}", _on_answer, unique_id="llm-cost-answer")


def _on_send(**_event: object) -> None:
    attempts = _making.get()
    if attempts is not None:
        with guarded(attempts.current):
            attempts.sends()


def _on_answer(parsed_response: Parsed | None = None, exception: Exception | None = None, **_event: object) -> None:
    attempts = _making.get()
    if attempts is not None:
        attempts.answered(parsed_response, exception)


def is_bedrock(client: BotocoreClient) -> bool:
    try:
        return bool(client.meta.service_model.service_name == SERVICE)
    except AttributeError:
        return False


def _body(parameters: Mapping[str, object]) -> bytes:
    if "body" not in parameters:
        return _json({name: value for name, value in parameters.items() if name != "modelId"})
    body = parameters["body"]
    if isinstance(body, str):
        return body.encode()
    # A file is read once, by botocore, and not by us.
    return bytes(body) if isinstance(body, (bytes, bytearray)) else b""


def _json(document: object) -> bytes:
    # Images and documents are bytes here: nothing is read out of them.
    return json.dumps(document, default=lambda _: None).encode()


def _refused(exchange: Exchange, error: Exception) -> None:
    """botocore raises an error answer; what it parsed of it stands in the exception."""
    answer = getattr(error, "response", None)
    if not isinstance(answer, Mapping):
        return
    status, headers = _metadata(answer)
    if status >= 300:
        exchange.answered(status, headers)
        exchange.finish(_code(answer))


def _code(answer: Mapping[str, Any]) -> bytes:
    return _json({"code": (answer.get("Error") or {}).get("Code")})


def _metadata(answer: Mapping[str, Any]) -> tuple[int, Mapping[str, str]]:
    metadata = answer.get("ResponseMetadata") or {}
    return int(metadata.get("HTTPStatusCode") or 0), metadata.get("HTTPHeaders") or {}


def _follow(exchange: Exchange, parsed: Parsed) -> None:
    exchange.answered(*_metadata(parsed))
    for name in ("stream", "body"):
        # botocore's EventStream and StreamingBody both read their bytes from here, whoever iterates over them.
        raw = getattr(parsed.get(name), "_raw_stream", None)
        if raw is not None:
            if exchange.streams() is not None:
                parsed[name]._raw_stream = RawTee(raw, exchange)  # noqa: SLF001
            return
    exchange.finish(_json({name: value for name, value in parsed.items() if name != "ResponseMetadata"}))
