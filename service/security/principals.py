"""The principals that a server knows, by token and by certificate."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass

from detector.errors import InvalidInputError
from service.security.principal import Principal

__all__ = ["MOST_PRINCIPALS", "KnownPrincipal", "Principals", "token_digest"]

MOST_PRINCIPALS = 1000
"""Every call compares its token with all of them: a thousand take some 40 microseconds."""

_MOST_TOKENS = 4
"""Tokens of one principal: two while the old one is exchanged, and some air."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownPrincipal:
    """A principal and what it shows.

    Args:
        principal: Who.
        token_digests: SHA-256 of each token that counts, 32 bytes each.
        certificate: Subject common name of its certificate; empty for none.
    """

    principal: Principal
    token_digests: tuple[bytes, ...] = ()
    certificate: str = ""

    def __post_init__(self) -> None:
        if not self.token_digests and not self.certificate:
            raise InvalidInputError(
                "A principal should have token_sha256 or certificate. Found neither. "
                "Make a token with: offpath token NAME"
            )
        if len(self.token_digests) > _MOST_TOKENS:
            raise InvalidInputError(
                f"token_sha256 should list at most {_MOST_TOKENS} tokens. "
                f"Found {len(self.token_digests)}. Remove those that nobody uses."
            )


class Principals:
    """Finds callers by what they show.

    Args:
        known: All of them, each token and each certificate once.
    """

    def __init__(self, known: Iterable[KnownPrincipal]) -> None:
        entries = tuple(known)
        if len(entries) > MOST_PRINCIPALS:
            raise InvalidInputError(
                f"There should be at most {MOST_PRINCIPALS} principals. Found {len(entries)}. "
                "Let callers of one kind share one."
            )
        self._by_token = tuple(
            (digest, each.principal) for each in entries for digest in each.token_digests
        )
        self._by_certificate = {
            each.certificate: each.principal for each in entries if each.certificate
        }
        _check_once("token_sha256", [digest.hex() for digest, _ in self._by_token])
        _check_once("certificate", [each.certificate for each in entries if each.certificate])

    def by_token(self, token: str) -> Principal | None:
        """Whose token this is; takes as long for a wrong one as for a right one."""
        digest = token_digest(token)
        found = None
        for known, principal in self._by_token:
            if hmac.compare_digest(known, digest):
                found = principal
        return found

    def by_certificate(self, common_name: str) -> Principal | None:
        """Whose certificate has this subject."""
        return self._by_certificate.get(common_name)


def token_digest(token: str) -> bytes:
    """SHA-256 of a token: no slow hash is needed, as tokens are random and nobody can list them."""
    return hashlib.sha256(token.encode()).digest()


def _check_once(name: str, values: list[str]) -> None:
    if len(set(values)) != len(values):
        raise InvalidInputError(
            f"Each {name} should stand in the file once. Found one twice. "
            "Give each principal its own."
        )
