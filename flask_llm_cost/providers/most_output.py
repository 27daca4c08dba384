"""How much a model can generate at most where the request sets no limit: "max output tokens" of OpenAI's model
pages, "output token limit" of Google's (the higher one where AI Studio and Vertex differ). A family that is not
here has no bound, and a new one gets none before somebody has read its page.
"""

from __future__ import annotations

import re

_FAMILIES = tuple(
    (re.compile(rf"(?:^|[/.:]){family}", re.IGNORECASE), tokens)
    for family, tokens in (
        (r"gpt-(?:3\.5|35)-turbo", 4_096),
        (r"(?:gpt-4o|chatgpt-4o)(?!.*64k)", 16_384),
        (r"gpt-4\.1", 32_768),
        (r"gpt-4(?![\w.])", 8_192),
        (r"gpt-5(?:\.\d)?-pro", 272_000),
        (r"gpt-5", 128_000),
        (r"o[134](?:-|$)", 100_000),
        (r"gemini-(?:2|3)(?![0-9])", 65_536),
    )
)


def most_output(model: str) -> int | None:
    """The most tokens one answer of the model can have, reasoning among them; ``None`` where that is not known."""
    return next((tokens for family, tokens in _FAMILIES if family.search(model)), None)
