"""What spend is broken down by: the model, the provider, or the value of a tag key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from flask_llm_cost.errors import InvalidFilterError
from flask_llm_cost.settings import TAG_KEY

MAX_KEY = 128


@dataclass(frozen=True, slots=True)
class Group:
    """A dimension. ``str()`` gives what ``Group.parse`` reads: "model", "provider" or "tag:KEY"."""

    dimension: Literal["model", "provider", "tag"]
    key: str = ""

    def __str__(self) -> str:
        return f"tag:{self.key}" if self.dimension == "tag" else self.dimension

    @property
    def label(self) -> str:
        return self.key if self.dimension == "tag" else self.dimension.capitalize()

    @classmethod
    def parse(cls, text: str) -> Group:
        """Read "model", "provider" or "tag:KEY".

        Raises:
            InvalidFilterError: it is none of them, or the tag key is not one.
        """
        if text == "model":
            return MODEL
        if text == "provider":
            return PROVIDER
        kind, _, key = text.partition(":")
        if kind != "tag":
            raise InvalidFilterError(f"Cannot group by {text[:40]!r}: choose model, provider or tag:KEY.")
        return cls("tag", checked_tag_key(key))


MODEL, PROVIDER = Group("model"), Group("provider")


def checked_tag_key(key: str) -> str:
    """The key itself.

    Raises:
        InvalidFilterError: it cannot be a tag's key.
    """
    if len(key) > MAX_KEY or not TAG_KEY.fullmatch(key):
        raise InvalidFilterError(f"{key[:40]!r} is not a tag key: letters, digits, '_', '.', '-' and '/' are allowed.")
    return key
