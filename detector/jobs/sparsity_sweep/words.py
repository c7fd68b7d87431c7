"""The figures of a sweep as text: what its page and the command line show alike."""

from __future__ import annotations

from collections.abc import Sequence

from detector.jobs.cost_report import Spread
from detector.jobs.evaluation.estimates import Estimate
from detector.jobs.evaluation.markdown import NONE_TEXT, area_text, change_text, share_text
from detector.jobs.sparsity_sweep.report import NetworkFigures, SweepReport

__all__ = ["cost_table", "detection_table", "name_of", "points_text", "ratio_text", "time_table"]

Table = tuple[Sequence[str], Sequence[Sequence[str]]]
"""Head and rows."""


def name_of(figures: NetworkFigures) -> str:
    """A network by the share of open gates that it was trained for."""
    return f"R {figures.open_share:g}"


def cost_table(report: SweepReport) -> Table:
    """What each network keeps and what it gives up."""
    head = ("trained for", "gates open", "MACs kept [5-95 %]", "accuracy", "points lost")
    rows = [
        (
            name_of(each),
            f"{each.open_gates.mean * 100:.1f} %",
            _spread(each.kept),
            share_text(each.accuracy),
            points_text(report.accuracy_lost(each)) if each is not report.reference else NONE_TEXT,
        )
        for each in report.networks
    ]
    return head, rows


def time_table(report: SweepReport) -> Table:
    """What an image costs each network."""
    head = ("trained for", "plain network", "masked", "as served", "with the verdict")
    rows = [
        (
            name_of(each),
            f"{each.times.plain_ms.value:.2f} ms",
            ratio_text(each.times.masked),
            ratio_text(each.times.served),
            ratio_text(each.times.verdict),
        )
        for each in report.networks
    ]
    return head, rows


def detection_table(report: SweepReport) -> Table:
    """How well each network's attacks are found."""
    labels = [each.attack for each in report.reference.detection.attacks]
    head = ("trained for", *(f"{label}, AUROC" for label in labels), "mean", "mean lost")
    rows = []
    for each in report.networks:
        lost = report.area_lost(each) if each is not report.reference else None
        areas = each.areas
        rows.append(
            (
                name_of(each),
                *(area_text(areas[label]) for label in labels),
                area_text(each.detection.mean_auroc),
                change_text(lost),
            )
        )
    return head, rows


def points_text(lost: Estimate) -> str:
    """A share that was lost, in points of a hundred, as ``0.82 [0.10, 1.54]``."""
    value, low, high = (f"{100 * each:.2f}" for each in (lost.value, lost.low, lost.high))
    return f"{value} [{low}, {high}]"


def ratio_text(ratio: Estimate) -> str:
    """A time by that of the plain network, as ``1.31 x [1.29, 1.33]``."""
    return f"{ratio.value:.2f} x [{ratio.low:.2f}, {ratio.high:.2f}]"


def _spread(share: Spread) -> str:
    return f"{share.mean * 100:.1f} % [{share.low * 100:.1f}, {share.high * 100:.1f}]"
