"""boto3's bedrock-runtime client."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import boto3
from botocore.config import Config

from sdk_calls.site import QUESTION, SDKCall, Site, seen

BEDROCK_MODEL = "anthropic.claude-haiku-4-5-20251001-v1:0"
_SNAPSHOT = ("bedrock", BEDROCK_MODEL)
_ASKED: dict[str, Any] = {
    "modelId": BEDROCK_MODEL,
    "messages": [{"role": "user", "content": [{"text": "What is the capital of France?"}]}],
    "inferenceConfig": {"maxTokens": 100},
}
_NATIVE = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 100, "messages": QUESTION}
_INVOKED: dict[str, Any] = {"modelId": BEDROCK_MODEL, "body": json.dumps(_NATIVE)}


def bedrock_client(site: Site) -> Any:
    patience = {} if site.timeout_s is None else {"read_timeout": site.timeout_s}
    client = boto3.client(
        "bedrock-runtime",
        endpoint_url=site.url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": site.retries + 1, "mode": "standard"}, **patience),
    )
    return site.wrap(client)


def _sync(ask: Callable[[Site, Any], Any]) -> Callable[[Site], Any]:
    def call(site: Site) -> Any:
        client = bedrock_client(site)
        try:
            return ask(site, client)
        finally:
            client.close()

    return call


def _converse(_site: Site, client: Any) -> Any:
    return _without_metadata(client.converse(**_ASKED))


def _converse_stream(site: Site, client: Any) -> Any:
    return site.take(client.converse_stream(**_ASKED)["stream"])


def _invoke(_site: Site, client: Any) -> Any:
    return seen(client.invoke_model(**_INVOKED)["body"].read())


def _invoke_stream(site: Site, client: Any) -> Any:
    return site.take(client.invoke_model_with_response_stream(**_INVOKED)["body"])


def _without_metadata(answer: dict[str, Any]) -> Any:
    return seen({name: value for name, value in answer.items() if name != "ResponseMetadata"})


# Converse has no word for reasoning tokens.
_CONVERSED: dict[str, Any] = {"tokens": (10, 4, 50, 0), "patient": True, "whole_only": True}

CALLS = (
    SDKCall("bedrock converse", *_SNAPSHOT, False, _sync(_converse), **_CONVERSED),
    SDKCall("bedrock converse, streamed", *_SNAPSHOT, True, _sync(_converse_stream), takes=True, **_CONVERSED),
    SDKCall("bedrock invoke", *_SNAPSHOT, False, _sync(_invoke), whole_only=True),
    SDKCall(
        "bedrock invoke, streamed",
        *_SNAPSHOT,
        True,
        _sync(_invoke_stream),
        takes=True,
        early_usage=True,
        whole_only=True,
    ),
)
