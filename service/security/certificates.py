"""The server's certificate: checked when it starts, exchanged when its files change.

Each new connection asks for the newest one; connections that are open keep theirs.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from service.errors import StartError
from service.security.reloading import LOOK_EVERY_S, Reloading, ReloadObserver

__all__ = [
    "CertificateFiles",
    "Certificates",
    "load_certificates",
    "server_credentials",
    "watch_certificates",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class CertificateFiles:
    """Where the server's certificate lies; all files are PEM.

    Args:
        certificate: The certificate, followed by the chain to its root.
        key: Its private key, without a password.
        client_ca: Roots of callers' certificates, which are then obligatory; None for none.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def all_files(self) -> tuple[Path, ...]:
        """The files that there have to be."""
        return (self.certificate, self.key, *([self.client_ca] if self.client_ca else []))


@dataclass(frozen=True, kw_only=True, slots=True)
class Certificates:
    """A certificate, its key, and the roots of callers' certificates, as PEM."""

    certificate: bytes
    key: bytes = field(repr=False)
    client_ca: bytes | None


def watch_certificates(
    files: CertificateFiles, *, observer: ReloadObserver, every_s: float = LOOK_EVERY_S
) -> Reloading[Certificates]:
    """The certificate in its newest version; one for all addresses, as a change is told once.

    Args:
        files: Where the certificate lies.
        observer: Who is told when changed files were loaded.
        every_s: The files are looked at no more often than this, seconds.

    Raises:
        StartError: If a file cannot be used, or the key is not the certificate's.
    """
    return Reloading(
        files.all_files(),
        lambda: load_certificates(files),
        what="certificate",
        observer=observer,
        every_s=every_s,
    )


def server_credentials(newest: Reloading[Certificates]) -> Any:
    """What gRPC needs to listen with TLS on one address.

    Args:
        newest: The certificate; other addresses may have it too.
    """
    served = newest.current()

    def changed() -> Any:
        """The configuration for new connections where it is another one than before, or None."""
        nonlocal served
        found = newest.current()
        if found is served:
            return None
        served = found
        return _configuration(found)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(served),
        changed,
        require_client_authentication=served.client_ca is not None,
    )


def load_certificates(files: CertificateFiles) -> Certificates:
    """Read the files and check that they fit together.

    Raises:
        StartError: If a file cannot be used, or the key is not the certificate's.
    """
    found = _read(files)
    _check_pair(files)
    if found.client_ca is not None:
        _check_roots(found.client_ca, files)
    # OpenSSL checks files and not bytes: what it saw has to be what was read.
    if _read(files) != found:
        raise StartError(
            f"{files.certificate} and its key should not change while they are read. "
            "Found them changing. They are read again shortly."
        )
    return found


def _read(files: CertificateFiles) -> Certificates:
    return Certificates(
        certificate=_bytes_of(files.certificate, "tls_certificate"),
        key=_bytes_of(files.key, "tls_key"),
        client_ca=_bytes_of(files.client_ca, "tls_client_ca") if files.client_ca else None,
    )


def _bytes_of(file: Path, setting: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise StartError(
            f"{setting} should be a readable PEM file. Found {file}: {error.strerror}. "
            f"Change OFFPATH_{setting.upper()} or the file's permissions."
        ) from error


def _check_pair(files: CertificateFiles) -> None:
    try:
        # Without a password of its own OpenSSL would ask for one at the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            files.certificate, files.key, password=""
        )
    except (ssl.SSLError, OSError, ValueError) as error:
        if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
            raise StartError(
                f"{files.key} should be the key of {files.certificate}. Found the key of another "
                "certificate. Give the two that were made together."
            ) from error
        raise StartError(
            f"{files.certificate} should be a PEM certificate and {files.key} its key without a "
            f"password. Found: {_told(error)}. Make or copy them again."
        ) from error


def _check_roots(roots: bytes, files: CertificateFiles) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(
            cadata=roots.decode("ascii", errors="ignore")  # comments may be in any language
        )
    except (ssl.SSLError, ValueError) as error:
        raise StartError(
            f"{files.client_ca} should hold PEM certificates of authorities. "
            f"Found: {_told(error)}. Make or copy it again."
        ) from error


def _told(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error)


def _configuration(found: Certificates) -> Any:
    """A new one each time: gRPC takes it over and frees it."""
    return grpc.ssl_server_certificate_configuration(
        [(found.key, found.certificate)], found.client_ca
    )
