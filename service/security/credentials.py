"""What a client shows and whom it trusts; a token never travels where others can read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from detector.errors import InvalidInputError, OffpathError
from service.security.exposure import is_loopback_target

__all__ = ["Credentials", "CredentialsError", "Tls"]

Options = Sequence[tuple[str, Any]]


class CredentialsError(OffpathError):
    """Credentials cannot be used, or not for this server."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tls:
    """An encrypted connection; all files are PEM.

    Args:
        ca: Roots that the server's certificate has to lead to; None for those of gRPC.
        certificate: The client's own certificate with its chain, where the server wants one.
        key: Its private key.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise InvalidInputError(
                "A client's certificate and key should come together. Found one of them. "
                "Give both or neither."
            )

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """The same for gRPC.

        Raises:
            CredentialsError: If a file cannot be read.
        """
        return grpc.ssl_channel_credentials(
            root_certificates=_read(self.ca),
            private_key=_read(self.key),
            certificate_chain=_read(self.certificate),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Credentials:
    """What a client shows, and whom it trusts.

    Args:
        tls: The encrypted connection; None for a plain one.
        token: The bearer token; empty for none.
    """

    tls: Tls | None = None
    token: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if not self.token.isascii() or any(
            not sign.isprintable() or sign == " " for sign in self.token
        ):
            raise InvalidInputError(
                "A token should be visible ASCII without spaces. Found other characters. "
                "Copy the token again, without a line end."
            )

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What each call carries."""
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()

    def channel(self, address: str, options: Options) -> grpc.Channel:
        """A blocking connection.

        Args:
            address: Where the server is, ``host:port``.
            options: gRPC's options.

        Raises:
            CredentialsError: If the token would travel in the clear, or a file cannot be read.
        """
        found = self._for(address)
        if found is None:
            return grpc.insecure_channel(address, options=options)
        return grpc.secure_channel(address, found, options=options)

    def async_channel(self, address: str, options: Options) -> grpc.aio.Channel:
        """The same for asyncio."""
        found = self._for(address)
        if found is None:
            return grpc.aio.insecure_channel(address, options=options)
        return grpc.aio.secure_channel(address, found, options=options)

    def _for(self, address: str) -> grpc.ChannelCredentials | None:
        if self.tls is not None:
            return self.tls.channel_credentials()
        if not self.token:
            return None
        if not is_loopback_target(address):
            raise CredentialsError(
                f"A token should travel encrypted to {address}. Found no TLS. "
                "Give the server's certificate authority: --ca FILE, or Credentials(tls=Tls(...))."
            )
        # Plain on the wire, and gRPC refuses to send to an address that is not this machine's,
        # whatever the name turns out to mean.
        return grpc.local_channel_credentials()


def _read(file: Path | None) -> bytes | None:
    if file is None:
        return None
    try:
        return file.read_bytes()
    except OSError as error:
        raise CredentialsError(
            f"{file} should be a readable PEM file. Found: {error.strerror}. Check the path."
        ) from error
