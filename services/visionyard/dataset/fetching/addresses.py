"""The administrator's list of the addresses that may be fetched; an address is read by :mod:`visionyard.kit.web.urls`."""

from __future__ import annotations

import re
from collections.abc import Iterable

from visionyard.kit.errors import Reason, YardError, invalid_field
from visionyard.kit.web.urls import Url, host_name

SETTING = "VISIONYARD_IMPORT_ALLOW"
PRIVATE_SETTING = "VISIONYARD_IMPORT_PRIVATE_HOSTS"
SourceUrl = Url
"""What a job names as its source: ``https``, ``http`` or ``s3``."""


class AllowList:
    """What may be fetched.

    Args:
        entries: Addresses; each allows itself and what lies below it.
        private_hosts: Hosts that may lie at private addresses, each in its one form.
    """

    def __init__(self, entries: Iterable[SourceUrl] = (), private_hosts: Iterable[str] = ()) -> None:
        self.entries = tuple(entries)
        self.private_hosts = frozenset(private_hosts)

    @classmethod
    def parse(cls, entries: str, private_hosts: str = "") -> AllowList:
        """Reads the two settings: parts with commas or spaces between.

        Raises:
            ValueError: a part is none; the message names it.
        """
        return cls([_entry(part) for part in _parts(entries)], [_private_host(part) for part in _parts(private_hosts)])

    def allowed(self, text: str) -> SourceUrl:
        """Reads a request's address.

        Raises:
            YardError: INVALID_FIELD, SOURCE_NOT_ALLOWED.
        """
        try:
            url = SourceUrl.parse(text, buckets=True)
        except ValueError as error:
            raise invalid_field("import_job.spec.source_url", f"the address {error}") from None  # not shown: it may hold a password
        self.check(url)
        return url

    def check(self, url: SourceUrl, how: str = "is") -> None:
        """Refuses an address that is not listed.

        Args:
            url: The address.
            how: The verb between the address and "not among ...".

        Raises:
            YardError: SOURCE_NOT_ALLOWED.
        """
        if not any(entry.covers(url) for entry in self.entries):
            raise not_allowed(
                url, f"{url.shown} {how} not among the sources that this service may fetch: have it added to its setting {SETTING}, or"
                " download it and import the file"
            )  # fmt: skip


def not_allowed(url: SourceUrl, message: str) -> YardError:
    """A SOURCE_NOT_ALLOWED error."""
    return YardError(Reason.SOURCE_NOT_ALLOWED, message, {"source": url.shown, "setting": SETTING})


def unreachable(url: SourceUrl, what: str) -> YardError:
    """A SOURCE_UNREACHABLE error: ``{address} {what}``."""
    return YardError(Reason.SOURCE_UNREACHABLE, f"{url.shown} {what}", {"source": url.shown})


def _parts(text: str) -> list[str]:
    return [part for part in re.split(r"[,\s]+", text) if part]


def _entry(text: str) -> SourceUrl:
    try:
        entry = SourceUrl.parse(text, buckets=True)
    except ValueError as error:
        raise ValueError(f"{'an entry' if '@' in text else repr(text)} {error}") from None
    if entry.query:
        raise ValueError(f"{text!r} has a query: an entry is a scheme, a host and the beginning of a path")
    return entry


def _private_host(text: str) -> str:
    try:
        return host_name(text)
    except ValueError as error:
        raise ValueError(f"{text!r} {error}") from None
