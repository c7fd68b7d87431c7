"""The command `offpath`; whatever goes wrong is one sentence and exit code 2."""

# ruff: noqa: PLC0415  # commands import late: help and errors should not wait for torch

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from detector.errors import OffpathError
from detector.storage import atomic_path
from service import offline_cli
from service.admin_command import admin
from service.bench_command import bench
from service.health_command import health
from service.results import Level
from service.security.options import (
    CaOption,
    CertificateOption,
    ClientCaOption,
    InsecureOption,
    KeyOption,
    PrincipalsOption,
    TlsCertificateOption,
    TlsKeyOption,
    TlsOption,
    TokenFileOption,
    credentials_of,
)
from service.security.token_command import token

__all__ = ["app", "main", "run"]

_SERVE_MODULES = {"grpc", "grpc_health", "grpc_reflection", "grpc_status", "google"} | {
    "prometheus_client",
    "pydantic",
    "pydantic_settings",
    "uvloop",
}
_LAB_MODULES = {"accelerate", "matplotlib", "pyarrow", "scipy", "sklearn"} | {
    "tensorboard",
    "torchattacks",
}
_RAY_MODULES = {"ray"}
_ONLINE = "Detect"

app = typer.Typer(
    name="offpath",
    help="Flags adversarial images by the path they take through a decoupled network.",
    epilog="See it work: [bold]offpath demo[/bold]. Options of one command: "
    "[bold]offpath serve --help[/bold].",
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    pretty_exceptions_enable=False,
)

BundleOption = Annotated[
    Path | None,
    typer.Option(help="Folder of a bundle. Default: the one inside the package.", metavar="DIR"),
]
AlphaOption = Annotated[
    float | None,
    typer.Option(
        help="False-alarm budget in (0, 1), at most the bundle's. Default: the bundle's.",
        metavar="SHARE",
    ),
]

LevelOption = Annotated[
    Level | None,
    typer.Option(
        help="What a verdict may cost: one pass of the network, two, or one for each copy that "
        "suits the data. Default: the bundle's."
    ),
]

DeviceOption = Annotated[
    str | None,
    typer.Option(help="auto, cpu, cuda or cuda:1. Default: auto, a GPU where there is one."),
]


@app.callback()
def _app() -> None:
    """Keep the help of the application where the commands are listed."""


@app.command(
    rich_help_panel=_ONLINE,
    epilog="Examples: [bold]offpath serve --port 50051[/bold] · [bold]offpath serve --host 0.0.0.0 "
    "--tls-certificate cert.pem --tls-key key.pem --principals principals.toml[/bold]",
)
def serve(
    *,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on. Default: 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port for calls, 0 for any. Default: 50051.")
    ] = None,
    metrics_port: Annotated[
        int | None, typer.Option(help="Port for Prometheus, 0 for any. Default: 9464.")
    ] = None,
    admin_port: Annotated[
        int | None,
        typer.Option(help="Port of the admin service, this machine only. Default: none."),
    ] = None,
    health_port: Annotated[
        int | None,
        typer.Option(help="Port for health checks alone, without TLS. Default: none."),
    ] = None,
    bundle: BundleOption = None,
    device: DeviceOption = None,
    drain_delay_s: Annotated[
        float | None, typer.Option(help="Seconds to take calls after SIGTERM. Default: 5.")
    ] = None,
    ready_file: Annotated[
        Path | None,
        typer.Option(help="Write the addresses here, as JSON, once calls are taken."),
    ] = None,
    tls_certificate: TlsCertificateOption = None,
    tls_key: TlsKeyOption = None,
    tls_client_ca: ClientCaOption = None,
    principals: PrincipalsOption = None,
    insecure: InsecureOption = False,
) -> None:
    """Serve a bundle over gRPC until SIGTERM.

    Every setting is an environment variable as well, OFFPATH_PORT for --port.
    There are more of them than options, all described in service/settings.py.
    """
    import uvloop

    from service.security.logs import configure_logging
    from service.server import DetectionServer, load_and_serve
    from service.settings import load_settings

    settings = load_settings(
        host=host,
        port=port,
        metrics_port=metrics_port,
        admin_port=admin_port,
        health_port=health_port,
        bundle=bundle,
        device=device,
        drain_delay_s=drain_delay_s,
        tls_certificate=tls_certificate,
        tls_key=tls_key,
        tls_client_ca=tls_client_ca,
        principals=principals,
        insecure=insecure or None,
    )
    configure_logging(settings.log_format, settings.log_level)

    def ready(server: DetectionServer) -> None:
        logging.getLogger(__name__).info(
            "Serving on %s, metrics on %s", server.address, server.metrics_url
        )
        if server.admin_address is not None:
            logging.getLogger(__name__).info("Admin service on %s", server.admin_address)
        if ready_file is not None:
            with atomic_path(ready_file) as temporary:
                addresses = {"address": server.address, "metrics_url": server.metrics_url}
                if server.admin_address is not None:
                    addresses["admin_address"] = server.admin_address
                if server.health_address is not None:
                    addresses["health_address"] = server.health_address
                temporary.write_text(json.dumps(addresses))

    # A call is mostly the event loop's work: uvloop's takes a tenth less of the core.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        finished = runner.run(load_and_serve(settings, ready=ready))
    if not finished:
        raise typer.Exit(1)


@app.command(
    rich_help_panel=_ONLINE,
    epilog="Examples: [bold]offpath check cat.png[/bold] · "
    "[bold]offpath check *.jpg --server 127.0.0.1:50051 --json[/bold]",
)
def check(
    *,
    images: Annotated[list[Path], typer.Argument(help="Image files.", metavar="IMAGE")],
    server: Annotated[
        str | None,
        typer.Option(
            help="Ask this server; without it, look in this process.", metavar="HOST:PORT"
        ),
    ] = None,
    bundle: BundleOption = None,
    device: DeviceOption = None,
    alpha: AlphaOption = None,
    level: LevelOption = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="Add the layers farthest from clean paths.")
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Add the gates that speak against the prediction.")
    ] = False,
    path: Annotated[bool, typer.Option("--path", help="Add the path (with --json).")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    timeout_s: Annotated[
        float, typer.Option(min=0.001, help="Longest wait for the server, seconds.")
    ] = 30.0,
    ca: CaOption = None,
    tls: TlsOption = False,
    certificate: CertificateOption = None,
    key: KeyOption = None,
    token_file: TokenFileOption = None,
) -> None:
    """Classify images and tell which of them left the path of their class."""
    from service.explanation_tables import explanation_lines
    from service.tables import (
        ShownImage,
        detections_json,
        detections_table,
        drift_line,
        level_line,
        reason_lines,
    )

    if server is not None and (bundle is not None or device is not None):
        raise typer.BadParameter(
            "a server has its own bundle and device; leave out --bundle and --device, or --server"
        )
    if server is None and (tls or any((ca, certificate, key, token_file))):
        raise typer.BadParameter("TLS and tokens are for a server; add --server")
    wanted: dict[str, Any] = {
        "alpha": alpha,
        "level": level,
        "include_layers": layers,
        "include_path": path and as_json,
        "include_explanation": explain,
    }
    drift = None
    if server is None:
        from detector.bundle import load_bundle
        from service.devices import chosen_device
        from service.local import LocalDetector

        loaded = load_bundle(bundle, device=chosen_device(device or "auto"))
        detections = LocalDetector(loaded).detect(images, **wanted)
    else:
        from service.client import Client
        from service.remote import RemoteDetector

        credentials = credentials_of(
            ca=ca, tls=tls, certificate=certificate, key=key, token_file=token_file
        )
        with Client(server, credentials=credentials, timeout_s=timeout_s) as client:
            detections = RemoteDetector(client).detect(images, **wanted)
            drift = None if as_json else drift_line(client.bundle().drift)
    shown = [
        ShownImage(name=str(image), detection=detection)
        for image, detection in zip(images, detections, strict=True)
    ]
    if as_json:
        typer.echo(detections_json(shown))
    else:
        console = Console()
        console.print(detections_table(shown))
        console.print(level_line(detections[0]))
        for line in reason_lines(shown):
            console.print(line)
        for image in shown:
            for part in explanation_lines(image.name, image.detection):
                console.print(part)
        if drift is not None:
            console.print(drift)


@app.command(rich_help_panel=_ONLINE, epilog="Example: [bold]offpath demo --per-class 2[/bold]")
def demo(
    *,
    bundle: BundleOption = None,
    device: DeviceOption = None,
    per_class: Annotated[int, typer.Option(min=1, max=12, help="Sample images of each class.")] = 6,
    all_rows: Annotated[
        bool, typer.Option("--all", help="Print every image, not one of each class.")
    ] = False,
) -> None:
    """Start a server, send it clean and attacked images, and watch.

    The images are real CIFAR-10 test images that come with the package.
    They are attacked on the spot, with full knowledge of the network,
    and sent over gRPC like any others.
    """
    from service.demo import run_demo

    run_demo(
        bundle=bundle,
        device=device or "auto",
        per_class=per_class,
        all_rows=all_rows,
        console=Console(),
    )


app.command(
    rich_help_panel=_ONLINE,
    epilog="Examples: [bold]offpath bench 127.0.0.1:50051[/bold] · [bold]offpath bench "
    "127.0.0.1:50051 --rate 500 --duration-s 60 --timeout-s 0.5 --json[/bold]",
)(bench)
app.command(
    rich_help_panel=_ONLINE,
    epilog="Examples: [bold]offpath admin load runs/new --server 127.0.0.1:50052[/bold] · "
    "[bold]offpath admin promote 3fa1 --server 127.0.0.1:50052 --report new/report.json "
    "--against old/report.json[/bold]",
)(admin)
app.command(
    rich_help_panel=_ONLINE,
    epilog="Example: [bold]offpath health --server 127.0.0.1:50051[/bold]",
)(health)
app.command(
    rich_help_panel=_ONLINE,
    epilog="Example: [bold]offpath token web --token-file web.token >> principals.toml[/bold]",
)(token)
offline_cli.add_commands(app)


def run(arguments: Sequence[str]) -> int:
    """Run a command line and give its exit code.

    Args:
        arguments: What stands behind ``offpath``.
    """
    try:
        code = app(args=list(arguments) or ["--help"], prog_name="offpath", standalone_mode=False)
    except OffpathError as error:
        return _fail(str(error))
    except typer.TyperException as error:
        return _fail(f"{error.format_message().rstrip('.')}. Options: offpath COMMAND --help")
    except typer.Abort:
        return 130
    except ModuleNotFoundError as error:
        return _fail(_missing_extra(error))
    return code if isinstance(code, int) else 0


def _missing_extra(error: ModuleNotFoundError) -> str:
    module = (error.name or "").partition(".")[0]
    extras = (("serve", _SERVE_MODULES), ("lab", _LAB_MODULES), ("ray", _RAY_MODULES))
    for extra, modules in extras:
        if module in modules:
            return (
                f"This command needs {module}. Install the {extra} extra: in Offpath's repository, "
                f"pip install '.[{extra}]'"
            )
    raise error


def _fail(message: str) -> int:
    typer.secho("Error: " + " ".join(message.split()), fg=typer.colors.RED, err=True)
    return 2


def main() -> None:
    """Run the command line of this process and end it."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
