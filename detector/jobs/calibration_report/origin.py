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
    def name_of_images(self) -> str:
        """Which images they are, in a few words."""
        match self:
            case Origin.TEST:
                return "images of the test split"
            case Origin.CROSS_FITTED:
                return "images of the fit split, cross-fitted"
            case Origin.CROSS_CONFORMAL:
                return "calibration images, cross-conformal"

    @property
    def meaning(self) -> str:
        """What a reader has to know about figures of this origin."""
        match self:
            case Origin.TEST:
                return "What ships judges them. Nothing was fitted or calibrated on them."
            case Origin.CROSS_FITTED:
                return (
                    "The table holds none of the test split. For each fold the fusion is fitted "
                    "again without it, calibrated on the calibration images, and judges it: no "
                    "image is judged by a fusion or a threshold that has seen it, but the judges "
                    "are siblings of what ships."
                )
            case Origin.CROSS_CONFORMAL:
                return (
                    "The table holds neither a test split nor training images beside the fit "
                    "split. Each fold is judged by the thresholds of the others: that shows that "
                    "thresholds carry over to images of the same draw, and nothing about other "
                    "traffic."
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

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader has to know before any figure, sentence by sentence."""
        folds = "" if self.clean is self.attacked is Origin.TEST else f" ({self.folds} folds)"
        found = [
            (
                f"Thresholds come from {self.calibration_images} clean calibration images. No share of "
                "flagged images is measured on an image that its own threshold was taken from."
            ),
            (
                f"False alarms: {self.clean_images} clean {self.clean.name_of_images}{folds}. "
                f"{self.clean.meaning}"
            ),
        ]
        if self.attacked is self.clean:
            found.append("Attacks: images of the same split, judged alike.")
        else:
            name = self.attacked.name_of_images
            found.append(f"Attacks: attacked {name}{folds}. {self.attacked.meaning}")
        if self.attacked is Origin.CROSS_FITTED and self.paths_of == "fit":
            found.append(
                "The path distributions were fitted on clean fit images, as the table has no "
                "training images: they know the originals of the attacked ones, and figures of "
                "attacks may be off for that."
            )
        found.append(
            "Areas and ROC curves compare scores and use no threshold that ships; a curve's "
            "own thresholds come from the clean images that it is drawn against."
        )
        found.append(
            "Intervals hold 95 %: exact (Clopper-Pearson) for shares, bootstrap for areas. Images "
            "share thresholds, so that the intervals leave out what another calibration would "
            "change."
        )
        return tuple(found)
