"""A sweep with everything in it that is hard to show."""

from __future__ import annotations

from detector.jobs.cost_report import Spread
from detector.jobs.evaluation.estimates import Estimate, Share
from detector.jobs.evaluation.figures import AttackFigures, Detection, ScoreFigures
from detector.jobs.sparsity_sweep import MeasurePlan, NetworkFigures, SweepReport, Times

__all__ = ["sample_sweep"]

_ATTACKS = ("pgd:8/255", "cw-l2:confidence=20,steps=150", "pgd:2/255")


def around(value: float, half: float) -> Estimate:
    return Estimate(value=value, low=value - half, high=value + half)


def sample_sweep(*, blind: bool = False, shares: tuple[float, ...] = ()) -> SweepReport:
    """Six networks, two of them close together; one attack never succeeds on the last of them.

    Args:
        blind: Whether no attack succeeds on any of them.
        shares: Other shares of open gates.
    """
    chosen = shares or (1.0, 0.8, 0.6, 0.5, 0.4, 0.3)
    networks = tuple(_network(share, blind=blind, last=share == min(chosen)) for share in chosen)
    return SweepReport(
        backbone="cifar-resnet20",
        plan=MeasurePlan(attacks=_ATTACKS),
        data="0123456789abcdef",
        test_images=10_000,
        plain_accuracy=Share.of(9211, 10_000),
        networks=networks,
    )


def _network(share: float, *, blind: bool, last: bool) -> NetworkFigures:
    kept = 0.2 + 0.7 * min(share, 0.81)  # the first two lie close together
    return NetworkFigures(
        open_share=share,
        network=f"{round(1000 * share):064d}",
        accuracy=Share.of(round(8700 + 400 * share), 10_000),
        open_gates=Spread(mean=share, low=share - 0.1, high=min(1.0, share + 0.1)),
        kept=Spread(mean=kept, low=kept - 0.06, high=kept + 0.07),
        modules=0.0049,
        times=Times(
            images=200,
            plain_ms=around(3.21, 0.02),
            masked=around(1.42, 0.02),
            served=around(0.6 + 0.7 * kept, 0.02),
            verdict=around(0.9 + 0.7 * kept, 0.03),
        ),
        detection=_detection(share, blind=blind, last=last),
    )


def _detection(share: float, *, blind: bool, last: bool) -> ScoreFigures:
    attacks = tuple(
        _attack(label, 0.99 - 0.1 * place - 0.1 * (1 - share), succeeds=not blind and not missed)
        for place, label in enumerate(_ATTACKS)
        for missed in [last and place == len(_ATTACKS) - 1]
    )
    areas = [each.detection.auroc.value for each in attacks if each.detection is not None]
    mean = around(sum(areas) / len(areas), 0.01) if areas else None
    return ScoreFigures(name="fast", attacks=attacks, mean_auroc=mean, worst=None, mean_found=())


def _attack(label: str, area: float, *, succeeds: bool) -> AttackFigures:
    found = Detection(auroc=around(area, 0.01), found=(), flagged=(), roc=())
    return AttackFigures(
        attack=label,
        images=300,
        success=Share.of(250 if succeeds else 0, 262),
        detection=found if succeeds else None,
        held=(),
    )
