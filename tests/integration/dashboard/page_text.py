"""Pages as a reader sees them."""

from __future__ import annotations

import re
from html import unescape


def text_of(html: str) -> str:
    """What a reader sees, in one line."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())


def rows_of(html: str) -> list[str]:
    """The rows of the list of calls."""
    table = re.search(r'<table class="lc-t lc-calls".*?</table>', html, re.DOTALL)
    body = table[0].partition("<tbody>")[2] if table else ""
    return [text_of(row) for row in re.findall(r"<tr>.*?</tr>", body, re.DOTALL)]
