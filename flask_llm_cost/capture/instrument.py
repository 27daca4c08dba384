"""``instrument("openai", …)``: watch the HTTP libraries themselves, without touching a call site.

The send functions are patched once per process, after their library is imported (nothing is imported
just to be patched); the apps that asked are kept beside the patch. An SDK's name adds its contract:
installed, new enough, and sitting on a library that is watched, by what its package says it needs. A library
adds its own: the function to patch is there.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import metadata
from typing import Any
from weakref import ReferenceType, ref

import wrapt
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from flask_llm_cost.capture.aiohttp import SessionRequest
from flask_llm_cost.capture.botocore import APICall
from flask_llm_cost.capture.http import SessionSend
from flask_llm_cost.capture.httpx import Send
from flask_llm_cost.capture.watch import Watch
from flask_llm_cost.errors import ConfigurationError
from flask_llm_cost.state import State

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SDK:
    """What a provider's SDK must be for its calls to be seen.

    Attributes:
        distribution: its name on the package index.
        minimum: the oldest version tested.
        libraries: the HTTP libraries it may sit on; at least one must be installed.
    """

    distribution: str
    minimum: str
    libraries: tuple[str, ...]


LIBRARIES = ("httpx", "httpx2", "requests", "aiohttp", "botocore")
# The module that holds what is patched, where it is not the library's own.
_MODULES = {"botocore": "botocore.client"}
SDKS = {
    "openai": SDK("openai", "2.0", ("httpx", "httpx2")),
    "anthropic": SDK("anthropic", "0.70", ("httpx", "httpx2")),
    "google-genai": SDK("google-genai", "1.40", ("httpx", "httpx2", "aiohttp")),
    "boto3": SDK("botocore", "1.31.57", ("botocore",)),
    "mistralai": SDK("mistralai", "2.0", ("httpx", "httpx2")),
    "groq": SDK("groq", "0.13", ("httpx",)),
    "cohere": SDK("cohere", "5.11", ("httpx",)),
    "langchain-openai": SDK("langchain-openai", "0.3.35", ("httpx", "httpx2")),
    "pydantic-ai": SDK("pydantic-ai-slim", "1.0", ("httpx", "httpx2")),
    "instructor": SDK("instructor", "1.13", ("httpx", "httpx2")),
    "litellm": SDK("litellm", "1.80", ("httpx", "aiohttp")),
}
ALIASES = {
    "google": "google-genai",
    "gemini": "google-genai",
    "google_genai": "google-genai",
    "bedrock": "boto3",
    "mistral": "mistralai",
    "langchain": "langchain-openai",
    "langchain_openai": "langchain-openai",
    "pydantic_ai": "pydantic-ai",
}


def names(asked: Iterable[object]) -> tuple[str, ...]:
    """The targets asked for: flattened, aliases resolved, "all" spelled out, without repeats.

    Raises:
        ConfigurationError: one of them is not known.
    """
    found: dict[str, None] = {}
    for name in _flat(asked):
        if name == "all":
            found.update(dict.fromkeys(sdk for sdk in SDKS if _is_in_order(sdk)))
            found.update(dict.fromkeys(library for library in LIBRARIES if importlib.util.find_spec(library)))
            continue
        resolved = ALIASES.get(name, name)
        if resolved not in SDKS and resolved not in LIBRARIES:
            allowed = ", ".join(map(repr, (*SDKS, *LIBRARIES, "all")))
            raise ConfigurationError(
                f"LLM_COST_INSTRUMENT / instrument(): {name!r} is not known; allowed are {allowed}."
            )
        found[resolved] = None
    return tuple(found)


def _is_in_order(name: str) -> bool:
    """Whether "all" takes an SDK. What is installed may not be used to ask a model: no reason to stop the app.

    An old botocore, which most apps have for something else, is not even worth a warning.
    """
    distribution = SDKS[name].distribution
    if distribution in LIBRARIES or _version(distribution) is None:
        return False
    try:
        check(name)
    except ConfigurationError as error:
        log.warning('%s With "all" that is no error, but its calls may not be recorded.', error)
        return False
    return True


def _flat(asked: Iterable[object]) -> Iterable[str]:
    for each in asked:
        if isinstance(each, str):
            yield each
        elif isinstance(each, Iterable):
            yield from _flat(each)
        else:
            raise ConfigurationError(f"LLM_COST_INSTRUMENT / instrument(): {each!r} is not a text.")


def check(name: str) -> tuple[str, ...]:
    """The HTTP libraries to watch for a target, its contract checked.

    Raises:
        ConfigurationError: it is not installed, too old, or on no library that can be watched.
    """
    if name in LIBRARIES:
        if not importlib.util.find_spec(name):
            raise ConfigurationError(
                f"instrument({name!r}): the package {name} is not installed. Install it, or leave {name!r} out."
            )
        return ("httpx", "httpx2") if name == "httpx" else (name,)
    sdk = SDKS[name]
    version = _version(sdk.distribution)
    if version is None:
        raise ConfigurationError(
            f"instrument({name!r}): the package {sdk.distribution} is not installed. "
            f"Install {sdk.distribution}>={sdk.minimum}, or leave {name!r} out."
        )
    if version < Version(sdk.minimum):
        raise ConfigurationError(
            f"instrument({name!r}): {sdk.distribution} {version} is installed; {sdk.minimum} or newer is needed."
        )
    if not _rests_on(sdk.distribution, sdk.libraries):
        raise ConfigurationError(
            f"instrument({name!r}): {sdk.distribution} {version} requires none of {', '.join(sdk.libraries)}: "
            f"what it sends would not be seen. Use a version that does, or leave {name!r} out and use llm_cost.track()."
        )
    if not any(importlib.util.find_spec(library) for library in sdk.libraries):
        raise ConfigurationError(f"instrument({name!r}): none of {', '.join(sdk.libraries)} is installed.")
    return sdk.libraries


def _version(distribution: str) -> Version | None:
    try:
        return Version(metadata.version(distribution))
    except (metadata.PackageNotFoundError, InvalidVersion):
        return None


def _rests_on(distribution: str, libraries: tuple[str, ...]) -> bool:
    """Whether a package needs one of the libraries, itself or through what it needs. Nothing is imported."""
    known, waiting = set(), [distribution]
    while waiting:
        name = waiting.pop(0)
        if name in libraries:
            return True
        if name not in known:
            known.add(name)
            waiting += _needs(name)
    return False


def _needs(distribution: str) -> list[str]:
    """What a package needs here, without its extras; nothing for one that is not installed."""
    try:
        needed = [Requirement(line) for line in metadata.requires(distribution) or ()]
    except metadata.PackageNotFoundError:
        return []
    return [
        canonicalize_name(each.name) for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})
    ]


class Patches:
    """The patched send functions of this process and the apps watching through them.

    The one piece of process-wide state: a patched class is process-wide by nature.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watching: dict[str, tuple[ReferenceType[Watch], ...]] = dict.fromkeys(LIBRARIES, ())
        self._hooked: set[str] = set()

    def add(self, watch: Watch, libraries: Iterable[str]) -> None:
        """Watch the libraries, now or as soon as they are imported. Adding twice is adding once."""
        with self._lock:
            for library in libraries:
                others = tuple(each for each in self._watching[library] if each() not in (None, watch))
                self._watching[library] = (*others, ref(watch))
                if library not in self._hooked:
                    self._hooked.add(library)
                    _when_imported(library, self._patch)

    def remove(self, watch: Watch) -> None:
        """Stop watching for these apps. The patch stays in place, without effect for them."""
        with self._lock:
            for library, watching in self._watching.items():
                self._watching[library] = tuple(each for each in watching if each() not in (None, watch))

    def _patch(self, module: Any) -> None:
        library = module.__name__.partition(".")[0]
        chooser = Watch(lambda: self._resolve(library))
        if library == "requests":
            _patch_once(module, "Session", SessionSend(chooser))
        elif library == "aiohttp":
            _patch_once(module, "ClientSession", SessionRequest(chooser), "_request")
        elif library == "botocore":
            _patch_once(module, "BaseClient", APICall(chooser), "_make_api_call")
        else:
            send = Send(chooser)
            _patch_once(module, "Client", send.sync)
            _patch_once(module, "AsyncClient", send.asynchronous)

    def _resolve(self, library: str) -> State | None:
        """The one app whose call this is. Outside an app context with several apps watching, nobody can tell."""
        found: State | None = None
        for each in self._watching[library]:
            watch = each()
            state = watch.resolve() if watch is not None else None
            if state is not None:
                if found is not None:
                    return None
                found = state
        return found


PATCHES = Patches()


class _PatchedSend(wrapt.FunctionWrapper[Any, Any]):
    """Marks a send function as patched."""


def _patch_once(module: Any, owner_name: str, wrapper: Callable[..., Any], name: str = "send") -> None:
    owner = getattr(module, owner_name, None)
    if not callable(getattr(owner, name, None)):
        raise ConfigurationError(
            f"instrument(): {module.__name__}.{owner_name} has no {name}(): "
            f"this version of {module.__name__} cannot be watched."
        )
    # Looked up on the class itself: httpx2 may be imported under the name of httpx.
    if not isinstance(vars(owner).get(name), _PatchedSend):
        setattr(owner, name, _PatchedSend(vars(owner)[name], wrapper))


def _when_imported(library: str, patch: Callable[[Any], None]) -> None:
    module = _MODULES.get(library, library)
    if module in sys.modules:
        patch(sys.modules[module])
    elif importlib.util.find_spec(library) is not None:
        wrapt.register_post_import_hook(lambda imported: _patch_late(patch, imported), module)


def _patch_late(patch: Callable[[Any], None], module: Any) -> None:
    """The app is importing the library: too late to stop its start-up, and its import must not fail for us."""
    try:
        patch(module)
    except ConfigurationError as error:
        log.error("%s Its calls are not recorded.", error)  # noqa: TRY400 - the message says it all
