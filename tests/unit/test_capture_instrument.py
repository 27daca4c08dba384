"""The contracts of ``instrument``: what is missing is said at start-up, and nothing is imported to find out."""

from __future__ import annotations

import logging
from pathlib import Path
from types import ModuleType

import pytest

from flask_llm_cost import ConfigurationError
from flask_llm_cost.capture import instrument


def install(folder: Path, name: str, version: str, *requirements: str) -> None:
    """A package as pip leaves it: its metadata."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    lines = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}", *(f"Requires-Dist: {r}" for r in requirements)]
    (info / "METADATA").write_text("\n".join(lines) + "\n")


def test_an_sdk_that_left_the_watched_libraries_stops_start_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "openai", "9.0", "urllib3>=3", "httpx2>=2; extra == 'httpx2'")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigurationError) as refused:
        instrument.check("openai")
    assert str(refused.value) == (
        "instrument('openai'): openai 9.0 requires none of httpx, httpx2: what it sends would not be seen. "
        "Use a version that does, or leave 'openai' out and use llm_cost.track()."
    )


def test_an_sdk_may_sit_on_a_watched_library_through_another_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "openai", "9.0", "layer-between")
    install(tmp_path, "layer-between", "1.0", "openai", "httpx2")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert instrument.check("openai") == ("httpx", "httpx2")


@pytest.mark.parametrize("name", ["openai", "anthropic", "google-genai", "boto3"])
def test_the_installed_sdks_keep_their_contracts(name: str) -> None:
    assert instrument.check(name) == instrument.SDKS[name].libraries


def test_a_library_without_the_function_to_patch_is_named() -> None:
    httpx2 = ModuleType("httpx2")
    httpx2.Client = type("Client", (), {})  # type: ignore[attr-defined]
    with pytest.raises(ConfigurationError) as refused:
        instrument.PATCHES._patch(httpx2)
    assert str(refused.value) == (
        "instrument(): httpx2.Client has no send(): this version of httpx2 cannot be watched."
    )


def test_a_library_imported_later_is_reported_and_its_import_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        instrument._patch_late(instrument.PATCHES._patch, ModuleType("aiohttp"))
    assert caplog.messages == [
        (
            "instrument(): aiohttp.ClientSession has no _request(): this version of aiohttp cannot be watched. "
            "Its calls are not recorded."
        )
    ]


def test_all_warns_of_what_a_named_sdk_stops_start_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An old copy of a package may not be used to ask a model at all; with its name it is meant to be."""
    install(tmp_path, "cohere", "4.0", "requests")
    monkeypatch.syspath_prepend(tmp_path)
    found = instrument.names(["all"])
    assert "cohere" not in found
    assert {"httpx", "requests"} <= set(found)
    (warned,) = [record.message for record in caplog.records if "cohere" in record.message]
    assert warned == (
        "instrument('cohere'): cohere 4.0 is installed; 5.11 or newer is needed. "
        'With "all" that is no error, but its calls may not be recorded.'
    )
    assert "cohere" in instrument.names(["all", "cohere"])
    with pytest.raises(ConfigurationError, match=r"cohere 4\.0 is installed; 5\.11 or newer is needed"):
        instrument.check("cohere")


def test_names_are_flattened_resolved_and_counted_once() -> None:
    """Lists in lists, aliases beside names, "all" in the order of the registry. Covers P-CFG-24, P-CFG-25."""
    assert instrument.names(["openai", ["anthropic", ("openai",)], "openai"]) == ("openai", "anthropic")
    everything = instrument.names(["all"])
    assert everything == (
        *(name for name in instrument.SDKS if name in everything),
        *(name for name in instrument.LIBRARIES if name in everything),
    )
    assert {"openai", "anthropic", "httpx", "requests"} <= set(everything)
    assert instrument.names(["all", "all", "openai"]) == everything
