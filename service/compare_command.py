"""`offpath compare`: a thin door to the job."""

# ruff: noqa: PLC0415  # commands import late: help and errors should not wait for numpy

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["compare"]


def compare(
    *,
    reports: Annotated[
        list[Path],
        typer.Argument(
            help="Two report.json or more that `offpath evaluate` wrote, of one plan.",
            metavar="REPORT...",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(help="Markdown file to write. Default: standard output.", metavar="FILE.md"),
    ] = None,
) -> None:
    """Put the figures of several reports side by side, with their mean and spread.

    For what chance does: the same recipe with several seeds, each evaluated under the same plan.
    """
    from detector.jobs.evaluation import EvaluationReport, compared_markdown
    from detector.storage import atomic_path

    text = compared_markdown({str(path): EvaluationReport.read(path) for path in reports})
    if output is None:
        typer.echo(text, nl=False)
        return
    with atomic_path(output) as temporary:
        temporary.write_text(text, "utf-8")
    typer.echo(f"Compared: {output}")
