"""`offpath bench`: load on a server from a process of its own."""

# ruff: noqa: PLC0415  # commands import late: help and errors should not wait for grpc

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from detector.errors import InvalidInputError
from service.results import Level
from service.security.options import (
    CaOption,
    CertificateOption,
    KeyOption,
    TlsOption,
    TokenFileOption,
    credentials_of,
)

__all__ = ["bench"]


def bench(
    *,
    server: Annotated[str, typer.Argument(help="The server to call.", metavar="HOST:PORT")],
    images: Annotated[
        list[Path] | None,
        typer.Argument(help="Image files to send in turn. Default: samples.", metavar="[IMAGE...]"),
    ] = None,
    callers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Closed loop: so many callers, each waits for its answer. Default: 32."
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(help="Open loop instead: so many calls per second, come what may."),
    ] = None,
    even: Annotated[
        bool, typer.Option("--even", help="Open loop: calls at even moments, not at random ones.")
    ] = False,
    duration_s: Annotated[float, typer.Option(help="Seconds that are measured.")] = 10.0,
    warm_up_s: Annotated[float, typer.Option(help="Seconds before that, left out.")] = 1.0,
    timeout_s: Annotated[float, typer.Option(help="Deadline of each call, seconds.")] = 30.0,
    batch: Annotated[int, typer.Option(min=1, help="Images in each call.")] = 1,
    raw: Annotated[
        bool, typer.Option("--raw", help="Send pixels instead of the files as they are.")
    ] = False,
    level: Annotated[
        Level | None, typer.Option(help="What a verdict may cost. Default: the bundle's.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the random moments.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    ca: CaOption = None,
    tls: TlsOption = False,
    certificate: CertificateOption = None,
    key: KeyOption = None,
    token_file: TokenFileOption = None,
) -> None:
    """Put load on a server: throughput, status codes, and how long callers wait.

    In the open loop a call's time counts from when it was due, not from when
    it could be sent: a server that stalls is not spared the calls it held up.
    """
    from service.client import Client
    from service.load import ClosedLoop, LoadPlan, OpenLoop, load_report
    from service.load.requests import SAMPLES, payloads, pixels_of
    from service.load.table import load_table

    if callers is not None and rate is not None:
        raise InvalidInputError(
            "A load should be a closed loop or an open one. Found --callers and --rate. "
            "Leave one out.",
            field="rate",
        )
    plan = LoadPlan(
        load=ClosedLoop(callers=callers or 32)
        if rate is None
        else OpenLoop(rate=rate, poisson=not even, seed=seed),
        seconds=duration_s,
        warm_up_s=warm_up_s,
        timeout_s=timeout_s,
    )
    files = images or sorted(SAMPLES.glob("*.png"))
    sent = payloads([pixels_of(file) if raw else file for file in files], batch=batch, level=level)
    credentials = credentials_of(
        ca=ca, tls=tls, certificate=certificate, key=key, token_file=token_file
    )
    with Client(server, credentials=credentials, timeout_s=timeout_s) as client:
        client.bundle()  # no server is better said once than as so many failed calls
    report = load_report(server, sent, plan, credentials=credentials)
    if as_json:
        typer.echo(json.dumps(report.to_json(), indent=2))
    else:
        Console().print(load_table(report))
