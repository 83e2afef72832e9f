"""The id that follows one user's action through client, services, workers and logs. It travels as metadata ``x-request-id``."""

from __future__ import annotations

import re
import uuid
from contextvars import ContextVar, Token

METADATA_KEY = "x-request-id"
"""The metadata key that carries it, in both directions."""

_VALID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_current: ContextVar[str] = ContextVar("visionyard_request_id", default="")


def new_request_id() -> str:
    """A fresh id: a random UUID in its usual form."""
    return str(uuid.uuid4())


def accept_request_id(value: str | bytes | None) -> str:
    """The id that a stranger sent, where it is one (1 to 64 letters, digits, ``-``, ``_``, ``.``); else a fresh one.

    It is written into logs and sent back, so nothing else is let through.
    """
    if isinstance(value, str) and _VALID.match(value):
        return value
    return new_request_id()


def get_request_id() -> str:
    """The id of the work at hand; empty outside of any."""
    return _current.get()


def set_request_id(value: str) -> Token[str]:
    """Makes ``value`` the id of the work at hand; the token undoes it, see :func:`reset_request_id`."""
    return _current.set(value)


def reset_request_id(token: Token[str]) -> None:
    """Undoes :func:`set_request_id`."""
    _current.reset(token)
