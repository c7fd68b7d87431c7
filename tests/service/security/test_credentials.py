"""Clients show what they have, and never a token where others can read it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detector.errors import InvalidInputError
from service import cli
from service.client import AsyncClient, Client
from service.results import PermissionDeniedError, QuotaExceededError, UnauthenticatedError
from service.security.credentials import Credentials, CredentialsError, Tls
from service.security.principals import token_digest

LOOPBACK = ["127.0.0.1:1", "127.8.8.8:1", "localhost:1", "LOCALHOST:1", "[::1]:1"]
ELSEWHERE = [
    *("192.0.2.1:1", "example.org:1", "localhost.example.org:1", "127.0.0.1.example.org:1"),
    *("0.0.0.0:1", "[2001:db8::1]:1", "dns:///example.org:1", "127.0.0.1", "1.2.3.4:127.0.0.1:x"),
]


@pytest.mark.parametrize("address", LOOPBACK)
def test_a_token_may_travel_in_the_clear_within_this_machine(address: str) -> None:
    Client(address, credentials=Credentials(token="t")).close()


@pytest.mark.parametrize("address", ELSEWHERE)
async def test_a_token_never_travels_in_the_clear_to_another_machine(address: str) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(CredentialsError, match="encrypted"):
            kind(address, credentials=Credentials(token="t"))


@pytest.mark.parametrize("address", [*LOOPBACK, *ELSEWHERE])
def test_without_a_token_or_with_tls_a_client_goes_anywhere(address: str) -> None:
    Client(address).close()
    Client(address, credentials=Credentials(tls=Tls(), token="t")).close()


def test_credentials_do_not_show_their_token() -> None:
    assert "precious" not in repr(Credentials(token="precious"))


@pytest.mark.parametrize("token", ["two words", "line\n", "ä", "\x00"])
def test_a_token_that_no_header_can_carry_is_a_clear_error(token: str) -> None:
    with pytest.raises(InvalidInputError, match="visible ASCII") as caught:
        Credentials(token=token)
    assert token not in str(caught.value)


@pytest.mark.parametrize("given", ["certificate", "key"])
def test_a_certificate_and_its_key_come_together(given: str) -> None:
    with pytest.raises(InvalidInputError, match="together"):
        Tls(**{given: Path("file.pem")})


def test_a_file_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match=r"none\.pem.*Found"):
        Client("h:1", credentials=Credentials(tls=Tls(ca=tmp_path / "none.pem")))


async def test_refusals_are_errors_of_their_own(
    start: Callable[..., Any], images: Any, tmp_path: Path
) -> None:
    file = tmp_path / "few.toml"
    file.write_text(f'[few]\ntoken_sha256 = ["{token_digest("t").hex()}"]\ncalls_per_s = 0.01\n')
    server = await start(principals=file)
    async with AsyncClient(server.address) as client:
        with pytest.raises(UnauthenticatedError) as unknown:
            await client.bundle()
        assert unknown.value.request_id
    async with AsyncClient(server.address, credentials=Credentials(token="t")) as client:
        with pytest.raises(PermissionDeniedError, match="include_path"):
            await client.detect([images.png()], include_path=True)
        with pytest.raises(QuotaExceededError) as exceeded:
            await client.detect([images.png()])
        assert 40 < exceeded.value.retry_after_s <= 100


async def test_a_plain_callers_detection_leaves_out_what_it_may_not_know(
    start: Callable[..., Any], images: Any, principals_file: Path
) -> None:
    server = await start(principals=principals_file)

    def ask() -> None:
        with Client(server.address, credentials=Credentials(token="plain-token")) as client:
            (found,) = client.detect([images.png(1, 30)]).detections
            assert (found.probability, found.score, found.reason) == (None, None, "")
            assert (found.p_value, found.p_value_is_bucket) == (0.05, True)
            assert client.bundle().default_level.value == "standard"

    await asyncio.to_thread(ask)


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "plain.token"
    file.write_text("plain-token\n")
    return file


async def test_check_asks_a_server_with_tls_and_a_token(
    start: Callable[..., Any],
    authority: Any,
    principals_file: Path,
    token_file: Path,
    images: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    certificate, key = authority.issue("server")
    server = await start(tls_certificate=certificate, tls_key=key, principals=principals_file)
    (tmp_path / "image.png").write_bytes(images.png(1, 30))
    asked = ["check", str(tmp_path / "image.png"), "--server", server.address]
    asked += ["--ca", str(authority.root), "--token-file", str(token_file)]
    assert await asyncio.to_thread(cli.run, asked) == 0
    shown = capsys.readouterr().out
    row = next(line for line in shown.splitlines() if "dog" in line)
    assert row.split()[-6:] == ["-", "-", "≤", "0.0500", "off", "path"]
    assert await asyncio.to_thread(cli.run, asked[:-2]) == 2
    assert "does not know this caller" in capsys.readouterr().err


async def test_bench_loads_a_server_with_tls_and_a_token(
    start: Callable[..., Any],
    authority: Any,
    principals_file: Path,
    token_file: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    certificate, key = authority.issue("server")
    server = await start(tls_certificate=certificate, tls_key=key, principals=principals_file)
    asked = ["bench", server.address, "--duration-s", "0.3", "--warm-up-s", "0", "--json"]
    asked += ["--callers", "2", "--ca", str(authority.root), "--token-file", str(token_file)]
    assert await asyncio.to_thread(cli.run, asked) == 0
    assert json.loads(capsys.readouterr().out)["codes"].keys() == {"OK"}


@pytest.mark.parametrize("text", [None, "", "\n"])
def test_a_token_file_without_a_token_is_one_sentence(
    text: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "t.token"
    if text is not None:
        file.write_text(text)
    asked = ["check", "x.png", "--server", "127.0.0.1:1", "--token-file", str(file)]
    assert cli.run(asked) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "t.token should" in error


@pytest.mark.parametrize("option", ["--ca", "--certificate", "--key", "--token-file"])
def test_options_about_a_server_need_one(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["check", "x.png", option, "file"]) == 2
    assert "--server" in capsys.readouterr().err
