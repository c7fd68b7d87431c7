"""The report as pictures."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from detector.jobs.evaluation.estimates import Estimate
from detector.jobs.evaluation.figures import ScoreFigures
from detector.jobs.evaluation.markdown import budget_text
from detector.jobs.evaluation.plot_style import COLOURS, line_styles, new_figure, save
from detector.jobs.evaluation.report import EvaluationReport
from detector.jobs.evaluation.report_sections import FewShotPoint, ShiftFigures

__all__ = ["write_plots"]


def write_plots(report: EvaluationReport, folder: Path) -> tuple[Path, ...]:
    """Draw everything that the report has figures for, each as PNG and as SVG.

    Args:
        report: The report.
        folder: Where to; made where it is not there.

    Returns:
        The files.

    Raises:
        StorageError: If a file cannot be written.
    """
    return tuple(
        path for name, figure in _figures(report) for path in save(figure, folder, _slug(name))
    )


def _figures(report: EvaluationReport) -> Iterable[tuple[str, Figure]]:
    for level in report.levels:
        for fusion in level.fusions:
            if any(attack.detection for attack in fusion.attacks):
                title = f"{level.level}, {fusion.name}"
                yield f"roc-{title}", _roc(title, fusion, report.roc_grid)
    if report.levels or report.baselines:
        yield "auroc", _areas(report)
    for level_name, fusion_name in dict.fromkeys((s.level, s.fusion) for s in report.shifts):
        shifts = [s for s in report.shifts if (s.level, s.fusion) == (level_name, fusion_name)]
        title = f"{level_name}, {fusion_name}"
        if any(shift.severity is not None for shift in shifts):
            yield f"shift-{title}", _heat_map(title, shifts)
    for attack in dict.fromkeys(point.attack for point in report.few_shot):
        points = [point for point in report.few_shot if point.attack == attack]
        yield f"few-shot-{attack}", _few_shot(attack, points)


def _roc(title: str, score: ScoreFigures, grid: tuple[float, ...]) -> Figure:
    figure, axes = new_figure(5.6, 3.6)
    for attack, (colour, dash) in zip(score.attacks, line_styles(), strict=False):
        if attack.detection is not None:
            label = f"{attack.attack}  ({attack.detection.auroc.value:.3f})"
            axes.plot(grid, attack.detection.roc, dash, color=colour, label=label, linewidth=1.4)
    axes.plot(grid, grid, color="0.75", linewidth=1, label="chance")
    axes.set_xscale("log")
    axes.set(
        title=title,
        xlim=(1e-3, 1),
        ylim=(0, 1.01),
        xlabel="clean images flagged",
        ylabel="attacked images flagged",
    )
    axes.set_xticks([0.001, 0.01, 0.1, 1], ["0.1%", "1%", "10%", "100%"])
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    figure.legend(loc="outside right center", title="attack (AUROC)", fontsize=8, frameon=False)
    return figure


def _areas(report: EvaluationReport) -> Figure:
    own = [
        (f"{level.level}, {fusion.name}", fusion)
        for level in report.levels
        for fusion in level.fusions
    ]
    rows = [*own, *((score.name, score) for score in report.baselines)][::-1]
    figure, axes = new_figure(5.6, 1.2 + 0.3 * len(rows))
    for place, (_, score) in enumerate(rows):
        ours = place >= len(report.baselines)
        colour = COLOURS[0] if ours else COLOURS[1]
        _interval(axes, place + 0.12, score.mean_auroc, colour, filled=True)
        worst = None if score.worst is None else score.worst.auroc
        _interval(axes, place - 0.12, worst, colour, filled=False)
    axes.axvline(0.5, color="0.75", linewidth=1)
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.set(xlabel="AUROC, with intervals", ylim=(-0.6, len(rows) - 0.4))
    axes.tick_params(axis="y", length=0)
    for label, colour, fill in (
        ("mean over attacks", "0.3", "0.3"),
        ("worst attack", "0.3", "white"),
    ):
        axes.plot([], [], "o", color=colour, markerfacecolor=fill, markersize=5, label=label)
    for label, colour in (("offpath", COLOURS[0]), ("baseline", COLOURS[1])):
        axes.plot([], [], color=colour, label=label)
    figure.legend(loc="outside upper center", ncols=4, fontsize=8, frameon=False)
    return figure


def _interval(
    axes: Axes, place: float, estimate: Estimate | None, colour: str, *, filled: bool
) -> None:
    if estimate is not None:
        axes.plot([estimate.low, estimate.high], [place, place], color=colour, linewidth=1.4)
        fill = colour if filled else "white"
        axes.plot(estimate.value, place, "o", color=colour, markerfacecolor=fill, markersize=5)


def _heat_map(title: str, shifts: list[ShiftFigures]) -> Figure:
    graded = [shift for shift in shifts if shift.severity is not None and shift.flagged]
    names = list(dict.fromkeys(shift.name for shift in graded))
    severities = sorted({shift.severity for shift in graded if shift.severity is not None})
    rates = np.full((len(names), len(severities)), np.nan)
    for shift in graded:
        share = max(shift.flagged, key=lambda each: each.budget).share
        if shift.severity is not None and share is not None:
            rates[names.index(shift.name), severities.index(shift.severity)] = share.rate
    figure, axes = new_figure(1.9 + 0.62 * len(severities), 1.1 + 0.27 * len(names))
    axes.imshow(rates, cmap="cividis_r", vmin=0, vmax=1, aspect="auto")
    for (row, column), rate in np.ndenumerate(rates):
        if np.isfinite(rate):
            colour = "white" if rate > 0.5 else "black"
            axes.text(column, row, f"{rate:.0%}", ha="center", va="center", color=colour)
    budget = max(each.budget for shift in graded for each in shift.flagged)
    axes.set_title(f"{title}: flagged at {budget_text(budget)}")
    axes.set_xticks(range(len(severities)), [str(severity) for severity in severities])
    axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    axes.set_xlabel("severity")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def _few_shot(attack: str, points: list[FewShotPoint]) -> Figure:
    figure, axes = new_figure(5.6, 3.2)
    classifiers = list(dict.fromkeys(point.classifier for point in points))
    for place, (name, (colour, dash)) in enumerate(zip(classifiers, line_styles(), strict=False)):
        own = sorted(
            (point for point in points if point.classifier == name),
            key=lambda point: point.images_per_class,
        )
        # A little apart, so that the intervals do not hide each other.
        shift = 1.04 ** (place - (len(classifiers) - 1) / 2)
        counts = np.array([point.images_per_class for point in own]) * shift
        values = np.array([point.auroc.value for point in own])
        ends = np.array([[point.auroc.low, point.auroc.high] for point in own])
        axes.plot(counts, values, dash, marker="o", color=colour, markersize=4, label=name)
        axes.vlines(counts, ends[:, 0], ends[:, 1], color=colour, linewidth=1.2)
    ticks = sorted({point.images_per_class for point in points})
    axes.set_xscale("log")
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set(title=attack, xlabel="images a class to learn from", ylabel="AUROC on path bits")
    axes.legend(loc="lower right", frameon=False)
    return figure


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-")
