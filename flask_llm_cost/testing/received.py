"""A request as the provider server received it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Self
from urllib.parse import parse_qsl, unquote, urlsplit

from flask_llm_cost.providers.multipart import form_fields

SECRET_HEADERS = frozenset({"authorization", "x-api-key", "x-goog-api-key", "api-key", "cookie", "proxy-authorization"})
SECRET_QUERY_KEYS = frozenset({"key", "access_token", "api_key", "api-key"})

_PROSE = frozenset({"text", "content", "input", "instructions", "system", "contents", "messages", "parts"})
_PROSE |= {"systemInstruction", "system_instruction", "prompt"}
_MODEL_IN_PATH = re.compile(r"/models/([^/:]+):|/model/(.+)/[^/]+$|/deployments/([^/]+)/")
_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Received:
    """One request, without its secrets.

    Attributes:
        method: "POST", …
        path: the path without the query string, "/v1/chat/completions" for example.
        query: the query string's pairs, keys that carry credentials left out.
        headers: names in lower case; authorization, API key and cookie headers left out.
        body: the bytes as they came.
        json: the body parsed, or an empty mapping where it is not a JSON object.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    headers: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    body: bytes = b""
    json: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def post(cls, target: str, body: Mapping[str, object]) -> Self:
        """A JSON POST to ``target`` (path and query string), for use with ``reply`` without a server."""
        return cls.parse("POST", target, {"content-type": "application/json"}, json.dumps(body).encode())

    @classmethod
    def parse(cls, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Self:
        """A request from its parts as they came over the wire."""
        url = urlsplit(target)
        lowered = {name.lower(): value for name, value in headers.items()}
        return cls(
            method=method,
            path=url.path,
            query={name: value for name, value in parse_qsl(url.query) if name not in SECRET_QUERY_KEYS},
            headers={name: value for name, value in lowered.items() if name not in SECRET_HEADERS},
            body=body,
            json=_json_object(body),
        )

    @property
    def model(self) -> str:
        """The model asked for, in the path (Gemini, Bedrock, Azure) or in the body; "" where none is named."""
        if in_path := _MODEL_IN_PATH.search(self.path):
            return unquote(next(filter(None, in_path.groups())))
        named = self.json.get("model") or self.form.get("model")
        return named if isinstance(named, str) else ""

    @property
    def form(self) -> Mapping[str, object]:
        """The short text fields of a multipart form; none where the body is no form."""
        return form_fields(self.body) if self.body.startswith(b"--") else {}

    @property
    def prompt(self) -> str:
        """All text of the prompt in order, whatever the wire format: messages, instructions, system text."""
        return "\n".join(_prose(self.json, inside=False))


def _json_object(body: bytes) -> Mapping[str, object]:
    try:
        parsed = json.loads(body)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _prose(value: object, *, inside: bool) -> list[str]:
    if isinstance(value, str):
        return [value] if inside else []
    if isinstance(value, list):
        return [text for item in value for text in _prose(item, inside=inside)]
    if isinstance(value, dict):
        return [text for key, item in value.items() if key in _PROSE for text in _prose(item, inside=True)]
    return []
