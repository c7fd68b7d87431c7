"""Who calls, where nothing better is known than an address."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from urllib.parse import unquote

__all__ = ["ANONYMOUS", "principal_of_peer"]

ANONYMOUS = "anonymous"
"""The principal of all who cannot be told apart."""

_IPV6_SITE_BITS = 64


@lru_cache(maxsize=1024)  # a connection asks at each of its calls
def principal_of_peer(peer: str) -> str:
    """The address of a peer without its port, which is another one for each connection.

    Of IPv6 the first 64 bits: the rest is free for each machine to choose, again and again.

    Args:
        peer: What gRPC calls it, such as ``ipv4:10.0.0.7:50312`` or ``ipv6:%5B::1%5D:50312``.
    """
    kind, _, address = unquote(peer).partition(":")
    host = address.rpartition(":")[0].strip("[]")
    try:
        match kind:
            case "ipv4":
                return str(ipaddress.IPv4Address(host))
            case "ipv6":
                whole = ipaddress.IPv6Address(host.partition("%")[0])
                if whole.ipv4_mapped is not None:
                    return str(whole.ipv4_mapped)
                return str(ipaddress.IPv6Network((int(whole), _IPV6_SITE_BITS), strict=False))
    except ValueError:
        pass
    return ANONYMOUS
