"""A network under evaluation: everything that is fitted on its table, ready for test images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from detector.baselines import SQUEEZERS, Baseline, all_baselines
from detector.conformal import Promise
from detector.errors import InvalidInputError
from detector.jobs.evaluation.contenders import Contender, Ground
from detector.jobs.evaluation.measured_images import MeasuredImages, measure_images
from detector.jobs.fit_rows import read_fit_rows
from detector.jobs.fit_scores import fit_path_scores, read_clean_images
from detector.jobs.fusions import FusionFit, fusion_fit
from detector.path_table import PathTable, SplitName
from detector.pipeline import LevelName
from detector.scoring import FusionName, Statistics
from detector.scoring.classifiers import ClassifierName

__all__ = ["Recipe", "Subject"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How fused scores are fitted and calibrated.

    Args:
        levels: Copies that each level looks at.
        fusions: Which fusions, at each level.
        promise: What calibration promises.
        classifier: Which trees, where a fusion is learnt.
        seed: Seed of what is random in fitting.
    """

    levels: Mapping[LevelName, tuple[str, ...]]
    fusions: tuple[FusionName, ...]
    promise: Promise
    classifier: ClassifierName = ClassifierName.GRADIENT_BOOSTING
    seed: int = 0

    @property
    def copies(self) -> tuple[str, ...]:
        """All copies that some level looks at."""
        return tuple(dict.fromkeys(copy for copies in self.levels.values() for copy in copies))

    def fit(self, fusion: FusionName) -> FusionFit:
        """How a fusion is fitted."""
        return fusion_fit(fusion, self.classifier)


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """What is evaluated on one network.

    Args:
        recipe: How fused scores were fitted.
        ground: What everything is fitted and calibrated on.
        contenders: Each fusion at each level.
        baselines: Fitted scores to compare with.
    """

    recipe: Recipe
    ground: Ground
    contenders: tuple[Contender, ...]
    baselines: tuple[Baseline, ...]

    @classmethod
    def of(cls, table: PathTable, recipe: Recipe, baselines: Sequence[str]) -> Subject:
        """Fit everything on a table of training, fit and calibration images.

        Args:
            table: The path table.
            recipe: How fused scores are fitted.
            baselines: Names of the scores to compare with.

        Raises:
            DataError: If images or copies are missing in the table.
            CalibrationError: If there are too few of them.
            InvalidInputError: If a baseline does not exist.
        """
        fitted = _baselines(table, baselines)
        widest = Statistics(fit_path_scores(table), recipe.copies)
        calibration = measure_images(
            table, SplitName.CALIBRATION, statistics=widest, baselines=fitted
        )
        ground = Ground.of(
            widest,
            read_fit_rows(table, widest),
            calibration,
            promise=recipe.promise,
            seed=recipe.seed,
        )
        contenders = tuple(
            ground.contender(fusion, level, copies, recipe.fit(fusion))
            for level, copies in recipe.levels.items()
            for fusion in recipe.fusions
        )
        return cls(recipe=recipe, ground=ground, contenders=contenders, baselines=fitted)

    @property
    def copies(self) -> tuple[str, ...]:
        """All copies that anything here looks at."""
        squeezed = (copy for each in self.baselines for copy in each.copies)
        return tuple(dict.fromkeys((*self.ground.widest.copies, *squeezed)))

    def measure(self, table: PathTable, attack: str, *, limit: int | None = None) -> MeasuredImages:
        """What all scores say about test images.

        Args:
            table: Path table of the same network.
            attack: Label of the attack, or ``clean``.
            limit: Only so many of the first rows; all by default.

        Raises:
            DataError: If the table has them not, or not with all copies.
        """
        return measure_images(
            table,
            SplitName.TEST,
            attack,
            statistics=self.ground.widest,
            baselines=self.baselines,
            limit=limit,
        )


@torch.inference_mode()
def _baselines(table: PathTable, names: Sequence[str]) -> tuple[Baseline, ...]:
    if not names:
        return ()
    held = set(table.part(SplitName.CALIBRATION).copies)
    squeezers = SQUEEZERS if held.issuperset(SQUEEZERS) else ()
    classes = len(table.info.class_names)
    known = {
        each.name: each for each in all_baselines(table.info.layout, classes, squeezers=squeezers)
    }
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InvalidInputError(
            f"baselines should be among {', '.join(known)}. Found {', '.join(unknown)}. "
            f"Feature squeezing needs the copies {', '.join(SQUEEZERS)} in the table.",
            field="baselines",
        )
    clean = read_clean_images(table)
    return tuple(known[name].fit(clean).eval() for name in names)
