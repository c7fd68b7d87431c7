"""Options of the commands that are about security."""

# ruff: noqa: PLC0415  # commands import late: help and errors should not wait for grpc

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detector.errors import InvalidInputError

if TYPE_CHECKING:
    from service.security.credentials import Credentials

__all__ = [
    "CaOption",
    "CertificateOption",
    "ClientCaOption",
    "InsecureOption",
    "KeyOption",
    "PrincipalsOption",
    "TlsCertificateOption",
    "TlsKeyOption",
    "TlsOption",
    "TokenFileOption",
    "credentials_of",
]

TlsCertificateOption = Annotated[
    Path | None, typer.Option(help="PEM certificate with its chain. Unset: no TLS.", metavar="FILE")
]
TlsKeyOption = Annotated[
    Path | None, typer.Option(help="PEM key of the certificate.", metavar="FILE")
]
ClientCaOption = Annotated[
    Path | None,
    typer.Option(
        "--tls-client-ca",
        help="PEM roots of callers' certificates, which are then obligatory.",
        metavar="FILE",
    ),
]
PrincipalsOption = Annotated[
    Path | None,
    typer.Option(help="TOML file of the callers that are let in. Unset: all.", metavar="FILE"),
]
InsecureOption = Annotated[
    bool,
    typer.Option(
        "--insecure", help="Open to the network without TLS or without principals all the same."
    ),
]
CaOption = Annotated[
    Path | None,
    typer.Option(help="PEM roots that the server's certificate leads to.", metavar="FILE"),
]
TlsOption = Annotated[
    bool, typer.Option("--tls", help="Connect with TLS, trusting public authorities.")
]
CertificateOption = Annotated[
    Path | None, typer.Option(help="PEM certificate to show to the server.", metavar="FILE")
]
KeyOption = Annotated[
    Path | None, typer.Option(help="PEM key of that certificate.", metavar="FILE")
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option(
        help="File that holds the token to show: options can be read by others on the machine.",
        metavar="FILE",
    ),
]


def credentials_of(
    *,
    ca: Path | None,
    tls: bool,
    certificate: Path | None,
    key: Path | None,
    token_file: Path | None,
) -> Credentials:
    """What a client shows that was given these options.

    Raises:
        InvalidInputError: If they do not go together, or the token's file cannot be used.
    """
    from service.security.credentials import Credentials, Tls

    encrypted = tls or any(file is not None for file in (ca, certificate, key))
    return Credentials(
        tls=Tls(ca=ca, certificate=certificate, key=key) if encrypted else None,
        token="" if token_file is None else _read_token(token_file),
    )


def _read_token(file: Path) -> str:
    try:
        token = file.read_text(errors="replace").strip()
    except OSError as error:
        raise InvalidInputError(
            f"{file} should be a readable file. Found: {error.strerror}. Check the path."
        ) from error
    if not token:
        raise InvalidInputError(
            f"{file} should hold a token. Found nothing in it. Make one with: offpath token NAME"
        )
    return token
