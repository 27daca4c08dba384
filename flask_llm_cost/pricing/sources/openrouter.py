"""From OpenRouter's list of models to the bundled form.

Understands ``GET https://openrouter.ai/api/v1/models``: under ``pricing`` USD per single token, request, image or
search, as texts; "-1" where the price is that of whatever model the router chooses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation

from flask_llm_cost.pricing.entry import default_per
from flask_llm_cost.pricing.numbers import EXACT
from flask_llm_cost.pricing.sources.genai_prices import Converted
from flask_llm_cost.pricing.sources.shapes import Plain, RawRule, mapping
from flask_llm_cost.pricing.table import decimal_text

METERS_BY_PRICE: Mapping[str, str] = {
    "prompt": "input",
    "completion": "output",
    "input_cache_read": "cache_read",
    "input_cache_write": "cache_write",
    "internal_reasoning": "output.reasoning",
    "audio": "input.audio",
    "request": "request",
    "web_search": "tool.web_search",
}
# A price of 0 under these names says that there is no such thing to pay for; prompt and completion may be free.
_OPTIONAL = frozenset(METERS_BY_PRICE) - {"prompt", "completion"}


def from_openrouter(models: Sequence[Plain]) -> Converted:
    """Entries ``openrouter/<model>``.

    Args:
        models: the list under ``data``.
    """
    converted = Converted()
    for model in models:
        key = f"openrouter/{model.get('id')}"
        rates: RawRule = {}
        for name, meter in METERS_BY_PRICE.items():
            price = _price(mapping(model.get("pricing") or {}).get(name))
            if price is not None and not (price == 0 and name in _OPTIONAL):
                rates[meter] = decimal_text(EXACT.multiply(price, Decimal(default_per(meter))))
        if {"input", "output"} <= set(rates):
            converted.entries[key] = {"rates": [rates]}
        else:
            converted.left_out[key] = "no fixed price"
    return converted


def _price(value: object) -> Decimal | None:
    try:
        price = Decimal(str(value))
    except InvalidOperation:
        return None
    return price if price.is_finite() and price >= 0 else None
