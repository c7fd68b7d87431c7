"""What a figure is, and the intervals around it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.jobs.evaluation.bootstrap import Resamples
from detector.jobs.evaluation.estimates import Estimate, clopper_pearson

__all__ = ["Figure", "auroc_with_interval", "reported", "share_text"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One line of `make figures`.

    Args:
        name: What was measured.
        target: What it should be; empty where the figure is only reported.
        measured: What was found, with its interval where it has one.
        holds: Whether the target is met; None where there is none.
    """

    name: str
    target: str
    measured: str
    holds: bool | None

    @property
    def outcome(self) -> str:
        """``holds``, ``short`` or, without a target, ``reported``."""
        return {True: "holds", False: "short", None: "reported"}[self.holds]

    def to_json(self) -> dict[str, Any]:
        """The figure as plain JSON values."""
        return {**asdict(self), "outcome": self.outcome}


def reported(name: str, measured: str) -> Figure:
    """A figure without a target."""
    return Figure(name=name, target="", measured=measured, holds=None)


def share_text(hits: int, total: int) -> str:
    """A share in per cent with its 95 % interval."""
    low, high = clopper_pearson(hits, total)
    return f"{hits / total:.2%} [{low:.2%}, {high:.2%}] of {total}"


def auroc_with_interval(
    clean: NDArray[np.float64], attacked: NDArray[np.float64], *, draws: int = 200
) -> Estimate:
    """Area under the ROC curve and its 95 % bootstrap interval.

    Args:
        clean: Scores of clean images.
        attacked: Scores of attacked images.
        draws: Bootstrap resamples.
    """
    resamples = Resamples(negatives=len(clean), images=len(attacked), replicates=draws, seed=0)
    return resamples.rank(clean).auroc(attacked, np.arange(len(attacked))).estimate()
