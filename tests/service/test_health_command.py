"""`offpath health` and the port that answers nothing but health checks."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc
from offpath.v1 import detection_pb2 as pb
from offpath.v1 import detection_pb2_grpc as pb_grpc

from service import cli
from service.health_command import _READY
from service.server import DetectionServer
from service.servicer import SERVICE_NAME


async def asked(address: str | None, *options: str) -> int:
    assert address is not None
    return await asyncio.to_thread(cli.run, ["health", "--server", address, *options])


def test_readiness_is_asked_for_under_the_name_of_the_service() -> None:
    assert _READY == SERVICE_NAME


async def test_a_server_that_serves_is_exit_code_0(
    server: DetectionServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await asked(server.address) == 0
    assert capsys.readouterr().out == f"{server.address}: SERVING\n"


async def test_a_draining_server_is_exit_code_1_but_lives(
    server: DetectionServer, capsys: pytest.CaptureFixture[str]
) -> None:
    await server._health.draining()
    assert await asked(server.address) == 1
    assert capsys.readouterr().out == f"{server.address}: NOT_SERVING\n"
    assert await asked(server.address, "--service", "") == 0


async def test_a_service_that_nobody_knows_is_exit_code_1(
    server: DetectionServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await asked(server.address, "--service", "nonsense") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{server.address}: NOT_FOUND. --service should name ")
    assert "Found 'nonsense'" in line
    assert SERVICE_NAME in line


def test_no_server_is_exit_code_1_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["health", "--server", "127.0.0.1:1", "--timeout-s", "0.5"]) == 1
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert captured.err.startswith("127.0.0.1:1: ")
    assert "Start one with `offpath serve`" in captured.err


def test_a_missing_certificate_authority_is_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["health", "--server", "127.0.0.1:1", "--ca", str(tmp_path / "none.pem")]
    assert cli.run(arguments) == 2
    assert "none.pem should be a readable PEM file" in capsys.readouterr().err


@pytest.fixture
def tls(tmp_path: Path) -> dict[str, Path]:
    """Files of a server's certificate for localhost, and of the authority behind it."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    files = {name: tmp_path / f"{name}.pem" for name in ("ca", "certificate", "key")}
    authority.cert_pem.write_to_path(files["ca"])
    issued.cert_chain_pems[0].write_to_path(files["certificate"])
    issued.private_key_pem.write_to_path(files["key"])
    return files


async def test_the_health_port_answers_in_the_clear_beside_a_port_with_tls(
    start: Callable[..., Any], tls: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    server = await start(
        health_port=0, tls_certificate=tls["certificate"], tls_key=tls["key"], host="localhost"
    )
    assert await asked(server.health_address) == 0
    assert await asked(server.address) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "If the server has TLS, give its certificate authority with --ca FILE" in line
    assert await asked(server.address, "--ca", str(tls["ca"])) == 0


async def test_the_health_port_answers_nothing_else(start: Callable[..., Any]) -> None:
    server = await start(health_port=0)
    async with grpc.aio.insecure_channel(server.health_address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await pb_grpc.DetectionServiceStub(channel).GetBundle(pb.GetBundleRequest())
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_without_one_there_is_no_health_port(server: DetectionServer) -> None:
    assert server.health_address is None


async def test_warming_up_is_life_without_readiness(
    start: Callable[..., Any],
    pipeline: Any,
    free_port: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pipeline.open.clear()
    starting = asyncio.create_task(start(health_port=free_port))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{free_port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        alive = await stub.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=60)
        assert alive.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await stub.Check(health_pb2.HealthCheckRequest(service=SERVICE_NAME))
        assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
        assert await asked(f"127.0.0.1:{free_port}") == 1
        assert "It is still starting: wait" in capsys.readouterr().err
        pipeline.open.set()
        await starting
        ready = await stub.Check(health_pb2.HealthCheckRequest(service=SERVICE_NAME))
        assert ready.status == health_pb2.HealthCheckResponse.SERVING


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
