"""botocore (boto3): ``_make_api_call`` of all clients (``instrument``) or of one for ``bedrock-runtime`` (``wrap``).

Every method of a client ends there, also of clients made before. What is handed on is what Bedrock's HTTP
API has on the wire: the path with the model, the parameters as JSON, an event stream's own bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import quote, urlsplit

from flask_llm_cost.capture.exchange import Exchange, Target, guarded, sending
from flask_llm_cost.capture.http import RawTee
from flask_llm_cost.capture.watch import Watch
from flask_llm_cost.tagging import TagsArgument

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
        attempts = Attempts(exchange)
        with guarded(exchange):
            attempts.listen(client)
        token = _making.set(attempts)
        try:
            with sending(exchange):
                parsed = make(*args, **kwargs)
        except BaseException as error:
            attempts.failed(error)
            raise
        finally:
            _making.reset(token)
        with guarded(attempts.current):
            _follow(attempts.current, parsed)
        return parsed

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
                f"{parts.scheme}://{parts.netloc}{path}", port, path, _body(api_params), captured_by="botocore"
            ),
            # The client itself says whom it asks, also where its endpoint is a private one.
            provider="bedrock",
            tags=self.tags,
            request=api_params,
        )


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
        exchange.finish(_json({"code": (answer.get("Error") or {}).get("Code")}))


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
