"""SDKs and frameworks that the tests can do without: each runs where it is installed.

``LLM_COST_REQUIRE_SDKS`` names those that must not be missing: CI has them, in the environments they fit in.
"""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from typing import Any

import pytest

from sdk_calls.site import SDKCall

# What to install → the module here with its calls.
MODULES = {
    "openai<3": "openai2_sdk",
    "mistralai": "mistralai_sdk",
    "groq": "groq_sdk",
    "cohere": "cohere_sdk",
    "langchain-openai": "langchain_openai_sdk",
    "pydantic-ai": "pydantic_ai_sdk",
    "instructor": "instructor_sdk",
    "litellm": "litellm_sdk",
}


@dataclass(frozen=True, kw_only=True)
class OptionalCall(SDKCall):
    """A call of one of them.

    Attributes:
        sdk: as ``instrument`` knows it.
        asked: the model as asked for.
        http: the HTTP library that sends it.
        operation: as the ledger is to name it.
        lingers: its package holds on to its stream when the app is done with it: its row comes some time later.
    """

    sdk: str
    asked: str
    http: str
    operation: str = "chat"
    thorough: bool = False
    lingers: bool = False


def optional_calls(*names: str) -> list[Any]:
    """Every call of these packages as a parameter of a test; for one that is not there, one that skips, saying why."""
    found: list[Any] = []
    for name in names:
        module = module_of(name)
        if module is None:
            found.append(pytest.param(None, id=name, marks=(pytest.mark.sdks, missing(name))))
        else:
            found += [pytest.param(call, id=call.name, marks=pytest.mark.sdks) for call in module.CALLS]
    return found


def module_of(name: str) -> Any:
    """A package's module here, ``None`` where the package is not installed.

    Raises:
        ImportError: it is not installed and ``LLM_COST_REQUIRE_SDKS`` names it.
    """
    try:
        return importlib.import_module(f"sdk_calls.{MODULES[name]}")
    except ImportError:
        if name in os.environ.get("LLM_COST_REQUIRE_SDKS", "").split():
            raise
        return None


def surfaces() -> tuple[OptionalCall, ...]:
    """The calls of those that are installed, but for what ``openai_sdk`` has for any version of openai."""
    modules = (module_of(name) for name in MODULES if name != "openai<3")
    return tuple(call for module in modules if module is not None for call in module.CALLS if not call.lingers)


def missing(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skip(reason=f"{name} is not installed: pip install '{name}'")
