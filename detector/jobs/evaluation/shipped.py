"""What a bundle ships, found again on the path table that it was calibrated with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import torch
from torch import Tensor

from detector.bundle import Bundle
from detector.data import Splits
from detector.errors import DataError, InvalidInputError
from detector.fingerprints import network_digest
from detector.jobs.evaluation.contenders import Contender
from detector.jobs.evaluation.plan import EvaluationPlan
from detector.jobs.evaluation.subject import Recipe, Subject
from detector.jobs.fusions import FusionFit, fusion_fit
from detector.path_table import PathTable
from detector.pipeline import LevelName
from detector.scoring import FusionName
from detector.scoring.classifiers import ClassifierName

__all__ = [
    "CalibrationFacts",
    "calibration_facts",
    "recipe_of",
    "require_same_classes",
    "require_same_detector",
    "require_same_network",
    "same_scores",
    "shipped_contender",
]

_TOLERANCE = 1e-3
"""Between calibration scores of two machines, absolutely or relatively."""
_E = TypeVar("_E", bound=StrEnum)


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationFacts:
    """How the scores that ship were fitted, as a bundle tells it.

    Args:
        fusions: Fusion of each level.
        classifier: Which trees, where a fusion is learnt.
        seed: Seed of what is random in fitting.
    """

    fusions: Mapping[LevelName, FusionName]
    classifier: ClassifierName
    seed: int

    def fit(self, level: LevelName) -> FusionFit:
        """How the fusion of a level was fitted."""
        return fusion_fit(self.fusions[level], self.classifier)


def calibration_facts(bundle: Bundle) -> CalibrationFacts:
    """How the scores of a bundle were fitted; as by default where it does not say.

    Args:
        bundle: The bundle.
    """
    facts = bundle.manifest.provenance.get("calibration", {})
    return CalibrationFacts(
        fusions={info.name: info.fusion for info in bundle.manifest.levels},
        classifier=ClassifierName(facts.get("classifier", ClassifierName.GRADIENT_BOOSTING)),
        seed=int(facts.get("seed", 0)),
    )


def recipe_of(bundle: Bundle, plan: EvaluationPlan) -> Recipe:
    """How the scores of a plan are fitted, so that those which ship come out again.

    Args:
        bundle: What is evaluated.
        plan: Its levels and fusions.

    Raises:
        InvalidInputError: If the plan names a level that the bundle has not or a fusion that does
            not exist, or leaves out what ships where no level is named.
    """
    pipeline = bundle.pipeline
    levels = {pipeline.level(name).name: pipeline.level(name).copies for name in plan.levels}
    fusions = tuple(_named(FusionName, name, "fusions") for name in plan.fusions)
    facts = calibration_facts(bundle)
    level = pipeline.default_level
    fusion = facts.fusions[level]
    if level not in levels or fusion not in fusions:
        raise InvalidInputError(
            f"The plan {plan.name} should evaluate what the bundle ships, {fusion} at {level}. "
            f"Found {', '.join(fusions)} at {', '.join(levels)}. Add it to levels and fusions.",
            field="levels",
        )
    return Recipe(
        levels=levels,
        fusions=fusions,
        promise=pipeline.conformal.promise,
        classifier=facts.classifier,
        seed=facts.seed,
    )


def require_same_classes(splits: Splits, class_names: tuple[str, ...]) -> None:
    """Refuse images of other classes than those of a network.

    Args:
        splits: The data set.
        class_names: Name of each class of the network.

    Raises:
        DataError: If the data set has others.
    """
    if splits.class_names != class_names:
        raise DataError(
            f"The data set should have the classes {', '.join(class_names)}. "
            f"Found {', '.join(splits.class_names)}. Give the one that the network was trained on."
        )


def require_same_network(table: PathTable, bundle: Bundle) -> None:
    """Refuse a path table of another network, before the long work.

    Args:
        table: What calibration is said to have used.
        bundle: What is evaluated.

    Raises:
        DataError: If it is of another one.
    """
    if table.info.network != network_digest(bundle.pipeline.network):
        raise DataError(
            f"{table.folder} should have been extracted with the bundle's network. "
            "Found another network. Give the table that the bundle was calibrated with."
        )


def same_scores(scores: Tensor, others: Tensor) -> bool:
    """Whether two machines may have found these scores for the same calibration images.

    Args:
        scores: Shape (M,).
        others: Shape (M,), or another one, which are others then.
    """
    return len(scores) == len(others) and torch.allclose(
        scores, others, rtol=_TOLERANCE, atol=_TOLERANCE
    )


def require_same_detector(subject: Subject, bundle: Bundle, table: PathTable) -> None:
    """Refuse a table that does not give what ships, to the last calibration score.

    Args:
        subject: What was fitted on the table.
        bundle: What is evaluated.
        table: What calibration is said to have used.

    Raises:
        DataError: If it gives something else.
    """
    shipped = calibration_facts(bundle).fusions
    for contender in subject.contenders:
        level = contender.level.name
        if contender.fusion is not shipped[level]:
            continue
        scores = bundle.pipeline.levels[level].conformal.scores
        if not same_scores(scores, contender.level.conformal.scores):
            raise DataError(
                f"{table.folder} should be the table that the bundle was calibrated with. Found "
                f"other calibration scores at {level}. Give that table, with the images that "
                "calibration used."
            )


def shipped_contender(subject: Subject, bundle: Bundle) -> Contender:
    """The score that ships where a caller names no level.

    Args:
        subject: What was fitted by the bundle's recipe.
        bundle: What is evaluated.
    """
    first = bundle.manifest.levels[0]
    return next(
        each
        for each in subject.contenders
        if (each.level.name, each.fusion) == (first.name, first.fusion)
    )


def _named(kind: type[_E], name: str, field: str) -> _E:
    try:
        return kind(name)
    except ValueError as error:
        raise InvalidInputError(
            f"{field} should be among {', '.join(kind)}. Found {name!r}.", field=field
        ) from error
