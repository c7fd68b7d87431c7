"""TLS on loopback: who trusts whom, what fits together, and what happens when files change."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives import serialization
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.client import AsyncClient
from service.errors import StartError
from service.results import ServerUnavailableError, UnauthenticatedError
from service.security import certificates
from service.security.certificates import CertificateFiles, load_certificates
from service.security.credentials import Credentials, Tls


@pytest.fixture
def ask(images: Any) -> Callable[..., Any]:
    """Asks a server with credentials, over a connection of its own."""

    async def ask(server: Any, **fields: Any) -> Any:
        token = fields.pop("token", "")
        credentials = Credentials(tls=Tls(**fields), token=token)
        async with AsyncClient(server.address, credentials=credentials, timeout_s=20) as client:
            return (await client.detect([images.png(1, 4)])).detections[0]

    return ask


@pytest.fixture
def files(authority: Any) -> CertificateFiles:
    certificate, key = authority.issue("server")
    return CertificateFiles(certificate=certificate, key=key)


def test_a_pair_that_fits_is_loaded_and_its_key_is_not_shown(files: CertificateFiles) -> None:
    found = load_certificates(files)
    assert found.certificate == files.certificate.read_bytes()
    assert b"PRIVATE KEY" in found.key
    assert "PRIVATE" not in repr(found)


def test_a_key_of_another_certificate_is_a_clear_error(
    files: CertificateFiles, authority: Any
) -> None:
    _, other = authority.issue("other")
    with pytest.raises(StartError, match="key of another certificate"):
        load_certificates(CertificateFiles(certificate=files.certificate, key=other))


@pytest.mark.parametrize("spoiled", ["certificate", "key", "client_ca"])
@pytest.mark.parametrize("content", [b"", b"half a cert", b"\xff\x00", None])
def test_a_file_that_is_no_pem_or_not_there_is_a_clear_error(
    files: CertificateFiles, authority: Any, spoiled: str, content: bytes | None
) -> None:
    all_files = CertificateFiles(
        certificate=files.certificate, key=files.key, client_ca=authority.root
    )
    file: Path = getattr(all_files, spoiled)
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(StartError, match="Found") as caught:
        load_certificates(all_files)
    assert file.name in str(caught.value)


def test_a_half_written_certificate_is_a_clear_error(files: CertificateFiles) -> None:
    whole = files.certificate.read_bytes()
    files.certificate.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StartError, match="Found"):
        load_certificates(files)


def test_a_key_with_a_password_is_an_error_and_asks_nobody(files: CertificateFiles) -> None:
    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    files.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"open sesame"),
        )
    )
    with pytest.raises(StartError, match="without a password"):
        load_certificates(files)


def test_files_that_change_while_they_are_read_are_not_taken(
    files: CertificateFiles, monkeypatch: pytest.MonkeyPatch, authority: Any
) -> None:
    check = certificates._check_pair

    def changing(found: CertificateFiles) -> None:
        check(found)
        authority.issue("server")

    monkeypatch.setattr(certificates, "_check_pair", changing)
    with pytest.raises(StartError, match="changing"):
        load_certificates(files)


async def test_a_server_with_tls_is_believed_by_who_knows_its_authority_alone(
    start: Callable[..., Any], authority: Any, make_authority: Any, ask: Any
) -> None:
    certificate, key = authority.issue("server")
    server = await start(tls_certificate=certificate, tls_key=key)
    assert (await ask(server, ca=authority.root)).label == "dog"
    with pytest.raises(ServerUnavailableError):
        await ask(server, ca=make_authority("stranger").root)


async def test_a_server_with_tls_takes_nothing_in_the_clear(
    start: Callable[..., Any], authority: Any, images: Any
) -> None:
    certificate, key = authority.issue("server")
    server = await start(tls_certificate=certificate, tls_key=key)
    async with AsyncClient(server.address, timeout_s=20) as client:
        with pytest.raises(ServerUnavailableError):
            await client.detect([images.png()])


async def test_a_server_that_asks_for_certificates_takes_those_of_its_authority_alone(
    start: Callable[..., Any], authority: Any, make_authority: Any, ask: Any
) -> None:
    certificate, key = authority.issue("server")
    server = await start(
        tls_certificate=certificate, tls_key=key, tls_client_ca=make_authority("clients").root
    )
    with pytest.raises(ServerUnavailableError):
        await ask(server, ca=authority.root)
    mine, my_key = authority.issue("mine")
    with pytest.raises(ServerUnavailableError):
        await ask(server, ca=authority.root, certificate=mine, key=my_key)


async def test_a_certificate_names_its_principal_and_a_token_goes_before_it(
    start: Callable[..., Any], authority: Any, make_authority: Any, ask: Any, principals_file: Path
) -> None:
    clients = make_authority("clients")
    certificate, key = authority.issue("server")
    server = await start(
        tls_certificate=certificate,
        tls_key=key,
        tls_client_ca=clients.root,
        principals=principals_file,
    )
    robot, robot_key = clients.issue("robot", common_name="robot.example")
    stranger, stranger_key = clients.issue("stranger", common_name="stranger.example")
    as_robot = {"ca": authority.root, "certificate": robot, "key": robot_key}
    as_stranger = {"ca": authority.root, "certificate": stranger, "key": stranger_key}
    assert (await ask(server, **as_robot)).score == 4
    assert (await ask(server, **as_robot, token="plain-token")).score is None
    assert (await ask(server, **as_stranger, token="full-token")).score == 4
    for refused in (as_stranger, {**as_robot, "token": "wrong"}):
        with pytest.raises(UnauthenticatedError):
            await ask(server, **refused)


async def fingerprint(address: str, root: Path) -> bytes:
    """The certificate that a new connection gets."""
    context = ssl.create_default_context(cafile=str(root))
    context.set_alpn_protocols(["h2"])
    host, _, port = address.rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return hashlib.sha256(certificate).digest()


def halve(file: Path) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])


async def test_a_new_certificate_is_served_to_new_connections_and_open_ones_go_on(
    start: Callable[..., Any], authority: Any, images: Any, metric_lines: Any, until: Any
) -> None:
    certificate, key = authority.issue("server")
    server = await start(tls_certificate=certificate, tls_key=key)
    root = authority.root
    first = await fingerprint(server.address, root)
    assert await fingerprint(server.address, root) == first
    credentials = Credentials(tls=Tls(ca=root))
    async with AsyncClient(server.address, credentials=credentials, timeout_s=20) as client:

        async def served() -> bytes:
            await client.detect([images.png()])
            return await fingerprint(server.address, root)

        await served()
        authority.issue("server")
        await until(served, lambda found: found != first)
        await client.detect([images.png()])
    done = 'offpath_security_reloads_total{outcome="done",what="certificate"} '
    (line,) = [line for line in await metric_lines(server) if line.startswith(done)]
    assert float(line.removeprefix(done)) >= 1


async def test_one_change_of_the_files_is_counted_once_however_many_addresses_serve_them(
    start: Callable[..., Any], make_authority: Any, tmp_path: Path, metric_lines: Any, until: Any
) -> None:
    old, new = make_authority("old"), make_authority("new")
    for authority in (old, new):
        authority.issue("server")
    link = tmp_path / "served"
    link.symlink_to(old.folder)
    server = await start(
        tls_certificate=link / "server.pem", tls_key=link / "server.key", admin_port=0
    )
    addresses = (server.address, server.admin_address)
    for address in addresses:
        await fingerprint(address, old.root)
    swapped = tmp_path / "swapped"
    swapped.symlink_to(new.folder)
    swapped.replace(link)  # certificate and key at once, as Kubernetes changes them
    for address in addresses:

        async def serves_the_new(address: str = address) -> bool:
            try:
                await fingerprint(address, new.root)
            except ssl.SSLCertVerificationError:
                return False
            return True

        await until(serves_the_new, bool)
    lines = await metric_lines(server)
    assert 'offpath_security_reloads_total{outcome="done",what="certificate"} 1.0' in lines
    assert 'offpath_security_reloads_total{outcome="failed",what="certificate"} 0.0' in lines


async def test_a_bad_new_certificate_keeps_the_old_one_and_is_counted_and_told_once(
    start: Callable[..., Any],
    authority: Any,
    metric_lines: Any,
    caplog: pytest.LogCaptureFixture,
    until: Any,
) -> None:
    certificate, key = authority.issue("server")
    server = await start(tls_certificate=certificate, tls_key=key)
    root = authority.root
    first = await fingerprint(server.address, root)
    halve(certificate)
    failed = 'offpath_security_reloads_total{outcome="failed",what="certificate"} 1.0'

    async def lines() -> list[str]:
        assert await fingerprint(server.address, root) == first
        return list(await metric_lines(server))

    await until(lines, lambda found: failed in found)
    await asyncio.sleep(1.1)  # the next look
    assert failed in await lines()
    assert caplog.text.count("Keeps the certificate") == 1


async def test_a_new_authority_of_callers_counts_for_new_connections(
    start: Callable[..., Any], authority: Any, make_authority: Any, ask: Any, until: Any
) -> None:
    old, new = make_authority("old"), make_authority("new")
    certificate, key = authority.issue("server")
    server = await start(tls_certificate=certificate, tls_key=key, tls_client_ca=old.root)
    mine, my_key = new.issue("mine")

    async def let_in() -> bool:
        try:
            await ask(server, ca=authority.root, certificate=mine, key=my_key)
        except ServerUnavailableError:
            return False
        return True

    assert not await let_in()
    shutil.copyfile(new.root, old.folder / "ca.pem")
    await until(let_in, bool)


async def test_a_server_whose_key_does_not_fit_does_not_start(
    start: Callable[..., Any], authority: Any
) -> None:
    certificate, _ = authority.issue("server")
    _, key = authority.issue("other")
    with pytest.raises(StartError, match="key of another certificate"):
        await start(tls_certificate=certificate, tls_key=key)


async def test_health_is_open_to_probes_that_speak_tls(
    start: Callable[..., Any], authority: Any, principals_file: Path
) -> None:
    certificate, key = authority.issue("server")
    server = await start(tls_certificate=certificate, tls_key=key, principals=principals_file)
    credentials = grpc.ssl_channel_credentials(authority.root.read_bytes())
    async with grpc.aio.secure_channel(server.address, credentials) as channel:
        reply = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    assert reply.status == health_pb2.HealthCheckResponse.SERVING
