"""Which IP addresses may be connected to: public ones; private ones where the administrator named the host; those of no host never."""

from __future__ import annotations

import ipaddress

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""RFC 6052: an IPv4 address in the last 32 bits."""
_SHARED = ipaddress.IPv4Network("100.64.0.0/10")
"""RFC 6598: carriers' and many clouds' inner networks; neither private nor global to :mod:`ipaddress`."""
_THIS_NETWORK = ipaddress.IPv4Network("0.0.0.0/8")
"""RFC 1122 section 3.2.1.3: no host's; Linux takes 0.0.0.0 for itself."""
_METADATA = frozenset({ipaddress.ip_address("fd00:ec2::254")})
"""Where a cloud tells its machines their credentials, besides the link-local 169.254.169.254."""


def may_connect(address: str, *, private: bool) -> bool:
    """Whether an address may be connected to.

    Args:
        address: IPv4 or IPv6, as the resolver gave it.
        private: Whether its host was named as one that may be private: loopback, RFC 1918, RFC 6598, RFC 4193, and what networks still have of RFC 3513's site-local ones.
    """
    try:
        whole = ipaddress.ip_address(address)
    except ValueError:  # a zone, fe80::1%eth0: link-local
        return False
    return all(_one(ip, private=private) for ip in {whole, _embedded(whole)})


def is_literal(host: str) -> bool:
    """Whether a host is an IP address rather than a name, which nobody can make lead elsewhere."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _one(ip: _Address, *, private: bool) -> bool:
    if ip.is_multicast or ip.is_unspecified or ip.is_link_local or ip in _METADATA or ip in _THIS_NETWORK:
        return False
    if _embedded(ip) != ip:
        return True  # what is inside is judged by itself
    if ip.is_loopback or ip in _SHARED or (isinstance(ip, ipaddress.IPv6Address) and ip.is_site_local):
        return private  # site-local (RFC 3879) is given out no more, but :mod:`ipaddress` takes it for global
    if ip.is_reserved:
        return False
    return private if ip.is_private else ip.is_global


def _embedded(ip: _Address) -> _Address:
    """The IPv4 address inside an IPv6 one that a gateway or the kernel would go to; else the address itself."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else ip)
