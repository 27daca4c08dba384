"""Host names as people write them into a configuration, in the one spelling that look-ups use."""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv6Address

_HOST = re.compile(r"[^\s/?#@:*\[\],]+")
_HIGHEST_PORT = 65_535


def host_key(name: str) -> str:
    """A host with or without a port, in lower case; an IPv6 address in brackets.

    Raises:
        ValueError: it is none. The message says why, to stand after what was given.
    """
    if "/" in name:
        raise ValueError("a host is allowed, with or without a port, and no scheme and no path")
    if "*" in name:
        raise ValueError("wildcards are not allowed; name each host")
    host, port = _split(name.lower())
    if not host.startswith("[") and not _HOST.fullmatch(host):
        raise ValueError("'host', 'host:port' and '[IPv6 address]:port' are allowed")
    if port is None:
        return host
    if not (port.isascii() and port.isdigit() and 1 <= int(port) <= _HIGHEST_PORT):
        raise ValueError(f"the port is {port!r}; 1 to {_HIGHEST_PORT} are allowed")
    return f"{host}:{int(port)}"


def _split(name: str) -> tuple[str, str | None]:
    """The host and the port. What has several colons and no brackets is an IPv6 address without a port."""
    if name.startswith("["):
        address, bracket, rest = name[1:].partition("]")
        port = rest[1:] if rest[:1] == ":" else None
        if not bracket or (rest and port is None):
            raise ValueError("'[IPv6 address]:port' is allowed")
        return _bracketed(address), port
    if name.count(":") > 1:
        return _bracketed(name), None
    host, colon, port = name.partition(":")
    return host, port if colon else None


def _bracketed(address: str) -> str:
    try:
        return f"[{IPv6Address(address).compressed}]"
    except AddressValueError:
        raise ValueError(f"{address!r} is no IPv6 address") from None
