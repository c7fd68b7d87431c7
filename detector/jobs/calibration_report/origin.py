"""Which images the figures of a calibration report are measured on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Origin", "Sources"]


class Origin(StrEnum):
    """Where images come from that the thresholds they are judged by were not taken from."""

    TEST = "test"
    """The table's test split: what ships judges images that nothing was fitted or calibrated on."""
    CROSS_FITTED = "cross-fitted"
    """The fit split, in folds: the fusion is fitted again without a fold and judges that one."""
    CROSS_CONFORMAL = "cross-conformal"
    """The calibration split, in folds: the thresholds of all other folds judge each one."""

    @property
    def meaning(self) -> str:
        """What a reader has to know about figures of this origin, in a sentence or two."""
        match self:
            case Origin.TEST:
                return (
                    "images of the table's test split, judged by what ships; nothing was fitted or "
                    "calibrated on them"
                )
            case Origin.CROSS_FITTED:
                return (
                    "images of the fit split, as the table holds no test split: for each of several "
                    "folds the fusion is fitted again without it, calibrated on the calibration "
                    "images, and judges it. No image is judged by anything that has seen it, but "
                    "the judges are siblings of what ships, not the thing itself"
                )
            case Origin.CROSS_CONFORMAL:
                return (
                    "the calibration images themselves, as the table holds neither a test split "
                    "nor training images beside the fit split: each of several folds is judged by "
                    "the thresholds of the others. That shows that thresholds carry over to images "
                    "of the same draw, and nothing about your traffic"
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class Sources:
    """Which images each kind of figure is measured on.

    Args:
        clean: False alarms.
        attacked: Attacks and harmless changes; never `Origin.CROSS_CONFORMAL`.
        clean_images: Number of clean images whose false alarms are counted.
        negatives: Clean images that attacked ones are compared with in ROC curves and areas.
        calibration_images: Clean images that the thresholds come from.
        folds: Number of folds, where images are judged in folds.
        paths_of: Split that the path distributions were fitted on.
    """

    clean: Origin
    attacked: Origin
    clean_images: int
    negatives: int
    calibration_images: int
    folds: int
    paths_of: str
