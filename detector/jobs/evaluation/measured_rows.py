"""The test images of an evaluation, as all of its scores see them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.jobs.evaluation.attacked_rows import NULL_ATTACK
from detector.jobs.evaluation.bootstrap import Resamples
from detector.jobs.evaluation.measured_images import MeasuredImages
from detector.jobs.evaluation.plan import EvaluationPlan
from detector.jobs.evaluation.subject import Subject
from detector.path_table import CLEAN, PathTable

__all__ = ["MeasuredRows"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MeasuredRows:
    """Test images, clean, attacked and noisy; the attacked ones are the same for every attack.

    Args:
        clean: All of them, as they came.
        others: Those that were not attacked, as they came: the negatives.
        null: The attacked ones after an attack of no strength.
        attacked: The same after each attack of the plan.
        noisy: The same under each noise of the plan.
        resamples: What all figures of one network share.
    """

    clean: MeasuredImages
    others: MeasuredImages
    null: MeasuredImages
    attacked: tuple[MeasuredImages, ...]
    noisy: tuple[MeasuredImages, ...]
    resamples: Resamples

    @classmethod
    def of(cls, subject: Subject, rows: PathTable, plan: EvaluationPlan) -> MeasuredRows:
        """Let all scores of a network look at its rows.

        Args:
            subject: The scores.
            rows: What `extract_rows` gave; of more attacked images than the plan asks for, as an
                earlier plan may have left, the first ones are read.
            plan: What is evaluated.

        Raises:
            DataError: If a part is not there.
            InvalidInputError: If the plan attacks all test images, so that no negative is left.
        """
        clean = subject.measure(rows, CLEAN)
        null = subject.measure(rows, NULL_ATTACK, limit=plan.images)
        others = clean.rows(~np.isin(clean.image_ids, null.image_ids))
        return cls(
            clean=clean,
            others=others,
            null=null,
            attacked=tuple(subject.measure(rows, each, limit=plan.images) for each in plan.attacks),
            noisy=tuple(subject.measure(rows, each, limit=plan.images) for each in plan.noise),
            resamples=Resamples(
                negatives=len(others), images=len(null), replicates=plan.bootstrap, seed=plan.seed
            ),
        )

    @property
    def attacked_places(self) -> NDArray[np.int64]:
        """Where the attacked images stand among the clean ones, in the order of the attacks."""
        place = {image: row for row, image in enumerate(self.clean.image_ids.tolist())}
        return np.array([place[image] for image in self.null.image_ids.tolist()])
