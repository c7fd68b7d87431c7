"""Who calls: a bearer token, a client's certificate, or everybody where no principals are set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from service.security.errors import UnauthenticatedError
from service.security.principal import ANONYMOUS, Principal
from service.security.principals import Principals
from service.security.reloading import Reloading

__all__ = ["AUTHORIZATION_HEADER", "Claim", "Connection", "Gate", "is_open", "is_probe"]

AUTHORIZATION_HEADER = "authorization"
"""Header in which callers send their token, as ``Bearer TOKEN``."""

# Probes and load balancers carry no token, and a server that they cannot ask is restarted or gets
# no traffic. What these services tell is no secret: whether it is up, and the published contract.
_OPEN = ("/grpc.health.v1.Health/", "/grpc.reflection.")
# The same questions in the Open Inference Protocol, whose other methods need a token.
_PROBES = frozenset(
    f"/inference.GRPCInferenceService/{name}"
    for name in ("ServerLive", "ServerReady", "ModelReady")
)
_PROBE = Principal(name="probe")
_Metadata = Iterable[tuple[str, str | bytes]]


def is_open(path: str) -> bool:
    """Whether a method is open to everybody; one that nobody thought of is not.

    Args:
        path: The method, ``/package.Service/Method``.
    """
    return path.startswith(_OPEN)


def is_probe(path: str) -> bool:
    """Whether a method only asks whether the server is up, or what it offers.

    Args:
        path: The method, ``/package.Service/Method``.
    """
    return is_open(path) or path in _PROBES


class Connection(Protocol):
    """What gRPC knows of a call's connection."""

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """What TLS has verified about the peer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """What a call's header says about who calls.

    Args:
        principal: Whose token came with it, if one did.
        principals: Where certificates are looked up; None where they do not help.
    """

    principal: Principal | None
    principals: Principals | None = None

    @property
    def hopeless(self) -> bool:
        """Whether nothing about the connection could still let the call in."""
        return self.principal is None and self.principals is None

    def prove(self, connection: Connection) -> Principal:
        """Who calls.

        Raises:
            UnauthenticatedError: If nobody that is known.
        """
        if self.principal is not None:
            return self.principal
        if self.principals is not None:
            for name in connection.auth_context().get("x509_common_name", ()):
                found = self.principals.by_certificate(name.decode(errors="replace"))
                if found is not None:
                    return found
        raise UnauthenticatedError


class Gate:
    """Knows callers by their token, or else by their certificate.

    Args:
        principals: The principals; None lets everybody in with all rights.
        certificates: Whether the server asks for certificates: others have none to show.
    """

    def __init__(self, principals: Reloading[Principals] | None, *, certificates: bool) -> None:
        self._principals = principals
        self._certificates = certificates

    def claim(self, path: str, metadata: _Metadata) -> Claim:
        """What a call's header says about who calls.

        A wrong token is no better with a certificate: who sends one means it.

        Args:
            path: The method, ``/package.Service/Method``.
            metadata: The call's header.
        """
        if self._principals is None:
            return Claim(principal=ANONYMOUS)
        if path in _PROBES:
            return Claim(principal=_PROBE)
        principals = self._principals.current()
        sent = [value for key, value in metadata if key == AUTHORIZATION_HEADER]
        if not sent:
            return Claim(principal=None, principals=principals if self._certificates else None)
        token = _bearer(sent)
        return Claim(principal=None if token is None else principals.by_token(token))


def _bearer(values: list[str | bytes]) -> str | None:
    """The token of the only such header; of several, an attacker may have added one."""
    if len(values) != 1 or not isinstance(values[0], str):
        return None
    scheme, _, token = values[0].partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None
