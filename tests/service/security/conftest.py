"""Certificates, principals and clients of servers that know their callers."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from service.security.principals import token_digest

TOKENS = {"plain": "plain-token", "full": "full-token"}


@dataclass(frozen=True)
class Authority:
    """A certificate authority that writes what it issues into a folder."""

    ca: trustme.CA
    folder: Path

    @property
    def root(self) -> Path:
        path = self.folder / "ca.pem"
        self.ca.cert_pem.write_to_path(str(path))
        return path

    def issue(self, name: str, *, common_name: str | None = None) -> tuple[Path, Path]:
        """A certificate for this machine and its key, replaced if they are there already."""
        leaf = self.ca.issue_cert("localhost", "127.0.0.1", common_name=common_name)
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        certificate.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        key.write_bytes(leaf.private_key_pem.bytes())
        return certificate, key


@pytest.fixture
def make_authority(tmp_path: Path) -> Callable[[str], Authority]:
    def make(name: str) -> Authority:
        folder = tmp_path / name
        folder.mkdir()
        return Authority(trustme.CA(key_type=trustme.KeyType.ECDSA), folder)

    return make


@pytest.fixture
def authority(make_authority: Callable[[str], Authority]) -> Authority:
    return make_authority("authority")


@pytest.fixture
def principals_file(tmp_path: Path) -> Path:
    """A plain caller, one with all rights, and one with a certificate."""
    digests = {name: token_digest(token).hex() for name, token in TOKENS.items()}
    file = tmp_path / "principals.toml"
    file.write_text(
        f'[plain]\ntoken_sha256 = ["{digests["plain"]}"]\n\n'
        f'[full]\ntoken_sha256 = ["{digests["full"]}"]\n'
        'rights = ["score", "path", "explanation", "alpha"]\n\n'
        '[robot]\ncertificate = "robot.example"\nrights = ["score"]\n'
    )
    return file


@pytest.fixture
def tokens() -> dict[str, str]:
    return TOKENS


@pytest.fixture
def bearer() -> Callable[[str], tuple[tuple[str, str], ...]]:
    """The header that carries a token."""
    return lambda token: (("authorization", f"Bearer {token}"),)


@pytest.fixture
def metric_lines() -> Callable[[Any], Any]:
    """The lines that Prometheus would read from a server."""

    async def read(server: Any) -> list[str]:
        def ask() -> str:
            with urllib.request.urlopen(server.metrics_url) as reply:
                return str(reply.read().decode())

        return (await asyncio.to_thread(ask)).splitlines()

    return read


@pytest.fixture
def until() -> Callable[..., Any]:
    """Asks again and again until the answer is as wanted."""

    async def wait(answer: Callable[[], Any], wanted: Callable[[Any], bool]) -> None:
        async with asyncio.timeout(60):
            while True:
                if wanted(await answer()):
                    return
                await asyncio.sleep(0.1)

    return wait


class Observed:
    """Remembers what it is told about reloads."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, bool]] = []

    def reloaded(self, what: str, *, succeeded: bool) -> None:
        self.seen.append((what, succeeded))


@pytest.fixture
def observed() -> Observed:
    return Observed()
