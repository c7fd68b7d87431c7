"""Which addresses only this machine can reach."""

from __future__ import annotations

import ipaddress

__all__ = ["is_loopback", "is_loopback_target"]


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host; a name other than localhost may lead anywhere.

    Args:
        host: A host name or an IP address, without brackets.
    """
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_loopback_target(address: str) -> bool:
    """The same about ``host:port``, with brackets around an IPv6 host."""
    host, _, port = address.rpartition(":")
    return port.isdigit() and is_loopback(host.removeprefix("[").removesuffix("]"))
