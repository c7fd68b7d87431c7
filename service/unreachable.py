"""What a client says about a call that found no server, or not the one that was meant."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["unreachable"]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Cause:
    """How gRPC puts a cause, on which kind of connection, and what to tell about it."""

    text: re.Pattern[str]
    on: tuple[bool, ...] = (True, False)  # with TLS, without
    found: str
    advice: str


# gRPC never says that TLS is missing: a server with TLS just closes a plain connection. In order:
# a failed handshake may end with a closed socket as well.
_CAUSES = (
    _Cause(
        text=re.compile(r"CERTIFICATE_VERIFY_FAILED"),
        found="a certificate that the given certificate authority did not issue",
        advice="Give the one that did with --ca FILE, or Credentials(tls=Tls(ca=...))",
    ),
    _Cause(
        text=re.compile(r"Hostname Verification"),
        found="a certificate for another name",
        advice="Call the server by a name or address that its certificate holds",
    ),
    _Cause(
        text=re.compile(r"WRONG_VERSION_NUMBER"),
        found="a server without TLS",
        advice="Leave out --ca and --tls, or Credentials(tls=...), or check the port",
    ),
    _Cause(
        text=re.compile(r"http1\.x|HTTP/2"),
        found="a server that speaks no gRPC, such as that of the metrics",
        advice="Give the port of `offpath serve --port`, by default 50051",
    ),
    _Cause(
        text=re.compile(r"socket closed|connection closed|connection reset|SSL", re.IGNORECASE),
        on=(False,),
        found="that it closed a connection without TLS",
        advice="If the server has TLS, give its certificate authority with --ca FILE, or "
        "Credentials(tls=Tls(ca=...)); if it has none, it just stopped or something else listens "
        "there: check the address",
    ),
    _Cause(
        text=re.compile(r"socket closed|connection closed|connection reset|SSL", re.IGNORECASE),
        on=(True,),
        found="that it closed a connection with TLS",
        advice="If the server asks callers for certificates, give yours with --certificate FILE "
        "--key FILE, or Credentials(tls=Tls(certificate=..., key=...)); if it does not, it just "
        "stopped or something else listens there: check the address",
    ),
)
_NOBODY = _Cause(
    text=re.compile(""),
    found="none that answers",
    advice="Start one with `offpath serve` or check the address",
)


def unreachable(address: str, text: str, *, tls: bool) -> str:
    """What to tell about a server that could not be reached.

    Args:
        address: Where the call went.
        text: How gRPC puts it.
        tls: Whether the connection was to be encrypted.
    """
    fitting = (each for each in _CAUSES if tls in each.on and each.text.search(text))
    cause = next(fitting, _NOBODY)
    return (
        f"{address} should be a running Offpath server that is called as it listens. "
        f"Found {cause.found} ({text}). {cause.advice}."
    )
