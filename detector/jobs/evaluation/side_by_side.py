"""Reports of one plan side by side, such as those of three seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean, stdev

from detector.errors import DataError
from detector.jobs.evaluation.headlines import headlines
from detector.jobs.evaluation.markdown import NONE_TEXT, table
from detector.jobs.evaluation.report import EvaluationReport

__all__ = ["ComparedFigure", "compared_figures", "compared_markdown"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedFigure:
    """One figure in several reports.

    Args:
        name: What it is.
        values: The figure in each report, in their order; None where a report has none.
    """

    name: str
    values: tuple[float | None, ...]

    @property
    def present(self) -> tuple[float, ...]:
        """The values that there are, at least one."""
        return tuple(value for value in self.values if value is not None)

    @property
    def mean(self) -> float:
        """Their mean."""
        return fmean(self.present)

    @property
    def spread(self) -> float | None:
        """Their standard deviation, with n - 1; None where there is one alone."""
        return stdev(self.present) if len(self.present) > 1 else None


def compared_figures(reports: Mapping[str, EvaluationReport]) -> tuple[ComparedFigure, ...]:
    """The figures of each report that its reader looks for first, by name.

    Args:
        reports: At least two reports of one plan, each with what it shall be called.

    Raises:
        DataError: If there are fewer, or they are of several plans.
    """
    if len(reports) < 2:  # one has nothing beside it
        raise DataError(
            f"There should be two reports or more to compare. Found {len(reports)}. Give more."
        )
    digests = {report.plan_digest: name for name, report in reports.items()}
    if len(digests) > 1:
        (first, one), (second, other), *_ = digests.items()
        raise DataError(
            "Reports should be of the same plan to be compared. Found plan "
            f"{first[:12]} in {one} and {second[:12]} in {other}. Evaluate all with one plan."
        )
    found = [dict(headlines(report)) for report in reports.values()]
    names = dict.fromkeys(name for each in found for name in each)
    return tuple(
        ComparedFigure(name=name, values=tuple(each.get(name) for each in found)) for name in names
    )


def compared_markdown(reports: Mapping[str, EvaluationReport]) -> str:
    """The figures of several reports as a Markdown table, with their mean and spread.

    Args:
        reports: As for `compared_figures`.

    Raises:
        DataError: As for `compared_figures`.
    """
    rows = [
        [
            figure.name,
            f"{figure.mean:.4f}",
            NONE_TEXT if figure.spread is None else f"{figure.spread:.4f}",
            *(NONE_TEXT if value is None else f"{value:.4f}" for value in figure.values),
        ]
        for figure in compared_figures(reports)
    ]
    return table(["figure", "mean", "standard deviation", *reports], rows) + "\n"
