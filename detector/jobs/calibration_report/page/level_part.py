"""What the page says about one level: false alarms, attacks, harmless changes."""

from __future__ import annotations

from collections.abc import Sequence

from detector.jobs.calibration_report.page.charts import interval_chart, roc_chart
from detector.jobs.calibration_report.report import CalibrationReport
from detector.jobs.calibration_report.sections import LevelReport
from detector.jobs.evaluation.estimates import Estimate, Share
from detector.jobs.evaluation.false_alarms import ClassFalseAlarms, FalseAlarms
from detector.jobs.evaluation.figures import AttackFigures, ShareAtBudget
from detector.jobs.evaluation.markdown import NONE_TEXT, budget_text
from detector.jobs.pages.heat_map import MOST_CLASSES
from detector.jobs.pages.markup import Markup, element, join, table

__all__ = ["level_part"]


def level_part(level: LevelReport, report: CalibrationReport) -> Markup:
    """False alarms, attacks and harmless changes of one level.

    Args:
        level: Its figures.
        report: The report that they are from.
    """
    return join(
        [
            element("h3", "False alarms"),
            *_false_alarms(level, report),
            element("h3", "Attacks"),
            *_attacks(level, report),
            *_harmless(level, report.budgets),
        ]
    )


def _false_alarms(level: LevelReport, report: CalibrationReport) -> list[Markup]:
    alarms = level.score.false_alarms
    missing = [budget_text(b) for b in report.budgets if b not in {each.budget for each in alarms}]
    sources = report.sources
    note = f"Measured on {sources.clean_images} clean {sources.clean.name_of_images}."
    parts = [element("p", note, class_="note")]
    if missing:
        parts.append(
            element(
                "p",
                f"Not promised at {', '.join(missing)}: a class has too few calibration images.",
                class_="note",
            )
        )
    charts = [
        interval_chart(
            [
                (each.name, None if each.flagged is None else each.flagged.estimate)
                for each in _most_flagged(found.classes)
            ],
            title=f"At {budget_text(found.budget)}, by predicted class",
            x_title="clean images flagged",
            mark=found.budget,
            mark_text=f"budget {budget_text(found.budget)}",
        )
        for found in alarms
    ]
    if charts:
        parts += [element("div", *charts, class_="charts"), _alarm_table(alarms)]
    return parts


def _most_flagged(classes: Sequence[ClassFalseAlarms]) -> Sequence[ClassFalseAlarms]:
    """All of a few classes; of many those that were flagged most."""
    if len(classes) <= MOST_CLASSES:
        return classes
    return sorted(classes, key=lambda c: -(c.flagged.rate if c.flagged else 0.0))[:MOST_CLASSES]


def _alarm_table(alarms: Sequence[FalseAlarms]) -> Markup:
    rows = []
    for found in alarms:
        broken = [each.name for each in found.classes if not each.keeps]
        verdict = f"broken for {', '.join(broken)}" if broken else "no class breaks it"
        rows.append(
            [
                budget_text(found.budget),
                _share(found.pooled),
                _share(found.correct),
                _share(found.misclassified),
                element("span", verdict, class_="says"),
            ]
        )
    head = ["budget", "all clean images", "classified right", "misclassified", "promise, by class"]
    return table(head, rows)


def _attacks(level: LevelReport, report: CalibrationReport) -> list[Markup]:
    attacks = level.score.attacks
    if not attacks:
        return [element("p", "The table holds no attack with the copies that levels look at.")]
    note = (
        f"Measured on {report.sources.attacked.name_of_images}. Found: with one threshold for all "
        "classes, taken from the calibration images. Flagged: with one threshold for each "
        "predicted class, as the promise asks. Images on which an attack succeeded, after "
        f"rounding to 8 bits, stand against {report.sources.negatives} clean ones."
    )
    return [
        element("p", note, class_="note"),
        element(
            "div",
            roc_chart(level.score, report.roc_grid),
            interval_chart(
                [
                    (each.attack, None if each.detection is None else each.detection.auroc)
                    for each in attacks
                ],
                title="Area under the ROC curve",
                x_title="AUROC",
                mark=0.5,
                mark_text="chance",
                per_cent=False,
            ),
            class_="charts",
        ),
        table(
            [
                "attack",
                "succeeded",
                "AUROC",
                *(_head("found", budget) for budget in report.budgets),
                *(_head("flagged", budget) for budget in report.budgets),
            ],
            [_attack_row(each, report.budgets) for each in attacks],
        ),
    ]


def _attack_row(attack: AttackFigures, budgets: Sequence[float]) -> list[str]:
    success, found = attack.success, attack.detection
    succeeded = NONE_TEXT if success is None else f"{success.hits} of {success.total}"
    if found is None:
        return [attack.attack, succeeded, *[NONE_TEXT] * (1 + 2 * len(budgets))]
    return [
        attack.attack,
        succeeded,
        _area(found.auroc),
        *(_at(found.found, budget) for budget in budgets),
        *(_at(found.flagged, budget) for budget in budgets),
    ]


def _harmless(level: LevelReport, budgets: Sequence[float]) -> list[Markup]:
    if not level.harmless:
        return []
    note = (
        "Noise, blur, weather and compression mean no harm; the promise does not cover them, but "
        "each flag is a false alarm all the same."
    )
    return [
        element("h3", "Harmless changes"),
        element("p", note, class_="note"),
        table(
            ["change", *(_head("flagged", budget) for budget in budgets)],
            [
                [each.name, *(_at(each.flagged, budget) for budget in budgets)]
                for each in level.harmless
            ],
        ),
    ]


def _head(what: str, budget: float) -> Markup:
    return join([f"{what} ", element("span", f"at {budget_text(budget)}", class_="whole")])


def _at(shares: Sequence[ShareAtBudget], budget: float) -> str:
    return _share(next((each.share for each in shares if each.budget == budget), None))


def _share(share: Share | None) -> str:
    if share is None:
        return NONE_TEXT
    return _with_interval(f"{share.rate * 100:.1f} %", share.low * 100, share.high * 100, 1)


def _area(area: Estimate) -> str:
    return _with_interval(f"{area.value:.3f}", area.low, area.high, 3)


def _with_interval(value: str, low: float, high: float, digits: int) -> Markup:
    return join([value, " ", element("small", f"[{low:.{digits}f}, {high:.{digits}f}]")])
