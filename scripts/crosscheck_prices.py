"""Price the same calls with ours, genai-prices and LiteLLM, and say why they differ where they do.

Run from the repository root with the dev dependencies and the two wheels that ``build_prices.py`` reads. LiteLLM's own
engine does its part, under an interpreter that has it installed::

    python -m venv build/litellm && build/litellm/bin/pip install -r scripts/price_sources.txt
    python scripts/crosscheck_prices.py --sources build/price-sources --litellm-python build/litellm/bin/python

The calls and the reasons for differences are in ``crosscheck.yaml``. Exit code 1 where a difference has no reason, or a
reason has no difference left. Nothing is fetched.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from fnmatch import fnmatchcase
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from build_prices import wheel  # noqa: E402

from flask_llm_cost.pricing import price  # noqa: E402

CALLS = ROOT / "scripts" / "crosscheck.yaml"
LITELLM_HALF = ROOT / "scripts" / "crosscheck_litellm.py"
ENGINES = ("genai-prices", "litellm")
# LiteLLM computes in binary fractions.
TOLERANCE = Decimal("0.000000002")
GENAI_PROVIDERS = {"gemini": "google", "vertex": "google", "bedrock": "aws", "xai": "x-ai"}
GENAI_METERS = {
    "cache_read": "cache_read_tokens",
    "cache_write.1h": "cache_write_1h_tokens",
    "input.audio": "input_audio_tokens",
    "output.audio": "output_audio_tokens",
    "output.reasoning": "output_reasoning_tokens",
    "tool.web_search": "web_searches",
}


@dataclass(frozen=True)
class Call:
    """One call: a model and a mix of meters."""

    provider: str
    model: str
    mix: str
    usage: Mapping[str, int]
    mode: str | None

    def __str__(self) -> str:
        return f"{self.provider}/{self.model} {self.mix}"

    def as_json(self) -> dict[str, object]:
        return {"provider": self.provider, "model": self.model, "usage": dict(self.usage), "mode": self.mode}


@dataclass(frozen=True)
class Reason:
    """Why an engine differs: patterns of models ("openai/*"), of mixes, and the engine."""

    models: Sequence[str]
    mixes: Sequence[str]
    engine: str
    why: str

    def covers(self, call: Call, engine: str) -> bool:
        name = f"{call.provider}/{call.model}"
        return (
            engine == self.engine
            and any(fnmatchcase(name, pattern) for pattern in self.models)
            and any(fnmatchcase(call.mix, pattern) for pattern in self.mixes)
        )


def calls(raw: Mapping[str, object]) -> Iterator[Call]:
    mixes = raw["mixes"]
    for provider, groups in raw["calls"].items():
        for group in groups:
            for model in group["models"]:
                for mix in group["mixes"]:
                    yield Call(provider, model, mix, mixes[mix]["usage"], mixes[mix].get("mode"))


def our_cost(call: Call, at: datetime) -> Decimal | None:
    receipt = price(call.provider, call.model, call.usage, mode=call.mode, at=at)
    return receipt.total if receipt.status in ("complete", "free") else None


def genai_cost(call: Call, at: datetime) -> Decimal | None:
    """genai-prices' cost, in its inclusive terms; ``None`` where it does not know the model."""
    from genai_prices import Usage, calc_price

    counts = {theirs: call.usage[ours] for ours, theirs in GENAI_METERS.items() if ours in call.usage}
    written = call.usage.get("cache_write", 0) + call.usage.get("cache_write.1h", 0)
    if written:
        counts["cache_write_tokens"] = written
    context = {"processing": "batch"} if call.mode == "batch" else {"service_tier": call.mode} if call.mode else None
    try:
        return calc_price(
            Usage(
                input_tokens=sum(count for name, count in call.usage.items() if name.startswith(("input", "cache_"))),
                output_tokens=sum(count for name, count in call.usage.items() if name.startswith("output")),
                **counts,
            ),
            call.model,
            provider_id=GENAI_PROVIDERS.get(call.provider, call.provider),
            genai_request_timestamp=at,
            price_context=context,
        ).total_price
    except (LookupError, ValueError):
        return None


def litellm_costs(asked: Sequence[Call], python: str) -> list[Decimal | None]:
    """LiteLLM's costs, from its own engine."""
    answer = subprocess.run(
        [python, str(LITELLM_HALF)],
        input=json.dumps([call.as_json() for call in asked]),
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode:
        raise SystemExit(f"{python} could not price with litellm:\n{answer.stderr[-2000:]}")
    return [None if text is None else Decimal(text) for text in json.loads(answer.stdout)]


def agree(one: Decimal | None, other: Decimal | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) <= TOLERANCE


def shown(cost: Decimal | None) -> str:
    return "-" if cost is None else f"{cost:.9f}".rstrip("0").rstrip(".")


def reasons_for(call: Call, differing: Sequence[str], reasons: Sequence[Reason]) -> dict[str, Reason | None]:
    return {engine: next((reason for reason in reasons if reason.covers(call, engine)), None) for engine in differing}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=Path, default=ROOT / "build" / "price-sources", help="where the wheels are")
    parser.add_argument("--litellm-python", default=sys.executable, help="an interpreter that has litellm")
    parser.add_argument("--all", action="store_true", help="list the calls on which all agree, too")
    arguments = parser.parse_args()
    sys.path.insert(0, str(wheel(arguments.sources, "genai-prices")))
    raw = yaml.safe_load(CALLS.read_text("utf-8"))
    at = raw["at"] if isinstance(raw["at"], datetime) else datetime.fromisoformat(raw["at"])
    at = at.replace(tzinfo=UTC)
    reasons = [Reason(item["models"], item.get("mixes", ["*"]), item["engine"], item["why"]) for item in raw["reasons"]]
    asked = list(calls(raw))
    theirs = litellm_costs(asked, arguments.litellm_python)
    costs = [
        {"ours": our_cost(call, at), "genai-prices": genai_cost(call, at), "litellm": other}
        for call, other in zip(asked, theirs, strict=True)
    ]
    return report(asked, costs, reasons, everything=arguments.all)


def report(
    asked: Sequence[Call],
    costs: Sequence[Mapping[str, Decimal | None]],
    reasons: Sequence[Reason],
    *,
    everything: bool,
) -> int:
    """Print the table and the totals; the exit code."""
    totals: Counter[str] = Counter()
    used: set[int] = set()
    unexplained = 0
    print(f"{'call':<66}{'ours':>14}{'genai-prices':>14}{'litellm':>14}")
    for call, cost in zip(asked, costs, strict=True):
        differing = [engine for engine in ENGINES if not agree(cost["ours"], cost[engine])]
        for engine in ENGINES:
            totals[engine] += engine not in differing
            totals[f"{engine} unpriced"] += cost[engine] is None
        totals["both"] += not differing
        totals["theirs"] += agree(cost["genai-prices"], cost["litellm"])
        totals["ours unpriced"] += cost["ours"] is None
        if differing or everything:
            print(f"{call!s:<66}" + "".join(f"{shown(value):>14}" for value in cost.values()))
        for engine, reason in reasons_for(call, differing, reasons).items():
            used.add(id(reason))
            unexplained += reason is None
            print(f"    {engine}: {'NO REASON KNOWN' if reason is None else reason.why}")
    idle = [reason for reason in reasons if id(reason) not in used]
    for reason in idle:
        print(f"no difference left for: {reason.engine}: {reason.why}")
    print_totals(totals, len(asked))
    print(f"differences without a reason: {unexplained}; reasons without a difference: {len(idle)}")
    return int(bool(unexplained or idle))


def print_totals(totals: Mapping[str, int], count: int) -> None:
    def share(name: str) -> str:
        return f"{totals[name]} ({totals[name] / count:.0%})"

    print(f"\n{count} calls; priced by ours: {count - totals['ours unpriced']}")
    for engine in ENGINES:
        print(f"ours agrees with {engine} on {share(engine)}; {engine} prices {count - totals[f'{engine} unpriced']}")
    print(f"all three agree on {share('both')}; genai-prices and litellm with each other on {share('theirs')}")


if __name__ == "__main__":
    sys.exit(main())
