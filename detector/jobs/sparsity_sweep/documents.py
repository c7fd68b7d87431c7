"""A sweep as Markdown and as a picture, for documents that it is told in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from detector.jobs.evaluation.markdown import share_text, table
from detector.jobs.evaluation.plot_style import COLOURS, new_row, save
from detector.jobs.sparsity_sweep.curves import (
    Curve,
    accuracy_curve,
    area_curves,
    spaced_names,
    time_curves,
)
from detector.jobs.sparsity_sweep.report import SweepReport
from detector.jobs.sparsity_sweep.words import cost_table, detection_table, time_table

__all__ = ["sweep_markdown", "write_plot"]


def sweep_markdown(report: SweepReport) -> str:
    """The three tables of a sweep.

    Args:
        report: The sweep.
    """
    plain = (
        f"{report.backbone}, {report.test_images:,} test images; the plain network classifies "
        f"{share_text(report.plain_accuracy)} of them right."
    )
    tables = (table(*each(report)) for each in (cost_table, time_table, detection_table))
    return "\n\n".join([plain, *tables]) + "\n"


def write_plot(report: SweepReport, folder: Path) -> tuple[Path, Path]:
    """Draw accuracy, time and detection over the multiplications kept, as PNG and as SVG.

    Args:
        report: The sweep.
        folder: Where to; made where it is not there.

    Returns:
        The two files, ``sweep.png`` and ``sweep.svg``.

    Raises:
        StorageError: If a file cannot be written.
    """
    figure, (accuracy, time, area) = new_row(10.0, 3.2, 3)
    _draw(accuracy, [accuracy_curve(report)], "accuracy")
    accuracy.axhline(report.plain_accuracy.rate, color="0.6", linewidth=1, label="plain network")
    accuracy.yaxis.set_major_formatter(PercentFormatter(1, decimals=1))
    accuracy.margins(x=0.1, y=0.15)
    _draw(time, time_curves(report), "time of an image / plain network's")
    time.axhline(1.0, color="0.6", linewidth=1, label="plain network")
    _draw(area, area_curves(report), "AUROC, one pass")
    for axes in (accuracy, time, area):
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set_xlabel("multiplications kept")
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize=7)
    _name(accuracy, report)
    return save(figure, folder, "sweep")


def _name(axes: Axes, report: SweepReport) -> None:
    """Say at the foot which network lies where."""
    low, high = axes.get_xlim()
    for kept, name in spaced_names(report, 0.1 * (high - low)):
        foot = axes.get_xaxis_transform()
        axes.text(kept, 0.02, name, transform=foot, ha="center", fontsize=7)


def _draw(axes: Axes, curves: Sequence[Curve], title: str) -> None:
    axes.set_title(title, fontsize=10)
    for curve, colour in zip(curves, COLOURS, strict=False):
        kept = [place for place, _ in curve.points]
        figures = [figure for _, figure in curve.points]
        axes.errorbar(
            kept,
            [each.value for each in figures],
            yerr=[
                [each.value - each.low for each in figures],
                [each.high - each.value for each in figures],
            ],
            color=colour,
            label=curve.name,
            linewidth=1.3,
            marker="o",
            markersize=3,
        )
