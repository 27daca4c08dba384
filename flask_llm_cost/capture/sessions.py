"""aiohttp sessions under ``wrap``: one that the app has, and those that google-genai makes when it needs them."""

from __future__ import annotations

import sys
from typing import Any

import wrapt

from flask_llm_cost.capture.aiohttp import AiohttpSession, SessionRequest


class Wrapped(wrapt.FunctionWrapper[Any, Any]):
    """A method of one object, with what watches it."""

    def __init__(self, method: Any, watching: Any) -> None:
        super().__init__(method, watching)
        self._self_watching = watching


def is_one(candidate: object, packages: tuple[str, ...], names: tuple[str, ...]) -> bool:
    """Whether an object is of a class of that name from that package, without importing the package."""
    return any(
        base.__module__.partition(".")[0] in packages and base.__name__ in names for base in type(candidate).__mro__
    )


def wrap_session(session: AiohttpSession, request: SessionRequest) -> None:
    """Watch every request of a session."""
    current = session._request  # noqa: SLF001 - where every verb of a session ends
    if isinstance(current, Wrapped):
        if current._self_watching is request:  # noqa: SLF001
            return
        current = current.__wrapped__
    # Past the session's own __setattr__, which warns about every attribute that aiohttp does not know.
    object.__setattr__(session, "_request", Wrapped(current, request))


def wrap_coming_sessions(client: object, request: SessionRequest) -> bool:
    """google-genai makes a session per event loop when one is first needed, and asks itself for it.

    Returns whether the client is one of its.
    """
    holder: Any = getattr(client, "_api_client", None)
    current = getattr(holder, "_get_aiohttp_session", None)
    if current is None:
        return False
    if isinstance(current, Wrapped):
        current = current.__wrapped__

    async def get(inner: Any, _holder: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        session = await inner(*args, **kwargs)
        if is_one(session, ("aiohttp",), ("ClientSession",)):
            wrap_session(session, request)
        elif is_one(session, ("google",), ("AsyncAuthorizedSession",)):
            _wrap_authorized(session, request)
        return session

    holder._get_aiohttp_session = Wrapped(current, get)  # noqa: SLF001
    return True


def _wrap_authorized(authorized: Any, request: SessionRequest) -> None:
    """google-auth's session, which google-genai uses on Vertex with a client certificate.

    The aiohttp session in it is another one whenever the certificate is: it is looked for before each request.
    """
    current = authorized.request
    if isinstance(current, Wrapped):
        current = current.__wrapped__

    async def ask(inner: Any, _holder: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        session = _session_of(authorized)
        if session is not None:
            wrap_session(session, request)
        return await inner(*args, **kwargs)

    authorized.request = Wrapped(current, ask)


def _session_of(authorized: Any) -> AiohttpSession | None:
    transport: Any = getattr(authorized, "_auth_request", None)
    if not hasattr(transport, "_session") or getattr(transport, "_closed", True):
        return None
    if transport._session is None:  # noqa: SLF001
        # As it is about to do itself.
        transport._session = sys.modules["aiohttp"].ClientSession()  # noqa: SLF001
    return transport._session  # noqa: SLF001
