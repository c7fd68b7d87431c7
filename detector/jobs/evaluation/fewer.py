"""What fewer images do: the paper's table on path bits, and smaller calibrations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import (
    AdaBoostClassifier,
    GradientBoostingClassifier,
    RandomForestClassifier,
)

from detector.jobs.evaluation.contenders import Contender
from detector.jobs.evaluation.estimates import Estimate, Share
from detector.jobs.evaluation.figures import ShareAtBudget
from detector.jobs.evaluation.measured_images import MeasuredImages, measure_images
from detector.jobs.evaluation.measured_rows import MeasuredRows
from detector.jobs.evaluation.plan import EvaluationPlan
from detector.jobs.evaluation.report_sections import CalibrationSize, FewShotPoint
from detector.jobs.evaluation.roc import auroc
from detector.path_table import PathTable, SplitName
from detector.scoring import PathScores, Statistics

__all__ = ["CLASSIFIERS", "FewShotPool", "calibration_sizes", "few_shot", "few_shot_on"]

CLASSIFIERS: dict[str, Callable[[int], Any]] = {
    "random-forest": lambda seed: RandomForestClassifier(random_state=seed),
    "adaboost": lambda seed: AdaBoostClassifier(random_state=seed),
    "gradient-boosting": lambda seed: GradientBoostingClassifier(random_state=seed),
}
"""The paper's three, by name, each made from a seed."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FewShotPool:
    """Path bits of images on which an attack succeeded, to draw few of each class from.

    Args:
        labels: Class of each image, shape (N,).
        clean: Bits before the attack, shape (N, G).
        attacked: Bits after it, shape (N, G).
    """

    labels: NDArray[np.int64]
    clean: NDArray[np.bool_]
    attacked: NDArray[np.bool_]

    def areas(
        self,
        build: Callable[[int], Any],
        count: int,
        seeds: Sequence[int],
        *,
        negatives: NDArray[np.bool_],
        positives: NDArray[np.bool_],
    ) -> list[float]:
        """AUROC on other images of a classifier that saw few, one for each seed.

        Args:
            build: Makes a classifier from a seed.
            count: Images of each class, clean and attacked.
            seeds: One draw of the images, and one fit, for each.
            negatives: Bits of clean images of other ids.
            positives: Bits of attacked images of other ids.
        """
        found = []
        for seed in seeds:
            rows = _draw(self.labels, count, seed)
            bits = np.concatenate([self.clean[rows], self.attacked[rows]])
            fitted = build(seed).fit(bits, np.repeat([0, 1], len(rows)))
            scores = (fitted.predict_proba(each)[:, 1] for each in (negatives, positives))
            found.append(auroc(*scores))
        return found


def few_shot_on(
    table: PathTable, scores: PathScores, test: MeasuredRows, plan: EvaluationPlan
) -> tuple[FewShotPoint, ...]:
    """The paper's table on fit images of a path table, under the attack that the plan names.

    Args:
        table: Fit images, clean and attacked.
        scores: Any scores of their paths; only bits are read.
        test: Test images.
        plan: Attack, counts and seeds; without counts there is nothing to measure.

    Raises:
        DataError: If the attack is not in the table.
    """
    if not plan.few_shot:
        return ()
    attack = plan.few_shot_attack
    bare = Statistics(scores)
    return few_shot(
        clean=measure_images(table, SplitName.FIT, statistics=bare),
        attacked=measure_images(table, SplitName.FIT, attack, statistics=bare),
        test_clean=test.others,
        test_attacked=test.attacked[plan.attacks.index(attack)],
        counts=plan.few_shot,
        seeds=plan.seeds,
    )


def few_shot(
    *,
    clean: MeasuredImages,
    attacked: MeasuredImages,
    test_clean: MeasuredImages,
    test_attacked: MeasuredImages,
    counts: Sequence[int],
    seeds: Sequence[int],
) -> tuple[FewShotPoint, ...]:
    """The paper's three classifiers on path bits, fitted on few images of each class.

    Fitted on images of the fit split and the same images attacked; tested on successes among test
    images against clean test images of other ids. AUROC is that of scores; the paper's predecessor
    took it from hard labels, which is balanced accuracy.

    Args:
        clean: Clean fit images.
        attacked: The same images attacked.
        test_clean: Clean test images that were not attacked.
        test_attacked: Attacked test images.
        counts: Images of each class; left out where a class has fewer successes.
        seeds: One draw of the images, and one fit, for each.

    Reference:
        Li et al., "Interpretable Neural Network Decoupling", ECCV 2020.
    """
    succeeded = attacked.rows(attacked.success)
    place = {image: row for row, image in enumerate(clean.image_ids.tolist())}
    pool = FewShotPool(
        labels=succeeded.labels,
        clean=clean.bits[[place[image] for image in succeeded.image_ids.tolist()]],
        attacked=succeeded.bits,
    )
    found = test_attacked.rows(test_attacked.success)
    least = min(np.bincount(pool.labels, minlength=int(clean.labels.max()) + 1).tolist())
    points = []
    for name, build in CLASSIFIERS.items():
        for count in (count for count in counts if count <= least and len(found)):
            areas = pool.areas(build, count, seeds, negatives=test_clean.bits, positives=found.bits)
            points.append(
                FewShotPoint(
                    classifier=name,
                    attack=attacked.attack,
                    images_per_class=count,
                    auroc=Estimate(value=float(np.mean(areas)), low=min(areas), high=max(areas)),
                )
            )
    return tuple(points)


def calibration_sizes(
    contender: Contender,
    clean: MeasuredImages,
    *,
    sizes: Sequence[int],
    budgets: Sequence[float],
    seed: int,
) -> tuple[CalibrationSize, ...]:
    """False alarms on clean test images of calibrations with fewer images.

    Args:
        contender: The score.
        clean: Clean test images.
        sizes: Numbers of calibration images; larger ones than there are are left out.
        budgets: False-alarm budgets, each in (0, 1).
        seed: Seed of the choice.
    """
    held = len(contender.ground.calibration)
    order = np.random.default_rng(seed).permutation(held)
    scores = contender.scores(clean)
    found = []
    for size in (size for size in sizes if size <= held):
        flags = contender.smaller(order[:size]).flags_of(scores, clean.predicted, budgets)
        found.append(
            CalibrationSize(
                images=size,
                flagged=tuple(
                    ShareAtBudget(
                        budget=budget,
                        share=Share.of_flags(flags[budget]) if budget in flags else None,
                    )
                    for budget in budgets
                ),
            )
        )
    return tuple(found)


def _draw(labels: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Rows of so many images of each class."""
    generator = np.random.default_rng(seed)
    return np.concatenate(
        [
            generator.permutation(np.flatnonzero(labels == label))[:count]
            for label in np.unique(labels)
        ]
    )
