"""A report of made-up scores whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from detector.jobs.evaluation.bootstrap import Resamples
from detector.jobs.evaluation.controls import (
    identity_control,
    noise_control,
    null_control,
    shuffle_control,
    shuffled,
)
from detector.jobs.evaluation.estimates import Estimate, Share
from detector.jobs.evaluation.false_alarms import false_alarms
from detector.jobs.evaluation.figures import ShareAtBudget
from detector.jobs.evaluation.measure import AttackedImages, measure_score
from detector.jobs.evaluation.report import EvaluationReport
from detector.jobs.evaluation.report_sections import (
    AdaptiveFigures,
    AdaptivePoint,
    CalibrationSize,
    Cost,
    FewShotPoint,
    HalfSuccess,
    HealthCheck,
    LeftOutCell,
    LevelFigures,
    PlainNetworkFigures,
    ShiftFigures,
    TransferFigures,
)

BUDGETS = (0.05, 0.01)
IMAGES, NEGATIVES = 120, 900
ATTACKS = {"fgsm:8/255": 2.5, "pgd:8/255": 3.5, "pgd:2/255": 1.5, "cw-l2": 1.0, "square:8/255": 0}
SHIFTS = ("gaussian_noise", "defocus-blur", "snow", "jpeg_compression")


def made_score(name, gain, *, ships=True, seed=0, through=""):
    """Figures of normal scores, with each attack moved by its own distance times a gain."""
    generator = np.random.default_rng(seed)
    resamples = Resamples(negatives=NEGATIVES, images=IMAGES, replicates=200, seed=0)
    clean = generator.normal(size=NEGATIVES)
    attacked = []
    for label, distance in ATTACKS.items():
        scores = generator.normal(size=IMAGES) + gain * distance
        right = generator.random(IMAGES) < 0.9
        success = right & (generator.random(IMAGES) < (0.95 if distance else 0))
        flags = {budget: scores > 2 - 10 * budget for budget in BUDGETS} if ships else {}
        attacked.append(
            AttackedImages(
                attack=f"{label}{through}",
                scores=scores,
                right_before=right,
                success=success,
                flags=flags,
            )
        )
    predicted = generator.integers(3, size=NEGATIVES)
    alarms = [
        false_alarms(
            flags=clean > np.quantile(clean, 1 - 0.6 * budget),
            predicted=predicted,
            labels=np.where(generator.random(NEGATIVES) < 0.9, predicted, 0),
            class_names=("cat", "dog", "frog"),
            budget=budget,
        )
        for budget in BUDGETS
    ]
    return measure_score(
        name,
        calibration=generator.normal(size=1000),
        negatives=clean,
        attacked=attacked,
        resamples=resamples,
        budgets=(*BUDGETS, 0.0005),
        false_alarms=alarms if ships else (),
    )


def at_budgets(*hits, total=100):
    return tuple(
        ShareAtBudget(budget=budget, share=Share.of(count, total))
        for budget, count in zip(BUDGETS, hits, strict=True)
    )


def around(value, half=0.02):
    return Estimate(value=value, low=value - half, high=min(1, value + half))


def made_controls():
    generator = np.random.default_rng(5)
    clean, unchanged = generator.normal(size=500), generator.normal(size=200)
    attacked = np.r_[np.zeros(500, bool), np.ones(200, bool)]
    noise = {f"noise-{kind}:8/255": Share.of(9, 100) for kind in ("gaussian", "uniform", "sign")}
    return (
        null_control(clean, unchanged, subject="fast, learnt", seed=0),
        identity_control(unchanged, unchanged, subject="fast, learnt"),
        shuffle_control(
            np.r_[clean, unchanged + 3],
            shuffled(attacked, seed=0),
            subject="fast, learnt",
            seed=0,
        ),
        *noise_control(noise, subject="fast, learnt at 0.05"),
    )


def make_report(*, gain=1.0, plan_digest="a" * 64, accuracy=900, seed=0, **changes):
    """A report with every section."""
    levels = [
        LevelFigures(
            level=level,
            copies=("flip",) * (passes > 1),
            cost=Cost(
                passes=passes,
                milliseconds=1.3 * passes,
                overhead=0.08,
                batch_size=32,
                device="cpu",
            ),
            fusions=(
                made_score("learnt", gain * strength, seed=seed),
                made_score("one-class", 0.7 * gain * strength, seed=seed),
            ),
        )
        for level, passes, strength in (("fast", 1, 1.0), ("standard", 2, 1.3))
    ]
    shifts = [
        ShiftFigures(
            name=name,
            severity=severity,
            level="fast",
            fusion="learnt",
            accuracy=Share.of(90 - 10 * severity, 100),
            flagged=at_budgets(min(100, 4 + severity * (3 + 5 * place)), severity),
        )
        for place, name in enumerate(SHIFTS)
        for severity in range(1, 6)
    ]
    few_shot = [
        FewShotPoint(
            classifier=name,
            attack="pgd:8/255",
            images_per_class=count,
            auroc=around(top - 0.1 / count**0.5, 0.03 / count**0.5),
        )
        for name, top in (("random-forest", 0.98), ("adaboost", 0.97), ("boosting", 0.96))
        for count in (1, 5, 10, 50, 500)
    ]
    left_out = [
        LeftOutCell(
            level="fast",
            family=family,
            attack=attack,
            unknown=attack.startswith(family),
            auroc=around(0.85 if attack.startswith(family) else 0.95),
        )
        for family in ("fgsm", "cw")
        for attack in ("fgsm:8/255", "cw-l2")
    ]
    transfer = [
        TransferFigures(
            network=f"{kind} (cifar-resnet20, {kind}, seed 1)",
            digest=digit * 64,
            scores=tuple(
                made_score(name, gain, through=f"@{digit * 12}")
                for name in ("fast, learnt", "fast, one-class")
            ),
        )
        for kind, digit in (("plain", "c"), ("decoupled", "d"))
    ]
    fields = {
        "plan_name": "small",
        "plan_digest": plan_digest,
        "plan": {"name": "small"},
        "bundle_digest": "b" * 64,
        "provenance": {"seed": 0},
        "accuracy": Share.of(accuracy, 1000),
        "levels": tuple(levels),
        "controls": made_controls(),
        "baselines": tuple(
            made_score(name, gain, ships=False) for name, gain in (("energy", 0.3), ("lid", 0.6))
        ),
        "left_out": tuple(left_out),
        "few_shot": tuple(few_shot),
        "calibration_sizes": (CalibrationSize(images=500, flagged=at_budgets(4, 1)),),
        "shifts": tuple(shifts),
        "transfer": tuple(transfer),
        "adaptive": AdaptiveFigures(
            points=(
                AdaptivePoint(
                    attack="selective-pgd", level="fast", epsilon=0.01, success=at_budgets(70, 90)
                ),
            ),
            half=(HalfSuccess(attack="selective-pgd", level="fast", budget=0.05, epsilon=None),),
            health=(HealthCheck(name="success grows with epsilon", holds=True, finding="it does"),),
        ),
        "plain_network": PlainNetworkFigures(
            accuracy=Share.of(910, 1000), scores=(made_score("energy", 0.4, ships=False),)
        ),
    }
    return EvaluationReport(**{**fields, **changes})


@pytest.fixture(scope="session")
def report():
    return make_report()


@pytest.fixture(scope="session")
def report_with():
    """Makes reports that differ in some way."""
    return make_report
