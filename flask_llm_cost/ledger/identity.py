"""The ids of events: new ones, and lasting ones for what a provider names itself.

An answer that can be fetched again (a background response, a line of a batch's results) gets the same id
whoever records it, in whatever process, however often. All have the shape of UUID version 7, which every
database takes and which sorts by time.
"""

from __future__ import annotations

import os
import time
from datetime import datetime
from hashlib import sha256
from uuid import UUID

_RANDOM_BITS = 80


def uuid7() -> UUID:
    """A new, time-ordered id (RFC 9562, version 7): 48 bits of Unix milliseconds, 74 random bits."""
    return _shaped(time.time_ns() // 1_000_000, int.from_bytes(os.urandom(_RANDOM_BITS // 8), "big"))


def lasting_id(provider: str, name: str, at: datetime | None) -> UUID:
    """The id of what ``provider`` calls ``name``.

    Args:
        at: when it happened, as the provider says. ``None`` where it does not: the id is then ``is_timeless``,
            and stands for the call at whatever time it is recorded.
    """
    digest = sha256(f"{provider.lower()}\0{name}".encode("utf-8", "replace")).digest()
    return _shaped(0 if at is None else int(at.timestamp()) * 1000, int.from_bytes(digest[:10], "big"))


def is_timeless(event_id: UUID) -> bool:
    """Whether no time is part of the id, so that the ledger must look for it at every time."""
    return event_id.int >> _RANDOM_BITS == 0


def _shaped(milliseconds: int, bits: int) -> UUID:
    high = (milliseconds & (1 << 48) - 1) << 80 | 0x7 << 76 | (bits >> 62 & 0xFFF) << 64
    return UUID(int=high | 0x2 << 62 | bits & (1 << 62) - 1)
