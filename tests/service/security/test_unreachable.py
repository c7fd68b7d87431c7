"""A client that does not reach its server says what to do, for each cause that it can tell."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service import cli
from service.client import AsyncClient
from service.results import ServerUnavailableError
from service.security.credentials import Credentials, Tls
from service.unreachable import unreachable

IMAGE = str(Path(__file__).parents[3] / "service" / "samples" / "cat_0000.png")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Runs a command that has to fail, and gives its one sentence."""

    async def run(*arguments: str, code: int = 2) -> str:
        assert await asyncio.to_thread(cli.run, arguments) == code
        (line,) = capsys.readouterr().err.strip().splitlines()
        return line

    return run


@pytest.fixture
async def encrypted(start: Callable[..., Any], make_authority: Callable[[str], Any]) -> Any:
    """A server with TLS, and its authority."""
    authority = make_authority("ours")
    certificate, key = authority.issue("server")
    options = {"tls_certificate": certificate, "tls_key": key}
    return await start(admin_port=0, **options), authority


async def test_a_forgotten_authority_is_asked_for(encrypted: Any, run: Any) -> None:
    server, _ = encrypted
    for command in (
        ("check", IMAGE, "--server", server.address),
        ("bench", server.address),
        ("admin", "list", "--server", server.admin_address),
    ):
        line = await run(*command)
        assert "Found that it closed a connection without TLS" in line
        assert "If the server has TLS, give its certificate authority with --ca FILE" in line
        assert "it just stopped" in line
        assert "offpath serve" not in line


async def test_a_forgotten_authority_beside_a_token_is_asked_for(encrypted: Any) -> None:
    server, _ = encrypted
    async with AsyncClient(server.address, credentials=Credentials(token="t")) as client:
        with pytest.raises(ServerUnavailableError, match=r"--ca FILE, or Credentials\(tls="):
            await client.bundle()


async def test_another_authority_is_told_from_a_missing_one(
    encrypted: Any, make_authority: Callable[[str], Any]
) -> None:
    server, _ = encrypted
    other = Credentials(tls=Tls(ca=make_authority("theirs").root))
    async with AsyncClient(server.address, credentials=other) as client:
        with pytest.raises(ServerUnavailableError, match=r"authority did not issue .* --ca FILE"):
            await client.bundle()


async def test_tls_for_a_server_without_it_is_told(
    start: Callable[..., Any], make_authority: Callable[[str], Any], run: Any
) -> None:
    server = await start()
    root = str(make_authority("ours").root)
    line = await run("check", IMAGE, "--server", server.address, "--ca", root)
    assert "Found a server without TLS" in line
    assert "Leave out --ca" in line


async def test_a_missing_certificate_of_the_caller_is_asked_for(
    start: Callable[..., Any], make_authority: Callable[[str], Any]
) -> None:
    authority = make_authority("ours")
    certificate, key = authority.issue("server")
    server = await start(tls_certificate=certificate, tls_key=key, tls_client_ca=authority.root)
    ours = Credentials(tls=Tls(ca=authority.root))
    async with AsyncClient(server.address, credentials=ours) as client:
        with pytest.raises(ServerUnavailableError, match="--certificate FILE --key FILE"):
            await client.bundle()


async def test_the_port_of_the_metrics_is_told(start: Callable[..., Any], run: Any) -> None:
    server = await start()
    metrics = server.metrics_url.removeprefix("http://").partition("/")[0]
    assert "speaks no gRPC" in await run("check", IMAGE, "--server", metrics)


async def test_the_admin_service_and_calls_are_looked_for_at_their_own_ports(
    start: Callable[..., Any], run: Any
) -> None:
    server = await start(admin_port=0)
    assert "--admin-port" in await run("admin", "list", "--server", server.address)
    assert "--port" in await run("check", IMAGE, "--server", server.admin_address)
    line = await run("health", "--server", server.admin_address, code=1)
    assert "UNIMPLEMENTED" in line
    assert "`offpath serve --port` for calls and health" in line


def test_a_name_that_the_certificate_does_not_hold_is_told() -> None:
    text = "Custom verification check failed with error: Hostname Verification Check failed."
    assert "a certificate for another name" in unreachable("h:1", text, tls=True)


@pytest.mark.parametrize("tls", [False, True])
def test_where_nobody_listens_a_server_is_to_be_started(*, tls: bool) -> None:
    assert "Start one with `offpath serve`" in unreachable("h:1", "Connection refused", tls=tls)
