"""Whether the store's disk is another machine's, as far as its address tells."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil

from visionyard.kit.config import split_address

Resolve = Callable[[str], Iterable[str]]
_WEB = (443, 80)
_SIGNS = (Path("/.dockerenv"), Path("/run/.containerenv"))


def store_is_elsewhere(
    endpoint: str,
    resolve: Resolve | None = None,
    own: Iterable[str] | None = None,
    listening: Iterable[int] | None = None,
    *,
    contained: bool | None = None,
) -> bool:
    """Whether a store is on another machine: its port is 443 or 80, all of its addresses are public ones, none is this machine's, and nobody here listens on its port.

    The last since a rented machine's public address is mostly none that it knows of (NAT); providers map other ports to such as 443 inside only rarely. A private address may be
    a container's on this very machine, or lead back to it in another way, and a container does not see who listens outside of it; so there somebody has to say that the store's disk
    outlives this machine.

    Args:
        endpoint: ``host:port``.
        resolve: Gives a host's addresses; by default the resolver does. An OSError means that it has none for now.
        own: This machine's addresses; by default those of its interfaces.
        listening: The TCP ports on which somebody listens here; by default as the kernel tells.
        contained: Whether this process is in a container; by default as the usual signs tell.
    """
    host, port = split_address(endpoint)
    if port not in _WEB or (_contained() if contained is None else contained):
        return False
    try:
        found = {ipaddress.ip_address(address.partition("%")[0]) for address in (resolve or _resolve)(host)}
    except (OSError, ValueError):
        return False
    here = {ipaddress.ip_address(address.partition("%")[0]) for address in (_own() if own is None else own)}
    if not found or found & here or not all(address.is_global for address in found):
        return False
    return port not in set(_listening() if listening is None else listening)


def _contained() -> bool:
    return "KUBERNETES_SERVICE_HOST" in os.environ or any(sign.exists() for sign in _SIGNS)


def _resolve(host: str) -> list[str]:
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]


def _own() -> list[str]:
    kinds = {socket.AF_INET, socket.AF_INET6}
    return [entry.address for entries in psutil.net_if_addrs().values() for entry in entries if entry.family in kinds]


def _listening() -> set[int]:
    return {found.laddr.port for found in psutil.net_connections("tcp") if found.status == psutil.CONN_LISTEN and found.laddr}
