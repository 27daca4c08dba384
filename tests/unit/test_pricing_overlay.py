"""One price source laid over another, and the decisions where they disagree."""

from __future__ import annotations

from copy import deepcopy
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from flask_llm_cost.pricing.bundle import Bundle, as_bundled
from flask_llm_cost.pricing.pricer import Catalogue
from flask_llm_cost.pricing.sources.assemble import assemble
from flask_llm_cost.pricing.sources.corrections import Corrections, Settled, prevail
from flask_llm_cost.pricing.sources.overlay import Disagreement, Overlay, lay_over

DAY = date(2026, 11, 4)
NOON = datetime(2026, 11, 4, 12, tzinfo=UTC)


def base(rates: list[dict[str, object]], batch: str | None = None, **more: Any) -> Bundle:
    providers = {} if batch is None else {"openai": [{"when": {"mode": "batch"}, "multiplier": batch}]}
    return {
        "schema": 1,
        "updated": "2026-11-04",
        "sources": {"genai-prices": "1"},
        "providers": providers,
        "latest": {},
        "entries": {"openai/m": {"rates": rates, **more}},
    }


def laid(bundle: Bundle, key: str, *rates: dict[str, object]) -> Overlay:
    return lay_over(bundle, {key: {"rates": list(rates)}}, "litellm", DAY)


def cost(bundle: Bundle, mode: str | None = None, **usage: int) -> Decimal | None:
    named = {name.replace("__", "."): count for name, count in usage.items()}
    return Catalogue([as_bundled(bundle).layer]).price("openai", "m", named, mode=mode, at=NOON).total


def test_a_model_the_base_has_not_is_added_with_its_source() -> None:
    bundle = base([{"input": "1"}])
    outcome = laid(bundle, "openai/other", {"input": "2"})
    assert outcome.added == ["openai/other"]
    assert bundle["entries"]["openai/other"] == {"rates": [{"input": "2"}], "source": "litellm"}


def test_a_rate_the_base_has_is_kept_and_one_it_lacks_is_added() -> None:
    bundle = base([{"input": "1"}])
    outcome = laid(bundle, "openai/m", {"input": "1", "cache_read": "0.1"})
    assert (outcome.agreed, outcome.completed, outcome.disagreements) == (1, {"openai/m": 1}, [])
    assert bundle["entries"]["openai/m"]["rates"] == [{"input": "1"}, {"cache_read": "0.1", "source": "litellm"}]


def test_a_disagreement_changes_nothing_and_says_both_prices() -> None:
    bundle = base([{"input": "1"}, {"when": {"mode": "flex"}, "input": "0.5"}])
    before = deepcopy(bundle)
    outcome = laid(bundle, "openai/m", {"input": "2"}, {"when": {"mode": "flex"}, "input": "0.7"})
    assert bundle == before
    assert outcome.disagreements == [
        Disagreement("openai/m", "openai/m", (), "input", "1/1000000", "2/1000000"),
        Disagreement("openai/m", "openai/m", ("mode=flex",), "input", "0.5/1000000", "0.7/1000000"),
    ]
    assert str(outcome.disagreements[1]) == "openai/m (mode=flex): input: 0.5/1000000 here, 0.7/1000000 there"


def test_a_price_cut_off_after_some_digits_is_no_disagreement() -> None:
    outcome = laid(base([{"audio.second": {"usd": "0.111", "per": 3600}}]), "openai/m", {"audio.second": "0.00003083"})
    assert (outcome.agreed, outcome.disagreements) == (1, [])


def test_a_snapshot_that_costs_the_same_adds_nothing_and_one_that_does_not_is_a_disagreement() -> None:
    bundle = base([{"input": "1"}])
    assert laid(bundle, "openai/m-2026-01-02", {"input": "1", "output": "3"}).completed == {}
    (found,) = laid(bundle, "openai/m-2026-01-02", {"input": "2"}).disagreements
    assert (found.key, found.entry) == ("openai/m-2026-01-02", "openai/m")


def test_a_tier_the_base_knows_nothing_of_is_added_whole() -> None:
    bundle = base([{"input": "1", "output": "4"}])
    laid(bundle, "openai/m", {"when": {"mode": "flex"}, "input": "0.5", "output": "2"})
    assert cost(bundle, "flex", input=10**6, output=10**6) == Decimal("2.5")


def test_a_rate_added_to_a_tier_that_was_a_multiple_leaves_the_others_what_they_were() -> None:
    """Rates written for a tier end its multiplier, so the multiplied ones are written down with them."""
    bundle = base([{"input": "1", "output": "4"}], batch="0.5")
    laid(bundle, "openai/m", {"when": {"mode": "batch"}, "input": "0.5", "output.image": "15"})
    assert cost(bundle, "batch", input=10**6, output=10**6, output__image=10**6) == Decimal("17.5")


def test_a_region_with_prices_of_its_own_is_added() -> None:
    bundle = base([{"input": "1"}])
    outcome = laid(
        bundle, "openai/m", {"when": {"geo": "eu"}, "input": "1.1"}, {"when": {"geo": "us"}, "multiplier": "1"}
    )
    assert outcome.disagreements == []
    catalogue = Catalogue([as_bundled(bundle).layer])
    usage = {"input": 10**6}
    receipts = [catalogue.price("openai", "m", usage, geo=geo, at=NOON) for geo in ("eu", "us", None, "jp")]
    assert [(receipt.total, receipt.status) for receipt in receipts] == [
        (Decimal("1.1"), "complete"),
        (Decimal(1), "complete"),
        (Decimal(1), "complete"),
        (Decimal(1), "partial"),
    ]


def test_the_price_of_the_global_endpoint_under_the_plain_name_is_the_global_endpoints() -> None:
    """Its tiers with it; what a search costs is the same everywhere."""
    bundle = base([{"input": "1.1"}, {"when": {"geo": "global"}, "input": "1"}])
    search = {"usd": "10", "per": 1000}
    outcome = laid(
        bundle, "openai/m", {"input": "1", "tool.web_search": search}, {"when": {"mode": "batch"}, "input": "0.5"}
    )
    assert (outcome.agreed, outcome.disagreements) == (1, [])
    assert bundle["entries"]["openai/m"]["rates"] == [
        {"input": "1.1"},
        {"when": {"geo": "global"}, "input": "1"},
        {"tool.web_search": search, "source": "litellm"},
        {"when": {"geo": "global", "mode": "batch"}, "input": "0.5", "source": "litellm"},
    ]


GENAI = [
    {
        "id": "openai",
        "models": [{"match": {"equals": "m"}, "id": "m", "prices": {"input_mtok": "1", "output_mtok": "4"}}],
    }
]
LITELLM = {"m": {"litellm_provider": "openai", "input_cost_per_token": Decimal("2e-06")}}
NOTHING: dict[str, Any] = {
    "updated": "2026-11-04",
    "since": [],
    "providers": {},
    "rules": [],
    "entries": {},
    "aliases": [],
    "free": [],
    "drop": [],
    "settled": [],
}


def assembled(**corrections: Any) -> Any:
    raw = {**NOTHING, **corrections}
    return assemble(GENAI, LITELLM, Corrections.of(raw), versions={"genai-prices": "1", "litellm": "2"}, day=DAY)


def decided(**decision: Any) -> Any:
    return assembled(settled=[{"keys": ["openai/*"], "why": "It is so.", **decision}])


def test_a_new_disagreement_is_not_settled() -> None:
    (found,) = assembled().settled
    assert found[0].meter == "input"
    assert found[1] is None


@pytest.mark.parametrize(
    ("decision", "before", "now"),
    [
        ({"keep": "genai-prices"}, "1", "1"),
        ({"keep": "litellm"}, "2", "2"),
        ({"keep": "litellm", "from": "2026-10-01"}, "1", "2"),
    ],
)
def test_a_decision_says_whose_price_counts_and_from_when(decision: dict[str, str], before: str, now: str) -> None:
    """Covers P-PRC-41 in part: what a call cost before the day stays."""
    catalogue = Catalogue([as_bundled(decided(**decision).bundle).layer])
    for day, expected in ((datetime(2026, 9, 30, tzinfo=UTC), before), (NOON, now)):
        receipt = catalogue.price("openai", "m", {"input": 10**6, "output": 10**6}, at=day)
        assert receipt.total == Decimal(expected) + 4
        assert {line.meter: line.source for line in receipt.lines} == {
            "input": "genai-prices" if expected == "1" else "litellm",
            "output": "genai-prices",
        }


def test_a_price_for_all_hours_ends_the_ones_for_some() -> None:
    hours = {"windows": [{"from": "00:30", "to": "16:30"}]}
    bundle = base([{"input": "1"}, {"when": hours, "input": "2"}])
    found = Disagreement("openai/m", "openai/m", (), "input", "2/1000000", "3/1000000")
    prevail(bundle, found, Settled(("openai/m",), (), (), "litellm", "2026-10-01", "It is so."))
    catalogue = Catalogue([as_bundled(bundle).layer])
    moments = (datetime(2026, 9, 30, 12, tzinfo=UTC), datetime(2026, 9, 30, 20, tzinfo=UTC), NOON)
    totals = [catalogue.price("openai", "m", {"input": 10**6}, at=moment).total for moment in moments]
    assert totals == [Decimal(2), Decimal(1), Decimal(3)]


def test_a_correction_says_what_a_model_cost_until_a_day() -> None:
    rule = {"keys": ["openai/m"], "rule": {"effective_until": "2026-10-07", "input": "3"}}
    made = assembled(rules=[rule], settled=[{"keys": ["openai/m"], "keep": "genai-prices", "why": "It is so."}])
    catalogue = Catalogue([as_bundled(made.bundle).layer])
    totals = [
        catalogue.price("openai", "m", {"input": 10**6}, at=day).total
        for day in (datetime(2026, 10, 6, tzinfo=UTC), NOON)
    ]
    assert (totals, made.problems) == ([Decimal(3), Decimal(1)], [])


def test_an_entry_of_the_overlay_can_be_dropped_by_a_pattern() -> None:
    made = assembled(drop_from_litellm=[{"keys": ["openai/*", "groq/*"]}])
    assert (made.settled, made.left_out) == ([], {"openai/m": "dropped by corrections.yaml"})
    assert [problem.partition(" is not")[0] for problem in made.problems] == [
        "corrections.yaml: drop_from_litellm: groq/*"
    ]


def test_a_name_given_to_a_model_is_taken_from_the_others_of_its_provider() -> None:
    entries = {"openai/n": {"rates": [{"input": "5"}], "aliases": ["n-latest", "n-old"]}}
    made = assembled(entries=entries, aliases=[{"key": "openai/m", "names": ["n-latest"]}])
    aliases = {key: entry.get("aliases") for key, entry in made.bundle["entries"].items()}
    assert (aliases["openai/m"], aliases["openai/n"]) == (["n-latest"], ["n-old"])


def test_a_decision_covers_only_the_meters_and_tiers_it_names() -> None:
    assert [decision for _, decision in decided(keep="litellm", meters=["output*"]).settled] == [None]
    assert [decision for _, decision in decided(keep="litellm", when=["mode=batch"]).settled] == [None]


def test_what_does_not_fit_the_sources_any_more_is_a_problem() -> None:
    url = "https://example.com"
    problems = assembled(
        drop=[{"keys": ["openai/gone"], "url": url}],
        free=[{"keys": ["openai/m2"], "url": url}],
        rules=[{"keys": ["openai/m"], "rule": {"input": "3"}}, {"keys": ["openai/gone"], "rule": {"input": "3"}}],
        entries={"openai/m": {"rates": [{"input": "9"}]}},
        aliases=[{"key": "openai/gone", "names": ["x"]}],
        settled=[{"keys": ["groq/*"], "keep": "litellm", "why": "No reason."}],
    ).problems
    assert [problem.removesuffix(" is not as it was when this was written.") for problem in problems] == [
        "corrections.yaml: drop: openai/gone",
        "corrections.yaml: free: openai/m2",
        "corrections.yaml: entries: openai/m",
        "corrections.yaml: rules: openai/m: input",
        "corrections.yaml: rules: openai/gone",
        "corrections.yaml: aliases: openai/gone",
        "corrections.yaml: settled: groq/*: there is nothing to settle.",
    ]
