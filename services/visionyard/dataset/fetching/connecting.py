"""Connections to sources: :mod:`visionyard.kit.web.connecting` with the administrator's list, and in the words of an import."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from visionyard.dataset.fetching.addresses import PRIVATE_SETTING, AllowList, SourceUrl, not_allowed, unreachable
from visionyard.dataset.fetching.port import Check, SourceBroken
from visionyard.kit.web import connecting
from visionyard.kit.web.connecting import Watch
from visionyard.kit.web.networks import is_literal


@contextmanager
def connected(url: SourceUrl, asked: SourceUrl, allow: AllowList, check: Check, limit_s: float) -> Iterator[tuple[socket.socket, Watch]]:
    """A connection to a host, over TLS where the address says so.

    Args:
        url: Whose host.
        asked: The address that led there, for messages.
        allow: Knows which hosts may be private.
        check: Raises where the work is to stop.
        limit_s: How long it may take until the answer begins, in seconds.

    Raises:
        SourceBroken: it cannot be reached now.
        YardError: SOURCE_NOT_ALLOWED, SOURCE_UNREACHABLE (its certificate is not trusted).
    """
    private = is_literal(url.host) or url.host in allow.private_hosts
    try:
        with connecting.connected(url, check, limit_s, private=private) as connection:
            yield connection
    except connecting.Unconnected as error:
        raise SourceBroken(str(error)) from error
    except connecting.HostRefused as error:
        raise not_allowed(
            asked,
            f"{asked.shown} leads to the host {url.host}, which lies at a private or special address and is not fetched from: an administrator may name"
            f" it in {PRIVATE_SETTING}",
        ) from error
    except connecting.CertificateRefused as error:
        raise unreachable(asked, f"has a certificate that is not trusted ({error}): give SSL_CERT_FILE a file with its issuer") from error
