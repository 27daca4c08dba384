"""Write ``flask_llm_cost/pricing/data/prices.json`` from genai-prices, litellm and ``corrections.yaml``.

Run from the repository root with the dev dependencies, after fetching the two wheels, which are read and not installed
(LiteLLM holds back the openai package)::

    pip download --no-deps -r scripts/price_sources.txt -d build/price-sources
    python scripts/build_prices.py

Each disagreement between the two has to be settled in ``corrections.yaml`` and is listed, with the reason, in
``price_disagreements.txt`` beside this script; a new one fails the build. With ``--check`` nothing is written; the
exit code is 1 where a committed file differs.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from flask_llm_cost.pricing.bundle import Bundle, as_bundled  # noqa: E402
from flask_llm_cost.pricing.sources.assemble import GENAI_PRICES, LITELLM, Assembled, assemble  # noqa: E402
from flask_llm_cost.pricing.sources.corrections import Corrections  # noqa: E402

TARGET = ROOT / "flask_llm_cost" / "pricing" / "data" / "prices.json"
DISAGREEMENTS = ROOT / "scripts" / "price_disagreements.txt"
PRICE_MAP = "litellm/model_prices_and_context_window_backup.json"
MOST_BYTES = 500_000


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


def wheel(folder: Path, name: str) -> Path:
    """The one wheel of a package."""
    found = sorted(folder.glob(f"{name.replace('-', '_')}-*.whl"))
    if len(found) != 1:
        raise SystemExit(f"{folder} has {len(found)} wheels of {name}; one is needed. See the top of this script.")
    return found[0]


def genai_prices_providers(folder: Path) -> Sequence[Mapping[str, object]]:
    """The data of the genai-prices package, which ships it as Python objects."""
    sys.path.insert(0, str(wheel(folder, GENAI_PRICES)))
    from genai_prices.data import providers

    raw = plain(providers)
    assert isinstance(raw, list)
    return raw


def litellm_prices(folder: Path) -> dict[str, object]:
    """The price map inside the litellm package."""
    with ZipFile(wheel(folder, LITELLM)) as archive:
        raw = json.loads(archive.read(PRICE_MAP), parse_float=Decimal)
    del raw["sample_spec"]
    return raw


def versions(folder: Path) -> dict[str, str]:
    return {name: wheel(folder, name).name.split("-")[1] for name in (GENAI_PRICES, LITELLM)}


def build(folder: Path) -> Assembled:
    corrections = Corrections.bundled()
    return assemble(
        genai_prices_providers(folder),
        litellm_prices(folder),
        corrections,
        versions=versions(folder),
        day=date.fromisoformat(corrections.updated),
    )


def text(bundle: Bundle) -> str:
    """The file, one entry a line: small, and a diff says which model changed."""
    head = {name: value for name, value in bundle.items() if name != "entries"}
    lines = ",\n".join(f"{dumped(key)}:{dumped(entry)}" for key, entry in bundle["entries"].items())
    return f'{dumped(head)[:-1]},"entries":{{\n{lines}\n}}}}\n'


def dumped(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def listed_disagreements(assembled: Assembled) -> str:
    """Every disagreement under the decision that covers it."""
    decided: dict[str, list[str]] = {}
    for found, decision in assembled.settled:
        title = "NOT SETTLED" if decision is None else f"{decision.keep}: {decision.why}"
        decided.setdefault(title, []).append(f"  {found}")
    head = "Where genai-prices (here) and LiteLLM (there) disagree, and whose price the catalogue has, and why.\n"
    blocks = ("\n".join([title, *lines]) for title, lines in sorted(decided.items()))
    return head + "\n" + "\n\n".join(blocks) + "\n"


def report(assembled: Assembled, size: int, *, verbose: bool) -> None:
    if verbose:
        for key, reason in sorted(assembled.left_out.items()):
            print(f"left out: {key} ({reason})")
    overlay = assembled.overlay
    print(f"the sources agree on {overlay.agreed:,} rates and disagree on {len(overlay.disagreements):,}")
    added = sum(overlay.completed.values())
    print(f"litellm adds {len(overlay.added):,} models and {added:,} rates of {len(overlay.completed):,} others")
    print(f"{len(assembled.bundle['entries']):,} entries, {size:,} bytes; left out: {len(assembled.left_out):,}")


def faults(assembled: Assembled, size: int) -> list[str]:
    """What a build must not have."""
    found = [f"not settled: {disagreement}" for disagreement, decision in assembled.settled if decision is None]
    found += assembled.problems
    if size > MOST_BYTES:
        found.append(f"The bundle has {size:,} bytes; at most {MOST_BYTES:,} are allowed.")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=Path, default=ROOT / "build" / "price-sources", help="where the wheels are")
    parser.add_argument("--check", action="store_true", help="compare with the committed files, write nothing")
    parser.add_argument("--verbose", action="store_true", help="list what was left out, too")
    arguments = parser.parse_args()
    assembled = build(arguments.sources)
    content = text(assembled.bundle)
    layer = as_bundled(json.loads(content)).layer
    for key in layer:
        layer.entry(key)
    size = len(content.encode())
    report(assembled, size, verbose=arguments.verbose)
    found = faults(assembled, size)
    for fault in found:
        print(fault)
    outputs = {TARGET: content, DISAGREEMENTS: listed_disagreements(assembled)}
    changed = [path for path, new in outputs.items() if not path.exists() or path.read_text("utf-8") != new]
    for path in changed:
        print(f"{path.name} differs" if arguments.check or found else f"{path.name} is written")
        if not (arguments.check or found):
            path.write_text(outputs[path], encoding="utf-8", newline="\n")
    return int(bool(found) or (bool(changed) and arguments.check))


if __name__ == "__main__":
    sys.exit(main())
