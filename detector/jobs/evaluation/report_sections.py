"""The sections of a report beside the figures of single scores."""

from __future__ import annotations

from dataclasses import dataclass

from detector.jobs.evaluation.estimates import Estimate, Share
from detector.jobs.evaluation.figures import ScoreFigures, ShareAtBudget

__all__ = [
    "AdaptiveFigures",
    "AdaptivePoint",
    "CalibrationSize",
    "Cost",
    "FewShotPoint",
    "HalfSuccess",
    "HealthCheck",
    "LeftOutCell",
    "LevelFigures",
    "PlainNetworkFigures",
    "ShiftFigures",
    "TransferFigures",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What a verdict costs.

    Args:
        passes: Images that the network sees for one verdict.
        milliseconds: Time an image, network and all.
        overhead: Time of everything beside the network's passes, as a share of theirs.
        batch_size: Images at once in that measurement.
        device: Where it was measured, as torch names it.
    """

    passes: int
    milliseconds: float
    overhead: float
    batch_size: int
    device: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LevelFigures:
    """One level of compute.

    Args:
        level: Its name.
        copies: Names of the copies that it looks at.
        cost: What a verdict costs.
        fusions: Figures of each fused score.
    """

    level: str
    copies: tuple[str, ...]
    cost: Cost
    fusions: tuple[ScoreFigures, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftOutCell:
    """One attack, found by a score that was fitted without one family of attacks.

    Args:
        level: Name of the level.
        family: The family left out of fitting.
        attack: Label of the attack.
        unknown: Whether the attack is of that family, so that its like was never seen.
        auroc: Area under the ROC curve; None where the attack never succeeds.
    """

    level: str
    family: str
    attack: str
    unknown: bool
    auroc: Estimate | None


@dataclass(frozen=True, kw_only=True, slots=True)
class FewShotPoint:
    """A classifier on path bits that learnt from few images.

    Args:
        classifier: Its name.
        attack: Label of the attack that it learnt and is tested on.
        images_per_class: Images of each class that it learnt from.
        auroc: Area under the ROC curve, over the draws of these images.
    """

    classifier: str
    attack: str
    images_per_class: int
    auroc: Estimate


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationSize:
    """False alarms of a calibration with fewer images.

    Args:
        images: Number of calibration images, all classes together.
        flagged: Share of clean test images that is flagged at each budget; None where no class
            can promise it.
        worst_auroc: Smallest area over the attacks; None where it was not measured.
    """

    images: int
    flagged: tuple[ShareAtBudget, ...]
    worst_auroc: Estimate | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ShiftFigures:
    """Clean images under a natural change, or noise of an attack's norm.

    Args:
        name: The corruption, or the noise's label.
        severity: From 1 to 5; None where it has none.
        level: Name of the level.
        fusion: Name of the fused score.
        accuracy: Share of the changed images that the network classifies right.
        flagged: Share of them that is flagged at each budget that ships.
    """

    name: str
    severity: int | None
    level: str
    fusion: str
    accuracy: Share
    flagged: tuple[ShareAtBudget, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class TransferFigures:
    """Attacks made on another network and judged on the one that is evaluated.

    Args:
        network: What the other network is, as ``plain (cifar-resnet20, plain, seed 1)``.
        digest: SHA-256 of its weights; labels of its attacks end in ``@`` and the beginning of it.
        scores: Figures of each fused score at each level; false alarms stand with the levels.
    """

    network: str
    digest: str
    scores: tuple[ScoreFigures, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class AdaptivePoint:
    """An attacker who knows the detector, at one epsilon.

    Args:
        attack: The attacker, as ``selective-pgd``.
        level: Name of the level that was attacked.
        epsilon: Radius in [0, 1] pixel scale.
        success: Share of images that are misclassified and not flagged, at each budget: SR@5.
        believable: Whether the attacker passes all health checks at this level. Where not, success
            is no more than a lower bound.
    """

    attack: str
    level: str
    epsilon: float
    success: tuple[ShareAtBudget, ...]
    believable: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class HalfSuccess:
    """How far an attacker has to go for every other image.

    Args:
        attack: The attacker.
        level: Name of the level that was attacked.
        budget: False-alarm budget, in (0, 1).
        epsilon: Radius at which half of the images succeed; None where no tried radius does.
        believable: Whether the attacker passes all health checks at this level. Where not, less
            than that radius may be enough.
    """

    attack: str
    level: str
    budget: float
    epsilon: float | None
    believable: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class HealthCheck:
    """Whether an attack is as strong as it should be.

    Args:
        name: What was checked, as ``success grows with epsilon``.
        holds: Whether it does.
        finding: What was found, in a sentence.
    """

    name: str
    holds: bool
    finding: str


@dataclass(frozen=True, kw_only=True, slots=True)
class AdaptiveFigures:
    """What attackers who know the detector reach.

    Args:
        points: Their success at each epsilon.
        half: The epsilon at which half of the images succeed.
        health: Whether the attacks are as strong as they should be.
    """

    points: tuple[AdaptivePoint, ...]
    half: tuple[HalfSuccess, ...]
    health: tuple[HealthCheck, ...]

    @property
    def failed(self) -> tuple[HealthCheck, ...]:
        """The health checks that do not hold."""
        return tuple(check for check in self.health if not check.holds)


@dataclass(frozen=True, kw_only=True, slots=True)
class PlainNetworkFigures:
    """The network before decoupling, under attacks of its own.

    Args:
        accuracy: Share of clean test images that it classifies right.
        scores: Figures of the same scores on it.
    """

    accuracy: Share
    scores: tuple[ScoreFigures, ...]
