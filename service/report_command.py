"""`offpath report`: a thin door to the job."""

# ruff: noqa: PLC0415  # commands import late: help and errors should not wait for torch

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.offline_options import OutputOption

__all__ = ["report"]


def report(
    *,
    table: Annotated[
        str,
        typer.Option(
            help="The path table that the bundle was calibrated with; attacks and a test split may "
            "have been extracted into it since.",
            metavar="DIR|URI",
        ),
    ],
    output: OutputOption,
    bundle: Annotated[
        Path | None, typer.Option(help="Folder of the bundle. Default: the bundled one.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Fixes folds, draws and resamples.")] = 0,
) -> None:
    """Show what a calibration is worth, on one page (calibration.html) and as JSON.

    False alarms by class, attacks found, gates, paths by class and layer, fewer images, model card;
    on test images where the table has them, or else cross-fitted, as the page says.
    """
    from detector.jobs.calibration_report import ReportOptions, make_report, write_report
    from detector.path_table import place_of

    options = ReportOptions(table=place_of(table), output=output, bundle=bundle, seed=seed)
    typer.echo(f"Reported: {write_report(make_report(options), options.output)}")
