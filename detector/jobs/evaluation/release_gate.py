r"""Whether a bundle may follow the released one: no figure may have fallen.

Figures move by chance. One fell where the whole interval of its loss lies above nothing, that is,
where

.. math:: r - c > \sqrt{(r - r_{low})^2 + (c_{high} - c)^2}

for the released figure r and the candidate's c. Both are measured on the same images and usually
rise and fall together, so that the interval is rather too wide than too narrow.

Reference:
    Zou and Donner, "Construction of confidence limits about effect measures", 2008.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from detector.errors import DataError, GateError
from detector.jobs.evaluation.adaptive_belief import strongest_attacks, unbelievable_levels
from detector.jobs.evaluation.estimates import Estimate, difference_of
from detector.jobs.evaluation.figures import ScoreFigures
from detector.jobs.evaluation.report import EvaluationReport
from detector.jobs.evaluation.report_sections import AdaptiveFigures

__all__ = ["GateRefusal", "gate_refusals", "require_promotion"]


@dataclass(frozen=True, kw_only=True, slots=True)
class GateRefusal:
    """A figure that stands against promotion.

    Args:
        figure: Which, as ``standard, learnt: worst AUROC``.
        released: What it is in the released bundle; None where it need not be compared.
        candidate: What it is in the new one; None where it is missing.
        reason: Why it stands against promotion, in a sentence.
    """

    figure: str
    released: float | None
    candidate: float | None
    reason: str


def gate_refusals(
    released: EvaluationReport, candidate: EvaluationReport
) -> tuple[GateRefusal, ...]:
    """What stands against promoting a bundle; nothing where it may be promoted.

    Compared are accuracy and, for each level and fusion, the worst and the mean AUROC and the mean
    share found at each budget. More false alarms than before stand against it only where they are
    more than the budget: a calibration with more images uses more of its budget on purpose.

    Where attackers who know the detector were let loose on both, compared is also what the
    strongest of those that both met leave alone, at each level, epsilon and budget; not where the
    released figure is of an attacker that failed a health check, for then less may be left alone.

    Args:
        released: Report of the last released bundle.
        candidate: Report of the new one.

    Raises:
        DataError: If the reports are of different plans.
    """
    if released.plan_digest != candidate.plan_digest:
        raise DataError(
            "Reports should be of the same plan to be compared. Found "
            f"{released.plan_name} ({released.plan_digest[:12]}) for the released bundle and "
            f"{candidate.plan_name} ({candidate.plan_digest[:12]}) for the new one. "
            "Evaluate both with one plan."
        )
    return tuple(_refusals(released, candidate))


def require_promotion(released: EvaluationReport, candidate: EvaluationReport) -> None:
    """Refuse to promote a bundle whose figures fell.

    Args:
        released: Report of the last released bundle.
        candidate: Report of the new one.

    Raises:
        GateError: If a figure fell, naming each of them.
        DataError: If the reports are of different plans.
    """
    if refusals := gate_refusals(released, candidate):
        listed = "\n".join(f"- {each.figure}: {each.reason}" for each in refusals)
        raise GateError(
            "No figure of a bundle should fall against the released one by more than chance. "
            f"Found {len(refusals)} that stand against it:\n{listed}\n"
            "Keep the released bundle, or find the cause and evaluate again."
        )


def _refusals(released: EvaluationReport, candidate: EvaluationReport) -> Iterator[GateRefusal]:
    for control in candidate.controls:
        if not control.holds:
            yield GateRefusal(
                figure=f"control {control.name}, {control.subject}",
                released=None,
                candidate=control.figure,
                reason="it does not hold, so that no figure of the report counts",
            )
    yield from _fell("accuracy", released.accuracy.estimate, candidate.accuracy.estimate)
    found = _scores(candidate)
    for name, before in _scores(released).items():
        if name in found:
            yield from _score_refusals(name, before, found[name])
        else:
            yield GateRefusal(
                figure=name, released=None, candidate=None, reason="the new report lacks it"
            )
    if released.adaptive is not None and candidate.adaptive is not None:
        yield from _adaptive_refusals(released.adaptive, candidate.adaptive)


def _scores(report: EvaluationReport) -> dict[str, ScoreFigures]:
    """The scores that ship, by level and fusion."""
    return {
        f"{level.level}, {fusion.name}": fusion
        for level in report.levels
        for fusion in level.fusions
    }


def _score_refusals(
    name: str, released: ScoreFigures, candidate: ScoreFigures
) -> Iterator[GateRefusal]:
    # An attack that never succeeds has no AUROC: nothing is lost where there is none any more.
    if released.worst is not None and candidate.worst is not None:
        yield from _fell(f"{name}: worst AUROC", released.worst.auroc, candidate.worst.auroc)
    if released.mean_auroc is not None and candidate.mean_auroc is not None:
        yield from _fell(f"{name}: mean AUROC", released.mean_auroc, candidate.mean_auroc)
    after = {each.budget: each.estimate for each in candidate.mean_found}
    for each in released.mean_found:
        now = after.get(each.budget)
        if each.estimate is not None and now is not None:
            figure = f"{name}: mean share found at {each.budget:g}"
            yield from _fell(figure, each.estimate, now)
    yield from _alarm_refusals(name, released, candidate)


def _alarm_refusals(
    name: str, released: ScoreFigures, candidate: ScoreFigures
) -> Iterator[GateRefusal]:
    before = {alarms.budget: alarms for alarms in released.false_alarms}
    for alarms in candidate.false_alarms:
        figure = f"{name}: false alarms at {alarms.budget:g}"
        for each in alarms.classes:
            if not each.keeps and each.flagged is not None:
                yield GateRefusal(
                    figure=f"{figure}, {each.name}",
                    released=None,
                    candidate=each.flagged.rate,
                    reason=f"{each.flagged.rate:.2%} is flagged; the promise is broken",
                )
        if alarms.pooled.rate > alarms.budget and alarms.budget in before:
            # Losing is having fewer images that are left alone.
            spared = [_mirrored(each.pooled.estimate) for each in (before[alarms.budget], alarms)]
            yield from _fell(f"{figure}, images left alone", *spared)


def _adaptive_refusals(
    released: AdaptiveFigures, candidate: AdaptiveFigures
) -> Iterator[GateRefusal]:
    for level in unbelievable_levels(candidate):
        yield GateRefusal(
            figure=f"{level}: attackers who know the detector",
            released=None,
            candidate=None,
            reason="none passes all health checks, so that nothing is known of how many succeed",
        )
    met = {point.attack for point in released.points} & {each.attack for each in candidate.points}
    before, after = (
        strongest_attacks(point for point in each.points if point.attack in met)
        for each in (released, candidate)
    )
    for place, strongest in before.items():
        if strongest.believable and place in after:
            figure = (
                f"{strongest.level}: images left alone by attackers who know the detector, "
                f"epsilon {strongest.epsilon:.4f}, budget {strongest.budget:g}"
            )
            spared = [_mirrored(each.success.estimate) for each in (strongest, after[place])]
            yield from _fell(figure, *spared)


def _mirrored(estimate: Estimate) -> Estimate:
    return Estimate(value=1 - estimate.value, low=1 - estimate.high, high=1 - estimate.low)


def _fell(figure: str, released: Estimate, candidate: Estimate) -> Iterator[GateRefusal]:
    lost = difference_of(released, candidate)
    if lost.low > 0:
        yield GateRefusal(
            figure=figure,
            released=released.value,
            candidate=candidate.value,
            reason=(
                f"{released.value:.4f} became {candidate.value:.4f}; "
                f"chance explains a loss of {lost.value - lost.low:.4f}"
            ),
        )
