"""Recorded traffic: every model that really answered has its price, or the reason why not is here."""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from pathlib import Path

import pytest

from flask_llm_cost.pricing import Catalogue
from flask_llm_cost.pricing.bundle import bundled
from flask_llm_cost.providers import read_exchange

CORPUS = Path(__file__).parents[2] / "../shared/corpus/exchanges.jsonl"

# (provider, model) → why nothing prices it.
WITHOUT_A_PRICE = {
    ("bedrock", "/opt/ml/model"): "a model that the account imported itself; only its owner knows its cost",
    ("openai", "moonshotai/kimi-k2"): "a gateway's answer under OpenAI's route: not OpenAI's model to price",
}


@pytest.mark.skipif(not CORPUS.exists(), reason="the recorded exchanges (shared/corpus) are not beside the repository")
def test_every_model_that_answered_is_priced_or_explained() -> None:
    """With its whole price: each meter that these calls used has a rate of the host that answered."""
    catalogue = Catalogue([bundled().layer])
    statuses: dict[tuple[str, str], set[str]] = defaultdict(set)
    for line in CORPUS.read_text("utf-8").splitlines():
        exchange = json.loads(line)
        body = exchange["body"]
        reading = read_exchange(
            url=exchange["url"],
            request_body=(exchange["request_body"] or "").encode(),
            status=exchange["status"],
            headers=exchange["headers"],
            body=base64.b64decode(body) if exchange["body_encoding"] == "base64" else body.encode(),
        )
        if reading is None or not reading.usage:
            continue
        receipt = catalogue.price(
            reading.provider, reading.model, reading.usage, mode=reading.pricing_mode, geo=reading.geo
        )
        assert receipt.key is None or receipt.key.startswith((f"{reading.provider}/", "voyageai/"))
        statuses[reading.provider, reading.model].add(receipt.status)
    assert len(statuses) > 40
    incomplete = {name: found for name, found in statuses.items() if found != {"complete"}}
    assert incomplete == {name: {"unknown"} for name in WITHOUT_A_PRICE}
