"""The figures of a sweep over the multiplications that its networks keep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from detector.jobs.evaluation.estimates import Estimate
from detector.jobs.sparsity_sweep.report import NetworkFigures, SweepReport
from detector.jobs.sparsity_sweep.words import name_of

__all__ = ["Curve", "accuracy_curve", "area_curves", "spaced_names", "time_curves"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """One figure of the networks that have it.

    Args:
        name: What it is.
        points: Mean share of multiplications kept and the figure, the sparsest network first.
    """

    name: str
    points: tuple[tuple[float, Estimate], ...]


def accuracy_curve(report: SweepReport) -> Curve:
    """Share of test images that are classified right."""
    return _curve(report, "decoupled", lambda each: each.accuracy.estimate)


def time_curves(report: SweepReport) -> tuple[Curve, ...]:
    """Times of one image, by that of the plain network."""
    return (
        _curve(report, "masked", lambda each: each.times.masked),
        _curve(report, "as served", lambda each: each.times.served),
        _curve(report, "with the verdict", lambda each: each.times.verdict),
    )


def area_curves(report: SweepReport) -> tuple[Curve, ...]:
    """Area under the ROC curve for each attack that succeeds on some network."""
    labels = [each.attack for each in report.reference.detection.attacks]
    found = [_curve(report, label, _area_of(label)) for label in labels]
    return tuple(curve for curve in found if curve.points)


def spaced_names(report: SweepReport, apart: float) -> list[tuple[float, str]]:
    """Share kept and name of each network, but of those that would hide another's name.

    Args:
        report: The sweep.
        apart: Least difference of the shares kept of two that are named.
    """
    named: list[tuple[float, str]] = []
    for each in sorted(report.networks, key=lambda each: -each.kept.mean):
        if not named or named[-1][0] - each.kept.mean >= apart:
            named.append((each.kept.mean, name_of(each)))
    return named


def _area_of(label: str) -> Callable[[NetworkFigures], Estimate | None]:
    return lambda each: each.areas[label]


def _curve(
    report: SweepReport, name: str, figure: Callable[[NetworkFigures], Estimate | None]
) -> Curve:
    by_kept = sorted(report.networks, key=lambda each: each.kept.mean)
    found = [(each.kept.mean, figure(each)) for each in by_kept]
    return Curve(name=name, points=tuple((kept, e) for kept, e in found if e is not None))
