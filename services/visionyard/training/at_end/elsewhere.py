"""Whether the store's disk is another machine's, as far as its address tells."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable

import psutil

from visionyard.kit.config import split_address

Resolve = Callable[[str], Iterable[str]]


def store_is_elsewhere(
    endpoint: str, resolve: Resolve | None = None, own: Iterable[str] | None = None, listening: Iterable[int] | None = None
) -> bool:
    """Whether a store is on another machine: all of its addresses are public ones, none is this machine's, and nobody here listens on its port.

    The last since a rented machine's public address is mostly none that it knows of (NAT). A private address may be a container's on this very machine, or lead back to it
    in another way; so of such a store somebody has to say that its disk outlives this machine.

    Args:
        endpoint: ``host:port``.
        resolve: Gives a host's addresses; by default the resolver does. An OSError means that it has none for now.
        own: This machine's addresses; by default those of its interfaces.
        listening: The TCP ports on which somebody listens here; by default as the kernel tells.
    """
    host, port = split_address(endpoint)
    try:
        found = {ipaddress.ip_address(address.partition("%")[0]) for address in (resolve or _resolve)(host)}
    except (OSError, ValueError):
        return False
    here = {ipaddress.ip_address(address.partition("%")[0]) for address in (_own() if own is None else own)}
    if not found or found & here or not all(address.is_global for address in found):
        return False
    return port not in set(_listening() if listening is None else listening)


def _resolve(host: str) -> list[str]:
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]


def _own() -> list[str]:
    kinds = {socket.AF_INET, socket.AF_INET6}
    return [entry.address for entries in psutil.net_if_addrs().values() for entry in entries if entry.family in kinds]


def _listening() -> set[int]:
    return {found.laddr.port for found in psutil.net_connections("tcp") if found.status == psutil.CONN_LISTEN and found.laddr}
