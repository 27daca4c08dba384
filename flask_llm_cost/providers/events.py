"""One event of a stream, decoded only when somebody looks: most carry text that nobody here reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from re import Pattern
from typing import NamedTuple

from flask_llm_cost.providers.fields import JSON
from flask_llm_cost.providers.torn import torn_object


class Event(NamedTuple):
    """One event. A named tuple: a long stream has thousands, and a frozen dataclass takes four times as long to make.

    Attributes:
        name: the SSE event name.
        data: its data, undecoded; empty where ``value`` is set.
        value: the data of an event that came decoded.
    """

    name: str | None = None
    data: bytes = b""
    value: JSON | None = None

    @property
    def done(self) -> bool:
        """Whether this is the sentinel with which OpenAI's streams end."""
        return self.data == b"[DONE]"

    def mentions(self, pattern: Pattern[bytes]) -> bool:
        """Whether it is worth decoding: its data match, or it is decoded already."""
        return self.value is not None or pattern.search(self.data) is not None

    def decoded(self) -> JSON | None:
        """The data where they are a JSON object."""
        value: object = self.value
        if value is None and self.data[:1] == b"{":
            try:
                value = json.loads(self.data.decode("utf-8", "replace"))
            except (ValueError, RecursionError):
                return torn_object(self.data)
        return value if isinstance(value, Mapping) else None

    def text(self) -> str:
        """The data as text, for what is no JSON."""
        return self.data.decode("utf-8", "replace")
