"""Options of the commands that are about security."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from detector.errors import InvalidInputError

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
    "read_token",
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


def read_token(file: Path | None) -> str:
    """The token in a file; empty without one.

    Raises:
        InvalidInputError: If the file cannot be read or holds nothing.
    """
    if file is None:
        return ""
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
