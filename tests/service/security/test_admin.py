"""Who changes the bundle decides every verdict: not everybody may."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from offpath.admin.v1 import admin_pb2 as pb
from offpath.admin.v1 import admin_pb2_grpc as pb_grpc

from service.admin_client import AdminClient
from service.results import (
    InvalidRequestError,
    PermissionDeniedError,
    ServerUnavailableError,
    UnauthenticatedError,
)
from service.security.credentials import Credentials, Tls
from service.security.principals import token_digest
from service.server import DetectionServer

RIGHTS: dict[str, list[str]] = {
    "plain": [],
    "all-but": ["score", "path", "explanation", "alpha"],
    "boss": ["admin"],
}
REQUESTS = {
    "ListBundles": pb.ListBundlesRequest(),
    "LoadBundle": pb.LoadBundleRequest(folder="/bundles/new"),
    "Shadow": pb.ShadowRequest(share=1),
    "Promote": pb.PromoteRequest(digest="d1" * 32),
    "RollBack": pb.RollBackRequest(),
    "ResetDrift": pb.ResetDriftRequest(),
    "Unload": pb.UnloadRequest(digest="d1" * 32),
}


@pytest.fixture
def ranked(tmp_path: Path) -> Path:
    """A file of principals of whom one may change bundles."""
    file = tmp_path / "ranked.toml"
    entries = [
        f'[{name}]\ntoken_sha256 = ["{token_digest(name).hex()}"]\nrights = {rights}\n'
        for name, rights in RIGHTS.items()
    ]
    file.write_text("".join(entries))
    return file


async def asked(server: DetectionServer, credentials: Credentials) -> int:
    """How many bundles are loaded, as the client is told on a thread of its own."""

    def ask() -> int:
        assert server.admin_address is not None
        with AdminClient(server.admin_address, credentials=credentials, timeout_s=60) as client:
            return len(client.bundles().bundles)

    return await asyncio.to_thread(ask)


async def test_there_is_no_admin_service_unless_it_is_asked_for(server: DetectionServer) -> None:
    assert server.admin_address is None
    async with grpc.aio.insecure_channel(server.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await pb_grpc.AdminServiceStub(channel).ListBundles(pb.ListBundlesRequest())
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_callers_of_the_one_service_do_not_find_the_other(start: Callable[..., Any]) -> None:
    server = await start(admin_port=0)
    assert server.admin_address != server.address
    async with grpc.aio.insecure_channel(server.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await pb_grpc.AdminServiceStub(channel).ListBundles(pb.ListBundlesRequest())
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_who_is_on_this_machine_may_where_nobody_is_known(start: Callable[..., Any]) -> None:
    assert await asked(await start(admin_port=0), Credentials()) == 1


@pytest.mark.parametrize(
    ("token", "error"),
    [
        ("", UnauthenticatedError),
        ("stranger", UnauthenticatedError),
        ("plain", PermissionDeniedError),
        ("all-but", PermissionDeniedError),
    ],
)
async def test_the_admin_service_wants_its_own_right(
    start: Callable[..., Any], ranked: Path, token: str, error: type[Exception]
) -> None:
    server = await start(admin_port=0, principals=ranked)
    with pytest.raises(error):
        await asked(server, Credentials(token=token))
    assert await asked(server, Credentials(token="boss")) == 1


async def test_every_method_wants_the_right(
    start: Callable[..., Any], ranked: Path, bearer: Any
) -> None:
    server = await start(admin_port=0, principals=ranked)
    methods = pb.DESCRIPTOR.services_by_name["AdminService"].methods_by_name
    assert set(REQUESTS) == set(methods)
    async with grpc.aio.insecure_channel(server.admin_address) as channel:
        stub = pb_grpc.AdminServiceStub(channel)
        for name, request in REQUESTS.items():
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await getattr(stub, name)(request, metadata=bearer("all-but"))
            assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED, name


async def test_the_admin_service_has_the_certificate_of_the_server(
    start: Callable[..., Any], ranked: Path, authority: Any
) -> None:
    certificate, key = authority.issue("server")
    server = await start(admin_port=0, principals=ranked, tls_certificate=certificate, tls_key=key)
    trusted = Credentials(tls=Tls(ca=authority.root), token="boss")
    assert await asked(server, trusted) == 1
    with pytest.raises(ServerUnavailableError):
        await asked(server, Credentials())


@pytest.mark.parametrize("folder", ["", "bundles/new", "../new", "\0"])
async def test_a_folder_is_named_from_the_root(start: Callable[..., Any], folder: str) -> None:
    server = await start(admin_port=0)

    def load() -> None:
        with AdminClient(server.admin_address) as client:
            client._call(client._stub.LoadBundle, pb.LoadBundleRequest(folder=folder))

    with pytest.raises(InvalidRequestError) as caught:
        await asyncio.to_thread(load)
    assert [each.field for each in caught.value.violations] == ["folder"]
