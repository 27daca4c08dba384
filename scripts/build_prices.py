"""Write ``flask_llm_cost/pricing/data/prices.json`` from the genai-prices package and ``corrections.yaml``.

Run from the repository root with the dev dependencies: ``python scripts/build_prices.py``. With ``--check``
nothing is written; the exit code is 1 where the committed file differs.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import date, time
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from flask_llm_cost.pricing.bundle import SCHEMA, Bundle, as_bundled  # noqa: E402
from flask_llm_cost.pricing.hosts import merge_regions, standard_only  # noqa: E402
from flask_llm_cost.pricing.sources import Since, from_genai_prices  # noqa: E402

DATA = ROOT / "flask_llm_cost" / "pricing" / "data"
TARGET = DATA / "prices.json"
SOURCE = "genai-prices"
MOST_BYTES = 500_000

WANTED = {
    "openai": "openai",
    "azure": "azure",
    "anthropic": "anthropic",
    "google": "vertex",
    "aws": "bedrock",
    "mistral": "mistral",
    "groq": "groq",
    "deepseek": "deepseek",
    "x-ai": "xai",
    "cohere": "cohere",
    "openrouter": "openrouter",
    "together": "together",
    "fireworks": "fireworks",
    "perplexity": "perplexity",
    "cerebras": "cerebras",
    "moonshotai": "moonshotai",
    "minimax": "minimax",
    "zai": "zai",
    "meta": "meta",
    "voyageai": "voyageai",
}
FREE = [{"input": "0", "output": "0"}]
# genai-prices lets these hosts fall back to the maker's standard prices.
RESOLD_BY_AZURE = ("openai", "anthropic", "deepseek", "xai", "moonshotai")


def plain(value: object) -> object:
    """genai-prices' objects as the JSON values that it publishes."""
    if isinstance(value, Decimal | date | time):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    if type(value).__name__ == "ModelPrice":
        return {key: plain(item) for key, item in vars(value).items() if item is not None}
    if dataclasses.is_dataclass(value):
        return {
            item.name.rstrip("_"): plain(getattr(value, item.name))
            for item in dataclasses.fields(value)
            if item.name not in ("extractors",)
        }
    return value


def build() -> tuple[Bundle, dict[str, str]]:
    """The bundle, and what of the source is not in it and why."""
    from genai_prices.data import providers

    corrections = yaml.load((DATA / "corrections.yaml").read_text("utf-8"), Loader=yaml.BaseLoader)
    since = [Since(item["provider"], item["mode"], date.fromisoformat(item["day"])) for item in corrections["since"]]
    raw = plain(providers)
    assert isinstance(raw, list)
    converted = from_genai_prices(raw, WANTED, since)
    gemini = from_genai_prices(raw, {"google": "gemini"}, since)
    entries, left_out = converted.entries, {**converted.left_out, **gemini.left_out}
    entries.update({key: entry for key, entry in gemini.entries.items() if not key.startswith("gemini/claude")})
    merge_regions(entries)
    resell(entries)
    correct(entries, left_out, corrections)
    bundle: Bundle = {
        "schema": SCHEMA,
        "updated": corrections["updated"],
        "sources": {SOURCE: version(SOURCE)},
        "providers": {
            provider: [corrected(rule) for rule in rules] for provider, rules in corrections["providers"].items()
        },
        "latest": {},
        "entries": dict(sorted(entries.items())),
    }
    return bundle, left_out


def resell(entries: dict[str, dict[str, object]]) -> None:
    for key in list(entries):
        maker, _, model = key.partition("/")
        if maker in RESOLD_BY_AZURE and not model.startswith("ft:"):
            entries.setdefault(f"azure/{model}", standard_only(entries[key]))


def corrected(rule: Mapping[str, object]) -> dict[str, object]:
    """A rule of ``corrections.yaml``: its link stays there, its origin is on the receipt."""
    return {**{name: value for name, value in rule.items() if name != "url"}, "source": "correction"}


def correct(entries: dict[str, dict[str, object]], left_out: dict[str, str], corrections: Mapping[str, list]) -> None:
    """Apply ``corrections.yaml``; a key that is not there any more is an error, so that no correction goes stale."""
    for key in (key for item in corrections["drop"] for key in item["keys"]):
        del entries[key]
        left_out[key] = "dropped by corrections.yaml"
    for key in (key for item in corrections["free"] for key in item["keys"]):
        del left_out[key]
        entries[key] = {"source": "correction", "rates": FREE}
    for key, entry in corrections["entries"].items():
        if key in entries:
            raise SystemExit(f"corrections.yaml: {key} is in the source now.")
        entries[key] = corrected(entry)
    for item in corrections["rules"]:
        for key in item["keys"]:
            add_rule(key, entries[key], item["rule"])
    for item in corrections["aliases"]:
        entry = entries[item["key"]]
        entry["aliases"] = sorted({*entry.get("aliases", ()), *item["names"]})
    free_variants(entries, left_out)


def free_variants(entries: dict[str, dict[str, object]], left_out: dict[str, str]) -> None:
    """OpenRouter's ``:free`` variants cost nothing; genai-prices has them without rates."""
    for key in [key for key in left_out if key.startswith("openrouter/") and key.endswith(":free")]:
        entries[key] = {"rates": FREE}
        del left_out[key]


def add_rule(key: str, entry: dict[str, object], rule: Mapping[str, object]) -> None:
    refuse_repeated(key, rule, entry["rates"])
    entry["rates"] = [*entry["rates"], corrected(rule)]


def refuse_repeated(key: str, rule: Mapping[str, object], rules: Sequence[Mapping[str, object]]) -> None:
    for other in rules:
        for meter in set(rule) & set(other) - {"when", "source"}:
            if rule.get("when") == other.get("when"):
                raise SystemExit(f"corrections.yaml: {key} has {meter} in the source now: {other[meter]}.")


def text(bundle: Bundle) -> str:
    """The file, one entry a line: small, and a diff says which model changed."""
    head = {name: value for name, value in bundle.items() if name != "entries"}
    lines = ",\n".join(f"{dumped(key)}:{dumped(entry)}" for key, entry in bundle["entries"].items())
    return f'{dumped(head)[:-1]},"entries":{{\n{lines}\n}}}}\n'


def dumped(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with the committed file, write nothing")
    arguments = parser.parse_args()
    bundle, left_out = build()
    content = text(bundle)
    layer = as_bundled(json.loads(content)).layer
    for key in layer:
        layer.entry(key)
    size = len(content.encode())
    if size > MOST_BYTES:
        raise SystemExit(f"The bundle has {size:,} bytes; at most {MOST_BYTES:,} are allowed.")
    differs = not TARGET.exists() or TARGET.read_text("utf-8") != content
    if differs and not arguments.check:
        TARGET.write_text(content, encoding="utf-8", newline="\n")
    for key, reason in sorted(left_out.items()):
        print(f"left out: {key} ({reason})")
    print(f"{len(bundle['entries'])} entries, {size:,} bytes, {'changed' if differs else 'unchanged'}")
    return int(differs and arguments.check)


if __name__ == "__main__":
    sys.exit(main())
