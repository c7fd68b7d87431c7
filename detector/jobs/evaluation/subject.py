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
from detector.jobs.evaluation.plan import EvaluationPlan
from detector.jobs.fit_levels import Measured
from detector.jobs.fit_rows import read_fit_rows
from detector.jobs.fit_scores import fit_path_scores, read_clean_images
from detector.jobs.fusions import fusion_fit
from detector.path_table import PathTable, SplitName
from detector.pipeline import LevelName
from detector.scoring import FusionName, Statistics
from detector.scoring.classifiers import ClassifierName

__all__ = ["Subject"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """What is evaluated on one network.

    Args:
        ground: What everything is fitted and calibrated on.
        contenders: Each fusion at each level.
        baselines: Fitted scores to compare with.
    """

    ground: Ground
    contenders: tuple[Contender, ...]
    baselines: tuple[Baseline, ...]

    @classmethod
    def of(
        cls,
        table: PathTable,
        levels: Mapping[LevelName, tuple[str, ...]],
        plan: EvaluationPlan,
        *,
        fusions: Sequence[FusionName],
        promise: Promise,
    ) -> Subject:
        """Fit everything on a table of training, fit and calibration images.

        Args:
            table: What calibration used.
            levels: Copies that each level looks at.
            plan: What is evaluated.
            fusions: Which fusions.
            promise: What calibration promises.

        Raises:
            DataError: If images or copies are missing in the table.
            CalibrationError: If there are too few of them.
            InvalidInputError: If the plan names a baseline that does not exist.
        """
        copies = max(levels.values(), key=len)
        baselines = _baselines(table, plan)
        widest = Statistics(fit_path_scores(table), copies)
        calibration = measure_images(
            table, SplitName.CALIBRATION, statistics=widest, baselines=baselines
        )
        ground = Ground(
            measured=Measured(
                statistics=widest,
                fit=read_fit_rows(table, widest),
                calibration=calibration.statistics,
                predicted=torch.from_numpy(calibration.predicted),
            ),
            calibration=calibration,
            promise=promise,
            seed=plan.seed,
        )
        contenders = tuple(
            ground.contender(
                fusion,
                level,
                looked_at,
                fusion_fit(fusion, ClassifierName.GRADIENT_BOOSTING),
            )
            for level, looked_at in levels.items()
            for fusion in fusions
        )
        return cls(ground=ground, contenders=contenders, baselines=baselines)

    @property
    def copies(self) -> tuple[str, ...]:
        """All copies that anything here looks at."""
        squeezed = (copy for each in self.baselines for copy in each.copies)
        return tuple(dict.fromkeys((*self.ground.widest.copies, *squeezed)))

    def measure(self, table: PathTable, attack: str) -> MeasuredImages:
        """What all scores say about test images under an attack, or clean ones."""
        return measure_images(
            table,
            SplitName.TEST,
            attack,
            statistics=self.ground.widest,
            baselines=self.baselines,
        )


@torch.inference_mode()
def _baselines(table: PathTable, plan: EvaluationPlan) -> tuple[Baseline, ...]:
    if not plan.baselines:
        return ()
    held = set(table.part(SplitName.CALIBRATION).copies)
    squeezers = SQUEEZERS if held.issuperset(SQUEEZERS) else ()
    names = len(table.info.class_names)
    known = {
        each.name: each for each in all_baselines(table.info.layout, names, squeezers=squeezers)
    }
    unknown = [name for name in plan.baselines if name not in known]
    if unknown:
        raise InvalidInputError(
            f"baselines should be among {', '.join(known)}. Found {', '.join(unknown)}. "
            f"Feature squeezing needs the copies {', '.join(SQUEEZERS)} in the table.",
            field="baselines",
        )
    clean = read_clean_images(table)
    return tuple(known[name].fit(clean).eval() for name in plan.baselines)
