"""Connections to addresses that users name: only to IP addresses that may be connected to, whatever a name leads to now, and heard to stop even while they wait.

The host is resolved once, every address is judged, and the socket is opened to an address so judged: no second look-up can lead elsewhere (DNS rebinding). No
proxy of the environment is used, which would resolve the name again.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Self

from visionyard.kit.web.networks import may_connect
from visionyard.kit.web.urls import Url

CONNECT_TIMEOUT_S = 4.0
IDLE_TIMEOUT_S = 20.0
_MAX_ADDRESSES = 4
_LOOK_S = 0.1
Check = Callable[[], None]
"""Raises where the work is to stop."""


class Unconnected(Exception):
    """No connection could be made now: trying again may help. The message is the end of a sentence that begins with the address."""


class HostRefused(Exception):
    """The host lies at private or special addresses only."""


class CertificateRefused(Exception):
    """The host's certificate is not trusted; the message says why."""


class Watch:
    """Shuts a socket down from a thread of its own when the work has to stop or a time is over, so that a read that waits ends at once.

    Args:
        sock: The socket.
        check: Raises where the work is to stop; called from that thread.
        limit_s: The time, in seconds; see :meth:`no_limit`.
    """

    def __init__(self, sock: socket.socket, check: Check, limit_s: float) -> None:
        self._sock = sock
        self._check = check
        self._end: float | None = time.monotonic() + limit_s
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watch", daemon=True)
        self.tripped = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._thread.join()

    def no_limit(self) -> None:
        """The answer has begun: from now on its pace is looked at instead."""
        self._end = None

    def _look(self) -> None:
        while not self._closed.wait(_LOOK_S):
            end = self._end
            if (end is not None and time.monotonic() > end) or self._asked_to_stop():
                self.tripped = True
                with suppress(OSError):
                    # Not the TLS socket's own method, which takes its state away from under a reader.
                    socket.socket.shutdown(self._sock, socket.SHUT_RDWR)
                return

    def _asked_to_stop(self) -> bool:
        try:
            self._check()
        except BaseException:  # noqa: BLE001 - whatever it is, the reader asks again and raises it
            return True
        return False


@contextmanager
def connected(url: Url, check: Check, limit_s: float, *, private: bool) -> Iterator[tuple[socket.socket, Watch]]:
    """A connection to a host, over TLS where the address says so. Blocks.

    Args:
        url: Whose host; of ``https`` or ``http``.
        check: Raises where the work is to stop; called from another thread.
        limit_s: How long it may take until the answer begins, in seconds.
        private: Whether the host may lie at a private address; see :func:`visionyard.kit.web.networks.may_connect`.

    Raises:
        Unconnected: it cannot be reached now.
        HostRefused: none of its addresses may be connected to.
        CertificateRefused: its certificate is not trusted.
    """
    sock = _open(_addresses(url, private=private), url.port)
    try:
        sock.settimeout(IDLE_TIMEOUT_S)
        if url.scheme == "https":
            sock = ssl.create_default_context().wrap_socket(sock, server_hostname=url.host, do_handshake_on_connect=False)
        with Watch(sock, check, limit_s) as watch:
            if isinstance(sock, ssl.SSLSocket):
                _shake_hands(sock)
            yield sock, watch
    finally:
        sock.close()


def _addresses(url: Url, *, private: bool) -> list[str]:
    try:
        found = socket.getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unconnected(f"leads to the host {url.host}, which cannot be found ({error})") from error
    addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
    permitted = [address for address in addresses if may_connect(address, private=private)]
    if not permitted:
        raise HostRefused(url.host)
    return permitted[:_MAX_ADDRESSES]


def _open(addresses: list[str], port: int) -> socket.socket:
    problem: OSError | None = None
    for address in addresses:
        try:
            return socket.create_connection((address, port), CONNECT_TIMEOUT_S)
        except OSError as error:
            problem = error
    raise Unconnected(f"cannot be connected to ({problem})") from problem


def _shake_hands(sock: ssl.SSLSocket) -> None:
    try:
        sock.do_handshake()
    except ssl.SSLCertVerificationError as error:
        raise CertificateRefused(error.verify_message) from error
    except OSError as error:
        raise Unconnected(f"makes no secure connection ({error})") from error
