"""CSV: what a spreadsheet opens without running it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from flask import Response

from flask_llm_cost.queries.breakdown import Spend
from flask_llm_cost.queries.export import CALL_COLUMNS, ExportedCall
from flask_llm_cost.queries.group import Group
from flask_llm_cost.queries.period import Period

FORMULA = ("=", "+", "-", "@")
SPEND_COLUMNS = ("calls", "unpriced_calls", "cost_low", "cost_high")
CONTROL = ("\t", "\r")


def safe_cell(value: object) -> str:
    """A cell that no spreadsheet takes for a formula: suspicious text is prefixed with an apostrophe."""
    if value is None:
        return ""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, bool | int):
        return str(value).lower()
    text = value.isoformat() if isinstance(value, datetime) else str(value)
    if text.lstrip().startswith(FORMULA) or text.startswith(CONTROL):
        return f"'{text}"
    return text


def calls(rows: Iterable[ExportedCall]) -> Iterator[str]:
    """The calls as lines of CSV, the header first; every token and cost column, tags as JSON."""
    yield _line(CALL_COLUMNS)
    for row in rows:
        yield _line([_cell(name, value) for name, value in zip(CALL_COLUMNS, row, strict=True)])


def spend(period: Period, group: Group, spends: Mapping[str | None, Sequence[Spend]]) -> Response:
    """USD per bucket and name; the sum of a bucket's rows is its column in the chart.

    The cost is empty where no part of it is known, and a lower bound where some calls are unpriced or estimated.
    """
    lines = [_line(("day" if period.unit == "day" else "hour", str(group), "total_cost", *SPEND_COLUMNS))]
    for index, start in enumerate(period.bounds[:-1]):
        local = start.astimezone(period.timezone)
        bucket = local.date().isoformat() if period.unit == "day" else local.isoformat()
        for name, held in spends.items():
            spend = held[index]
            if spend.calls:
                label = "(untagged)" if name is None else name
                cells = (bucket, label, spend.cost, spend.calls, spend.unpriced, spend.span.low, spend.span.high)
                lines.append(_line([safe_cell(cell) for cell in cells]))
    return attachment("llm-spend", period.now, lines)


def attachment(name: str, now: datetime, lines: Iterable[str]) -> Response:
    """A CSV file to download, its name stamped with the time."""
    response = Response(lines, content_type="text/csv; charset=utf-8")
    response.headers["Content-Disposition"] = f'attachment; filename="{name}-{now:%Y%m%d-%H%M%S}.csv"'
    return response


def _cell(name: str, value: object) -> str:
    if name == "tags":
        return safe_cell(json.dumps(value, ensure_ascii=False, sort_keys=True))
    return safe_cell(value)


def _line(cells: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue()
