"""`offpath health`: whether a server is up, as an exit code."""

# ruff: noqa: PLC0415  # commands import late: help and errors should not wait for grpc

from __future__ import annotations

from typing import Annotated

import typer

from service.security.options import (
    CaOption,
    CertificateOption,
    KeyOption,
    TlsOption,
    credentials_of,
)

__all__ = ["health"]

_READY = "offpath.v1.DetectionService"


def health(
    *,
    server: Annotated[str, typer.Option(help="Which server.", metavar="HOST:PORT")],
    service: Annotated[
        str,
        typer.Option(
            help="Whose health: a service's tells whether calls should be sent there, that of '' "
            "whether the process lives.",
            metavar="NAME",
        ),
    ] = _READY,
    timeout_s: Annotated[
        float, typer.Option(min=0.001, help="Longest wait for the server, seconds.")
    ] = 3.0,
    ca: CaOption = None,
    tls: TlsOption = False,
    certificate: CertificateOption = None,
    key: KeyOption = None,
) -> None:
    """Ask grpc.health.v1: exit code 0 where the server answers SERVING, 1 otherwise.

    For container engines and scripts. Kubernetes asks by itself.
    """
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    from service.call_errors import call_error

    credentials = credentials_of(ca=ca, tls=tls, certificate=certificate, key=key, token_file=None)
    with credentials.channel(server, ()) as channel:
        try:
            reply = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service=service), timeout=timeout_s
            )
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                told = _not_found(service)
            else:
                told = str(call_error(error, server, tls=credentials.tls is not None))
            typer.echo(f"{server}: {error.code().name}. {' '.join(told.split())}", err=True)
            raise typer.Exit(1) from error
    status = health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status)
    typer.echo(f"{server}: {status}")
    if reply.status != health_pb2.HealthCheckResponse.SERVING:
        raise typer.Exit(1)


def _not_found(service: str) -> str:
    if service == _READY:
        return (
            f"The server should know {service}. Found that it does not. It is still starting: wait "
            "and ask again; or it is no Offpath server: check the address."
        )
    return (
        f"--service should name a service that the server has. Found {service!r}, which it does "
        f"not know. Leave it out for {_READY}, or give '' to ask whether the process lives."
    )
