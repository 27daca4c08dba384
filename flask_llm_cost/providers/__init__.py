"""Providers: which HTTP calls are calls to a model, and what their answers say about usage.

One file per wire format, one line in ``hosts`` per host; an app's own derive from ``Provider``. Everything here
is pure: bytes in, a ``Reading`` out.
"""

from flask_llm_cost.providers.batches import BatchLine, read_batch_line
from flask_llm_cost.providers.bodies import own_name, own_time, read_body
from flask_llm_cost.providers.custom import Provider
from flask_llm_cost.providers.fields import JSON
from flask_llm_cost.providers.hosts import find_route, is_known
from flask_llm_cost.providers.reader import CUT_OFF, PENDING, read, read_exchange, unanswered
from flask_llm_cost.providers.registry import Registry
from flask_llm_cost.providers.route import Route
from flask_llm_cost.providers.told import read_stream_events
from flask_llm_cost.providers.torn import TORN
from flask_llm_cost.providers.wire import Answer, Asked, Folded, WireFormat

__all__ = [
    "CUT_OFF",
    "JSON",
    "PENDING",
    "TORN",
    "Answer",
    "Asked",
    "BatchLine",
    "Folded",
    "Provider",
    "Registry",
    "Route",
    "WireFormat",
    "find_route",
    "is_known",
    "own_name",
    "own_time",
    "read",
    "read_batch_line",
    "read_body",
    "read_exchange",
    "read_stream_events",
    "unanswered",
]
