"""What a sweep found out: accuracy, multiplications, time and detection of each network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from detector.errors import InvalidInputError
from detector.jobs.cost_report import Spread
from detector.jobs.evaluation.estimates import Estimate, Share, difference_of
from detector.jobs.evaluation.figures import ScoreFigures
from detector.jobs.json_report import JsonReport
from detector.jobs.sparsity_sweep.options import MeasurePlan

__all__ = ["MeasuredNetwork", "NetworkFigures", "SweepReport", "Times"]

SWEEP_SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Times:
    """What one image costs on one thread, from pixels in memory.

    All are medians over the same images, taken in turn, image by image, the fastest of three runs
    each. Those of the ways are ratios to the plain network on the same image.

    Args:
        images: Number of images.
        plain_ms: Time of the plain network, run eagerly, milliseconds.
        masked: The decoupled network that computes all filters and drops the closed ones.
        served: The network as the pipeline runs it on this machine.
        verdict: The whole pipeline at the level ``fast``, verdict included.
    """

    images: int
    plain_ms: Estimate
    masked: Estimate
    served: Estimate
    verdict: Estimate


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkFigures:
    """All figures of one network, on test images.

    Args:
        open_share: Target share of open gates that it was trained for.
        network: Digest of its weights.
        accuracy: Share of clean images that are classified right.
        open_gates: Share of an image's gates that are open, over images.
        kept: Multiplications, modules included, as shares of the plain network's, over images.
        modules: What of them the controlling modules cost.
        times: What an image costs.
        detection: How well the level ``fast`` finds attacks, by a fusion that has seen none.
    """

    open_share: float
    network: str
    accuracy: Share
    open_gates: Spread
    kept: Spread
    modules: float
    times: Times
    detection: ScoreFigures

    @property
    def areas(self) -> dict[str, Estimate | None]:
        """Area under the ROC curve for each attack, by its label; None where it never succeeds."""
        return {
            each.attack: None if each.detection is None else each.detection.auroc
            for each in self.detection.attacks
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredNetwork(JsonReport):
    """The figures of one network, and what they were measured with: what a sweep continues from.

    Args:
        plan: What was measured.
        data: Digest of the test images.
        figures: What was found.
        schema_version: Version of this format.
    """

    kind: ClassVar = "figures of one network"
    made_by: ClassVar = "offpath sweep"
    version: ClassVar = SWEEP_SCHEMA_VERSION

    plan: MeasurePlan
    data: str
    figures: NetworkFigures
    schema_version: int = SWEEP_SCHEMA_VERSION


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepReport(JsonReport):
    """The networks of a sweep beside each other.

    Args:
        backbone: Which network.
        plan: What was measured of each.
        data: Digest of the test images.
        test_images: Number of test images.
        plain_accuracy: Share of the same images that the plain network classifies right.
        networks: The networks, the largest share of open gates first.
        provenance: Command, time and versions.
        schema_version: Version of this format.

    Raises:
        InvalidInputError: If there is no network, or they stand in another order.
    """

    kind: ClassVar = "a sweep"
    made_by: ClassVar = "offpath sweep"
    version: ClassVar = SWEEP_SCHEMA_VERSION

    backbone: str
    plan: MeasurePlan
    data: str
    test_images: int
    plain_accuracy: Share
    networks: tuple[NetworkFigures, ...]
    provenance: dict[str, Any] = field(default_factory=dict)
    schema_version: int = SWEEP_SCHEMA_VERSION

    def __post_init__(self) -> None:
        shares = [each.open_share for each in self.networks]
        if not shares or shares != sorted(set(shares), reverse=True):
            raise InvalidInputError(
                "Networks should be there, the largest share of open gates first. "
                f"Found {', '.join(map(str, shares)) or 'none'}.",
                field="networks",
            )

    @property
    def reference(self) -> NetworkFigures:
        """The network that the others are compared with: the one that may keep most gates open."""
        return self.networks[0]

    def accuracy_lost(self, figures: NetworkFigures) -> Estimate:
        """What a network lost against the reference, as a share of the images.

        Args:
            figures: One of the networks.
        """
        return difference_of(self.reference.accuracy.estimate, figures.accuracy.estimate)

    def area_lost(self, figures: NetworkFigures) -> Estimate | None:
        """What detection lost against the reference, as mean area over the attacks.

        Args:
            figures: One of the networks.

        Returns:
            None where other attacks succeed than on the reference, or none does: means of other
            attacks do not compare.
        """
        before, after = self.reference.detection.mean_auroc, figures.detection.mean_auroc
        same = _succeeding(self.reference) == _succeeding(figures)
        if before is None or after is None or not same:
            return None
        return difference_of(before, after)


def _succeeding(figures: NetworkFigures) -> set[str]:
    return {label for label, area in figures.areas.items() if area is not None}
