"""Callers without a name are told apart by address."""

from __future__ import annotations

import pytest

from service.campaigns import principal_of_peer


@pytest.mark.parametrize(
    ("peer", "principal"),
    [
        ("ipv4:10.0.0.7:50312", "10.0.0.7"),
        ("ipv6:%5B::1%5D:50312", "::/64"),
        ("ipv6:[2001:db8:1:2:3:4:5:6]:50312", "2001:db8:1:2::/64"),
        ("ipv6:%5B2001:db8:1:2:ffff::1%5D:1", "2001:db8:1:2::/64"),
        ("ipv6:%5Bfe80::1%25eth0%5D:50312", "fe80::/64"),
        ("ipv6:%5B::ffff:10.0.0.7%5D:50312", "10.0.0.7"),
        ("unix:/run/offpath.sock", "anonymous"),
        ("unix:", "anonymous"),
        ("ipv4:nonsense:1", "anonymous"),
        ("", "anonymous"),
    ],
)
def test_a_peer_is_its_address_without_the_port_or_anonymous(peer, principal):
    assert principal_of_peer(peer) == principal
