"""Whether the store's disk is another machine's, as far as its address tells."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable

import psutil

from visionyard.kit.config import split_address

Resolve = Callable[[str], Iterable[str]]


def store_is_elsewhere(endpoint: str, resolve: Resolve | None = None, own: Iterable[str] | None = None) -> bool:
    """Whether a store is on another machine for certain: all of its addresses are public ones, and none is this machine's.

    A private address may be a container's on this very machine, or a virtual one that leads back to it; so of such a store somebody has to say that its disk outlives this machine.

    Args:
        endpoint: ``host:port``.
        resolve: Gives a host's addresses; by default the resolver does. An OSError means that it has none for now.
        own: This machine's addresses; by default those of its interfaces.
    """
    host, _ = split_address(endpoint)
    try:
        found = {ipaddress.ip_address(address.partition("%")[0]) for address in (resolve or _resolve)(host)}
    except (OSError, ValueError):
        return False
    here = {ipaddress.ip_address(address.partition("%")[0]) for address in (_own() if own is None else own)}
    return bool(found) and all(address.is_global for address in found) and not found & here


def _resolve(host: str) -> list[str]:
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]


def _own() -> list[str]:
    kinds = {socket.AF_INET, socket.AF_INET6}
    return [entry.address for entries in psutil.net_if_addrs().values() for entry in entries if entry.family in kinds]
