"""The providers that one app adds to the built-in ones."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from importlib import import_module
from threading import Lock

from flask_llm_cost.errors import ConfigurationError
from flask_llm_cost.hostname import host_key
from flask_llm_cost.providers.custom import Provider
from flask_llm_cost.providers.custom_wire import CustomWire, wire_of
from flask_llm_cost.providers.route import Route

# The widths of the ledger's columns.
_NAME_LENGTH, _OPERATION_LENGTH = 64, 32


class Registry:
    """Finds the routes of the providers that were added. The newest goes first.

    Adding one replaces the tables whole, so that a look-up in another thread sees the old ones or the new ones.
    """

    __slots__ = ("_endings", "_hosts", "_lock", "_served")

    def __init__(self, providers: Iterable[object] = (), *, key: str = "providers") -> None:
        self._lock = Lock()
        self._served: tuple[_Served, ...] = ()
        self._hosts: frozenset[str] = frozenset()
        self._endings: tuple[str, ...] = ()
        for provider in providers:
            self.add(provider, key=key)

    def add(self, provider: object, *, key: str) -> None:
        """Add a ``Provider``, its class, or "package.module:Name" of either. Adding one again changes nothing.

        Raises:
            ConfigurationError: it is none, or its attributes are wrong. The message starts with ``key``.
        """
        served = _Served(checked(provider, key))
        with self._lock:
            older = (each for each in self._served if not each.same_as(served))
            self._served = (served, *older)
            self._hosts = frozenset(host for each in self._served for host in each.bare_hosts)
            self._endings = tuple({ending for each in self._served for ending in each.endings})

    def knows(self, host: str) -> bool:
        """Whether a host, in lower case, may be one of theirs: the quick look."""
        return host in self._hosts or host.endswith(self._endings)

    def find(self, host: str, port: int | None, path: str, provider: str | None = None) -> Route | None:
        """Where a POST goes. With the name of a provider, its paths count on every host."""
        for each in self._served:
            named = bool(provider) and provider is not None and each.is_named(provider)
            if path.endswith(each.paths) and (named or each.answers_at(host, port)):
                return each.route
        return None

    def named(self, provider: str) -> Route | None:
        """The route of the provider of that name, in any case."""
        return next((each.route for each in self._served if each.is_named(provider)), None)


class _Served:
    """One provider, ready for look-ups."""

    __slots__ = ("bare_hosts", "endings", "hosts", "paths", "provider", "route")

    def __init__(self, provider: Provider) -> None:
        wire: CustomWire = wire_of(provider)
        self.provider = provider
        self.route = Route(provider.name, wire, provider.operation)
        self.paths = tuple(provider.paths)
        self.endings = tuple(host.lower() for host in provider.hosts if host.startswith("."))
        self.hosts = frozenset(host_key(host) for host in provider.hosts if not host.startswith("."))
        self.bare_hosts = frozenset(_bare(host) for host in self.hosts)

    def is_named(self, name: str) -> bool:
        return self.provider.name.lower() == name.lower()

    def same_as(self, other: _Served) -> bool:
        ours, theirs = self.provider, other.provider
        return ours is theirs or (type(ours) is type(theirs) and vars(ours) == vars(theirs))

    def answers_at(self, host: str, port: int | None) -> bool:
        if host.endswith(self.endings):
            return True
        if host not in self.bare_hosts:
            return False
        spelled = f"[{host}]" if ":" in host else host
        return spelled in self.hosts or (port is not None and f"{spelled}:{port}" in self.hosts)


def _bare(host: str) -> str:
    """A host as it stands in a parsed URL: without port and brackets."""
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def checked(given: object, key: str) -> Provider:
    """A provider that can be used.

    Raises:
        ConfigurationError: it cannot.
    """
    provider = _instance(_imported(given, key) if isinstance(given, str) else given, key)
    who = f"{key}: {type(provider).__module__}.{type(provider).__qualname__}"
    _check_text(provider, "name", _NAME_LENGTH, who)
    _check_text(provider, "operation", _OPERATION_LENGTH, who)
    for host in _names(provider, "hosts", "('api.acme.example',)", who):
        _check_host(host, who)
    for path in _names(provider, "paths", "('/v1/generate',)", who):
        if path[:1] not in ("/", ":") or len(path) < 2 or any(sign in path for sign in "?#* "):
            raise ConfigurationError(
                f"{who}: paths has {path!r}; what a path ends in is allowed, from a '/' or a ':' on, without a query."
            )
    return provider


def _imported(name: str, key: str) -> object:
    module, colon, attribute = name.partition(":")
    if not colon or not module or not attribute:
        raise ConfigurationError(f"{key}: {name!r} is allowed as 'package.module:Name'.")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"{key}: {name!r} cannot be imported: {error}.") from error


def _instance(given: object, key: str) -> Provider:
    if isinstance(given, Provider):
        return given
    if not isinstance(given, type) or not issubclass(given, Provider):
        raise ConfigurationError(
            f"{key}: {given!r} is no provider; a subclass of flask_llm_cost.providers.Provider is allowed, "
            f"an object of one, or 'package.module:Name'."
        )
    if inspect.isabstract(given):
        missing = ", ".join(sorted(given.__abstractmethods__))
        raise ConfigurationError(f"{key}: {given.__module__}.{given.__qualname__} has no {missing}().")
    try:
        return given()
    except TypeError as error:
        raise ConfigurationError(
            f"{key}: {given.__module__}.{given.__qualname__} cannot be made without arguments; give an object of it."
        ) from error


def _check_text(provider: Provider, attribute: str, length: int, who: str) -> None:
    value = getattr(provider, attribute, None)
    if not isinstance(value, str) or not value.strip() or len(value) > length:
        raise ConfigurationError(f"{who}: {attribute} = {value!r}; a text of at most {length} characters is allowed.")


def _names(provider: Provider, attribute: str, example: str, who: str) -> Sequence[str]:
    values = getattr(provider, attribute, None)
    if not isinstance(values, tuple | list) or not values or not all(isinstance(value, str) for value in values):
        raise ConfigurationError(f"{who}: {attribute} = {values!r}; a tuple of texts is allowed, {example} say.")
    return values


def _check_host(host: str, who: str) -> None:
    try:
        host_key(host.removeprefix("."))
    except ValueError as error:
        raise ConfigurationError(f"{who}: hosts has {host!r}; {error}.") from None
    if host.startswith(".") and ":" in host:
        raise ConfigurationError(f"{who}: hosts has {host!r}; an ending has no port.")
