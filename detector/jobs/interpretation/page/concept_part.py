"""Combinations that stand for concepts, and what closing their gates does."""

from __future__ import annotations

from detector.jobs.interpretation.closing import TIMES
from detector.jobs.interpretation.combinations import CheckedRule
from detector.jobs.interpretation.interpretation import Interpretation
from detector.jobs.interpretation.page.texts import per_cent
from detector.jobs.pages.markup import Markup, element, table

__all__ = ["cause_part", "concept_part"]


def concept_part(found: Interpretation) -> list[Markup]:
    """Each concept's combination beside the best single gate, then the rules in words."""
    note = (
        "The smallest combination of gates, each open or closed, that tells the images of a "
        "concept from others and, where data were given, that these images hang on; checked on "
        f"{found.check_images:,} {found.check_split} images. Balanced accuracy is the mean of the "
        "share of images with the concept that it finds and of the share of others that it leaves "
        "alone: a coin has 50 %."
    )
    rows = [
        [
            each.concept,
            str(len(each.combination.gates)),
            *_figures(each.combination),
            per_cent(each.single.balanced_accuracy),
            "yes" if each.beats_single else "no",
        ]
        for each in found.combinations
    ]
    head = ["concept", "gates", "precision", "recall", "balanced accuracy", "best single gate"]
    rules = [
        [each.concept, each.combination.sentence, each.single.sentence]
        for each in found.combinations
    ]
    return [
        element("p", note, class_="note"),
        table([*head, "intervals apart"], rows),
        element("h3", "In words"),
        table(["concept", "holds where", "best single gate"], rules, class_="words"),
    ]


def cause_part(found: Interpretation) -> list[Markup]:
    """What closing the gates of a concept does to its images and to others."""
    if not found.closings:
        return [element("p", "No gates were closed: no data were given.", class_="note")]
    draws = found.closings[0].draws
    note = (
        "Accuracy that is lost when the gates that speak for a concept by being open are closed, "
        f"on {found.check_split} images; beside it {draws} draws of as many random gates of the "
        f"same layers. Which gates a concept hangs on was estimated on {found.learn_split} images."
    )
    short = [each.concept for each in found.closings if not each.holds]
    finding = (
        f"All lose at least {TIMES} times what random gates cost them."
        if not short
        else f"Less than {TIMES} times what random gates cost, so that nothing says that these "
        f"gates cause what they stand for: {', '.join(short)}."
    )
    rows = [
        [
            each.concept,
            str(len(each.gates)),
            per_cent(each.harm),
            per_cent(each.harm_to_others),
            per_cent(each.random_harm),
            "-" if each.ratio is None else f"{each.ratio:.1f}",
        ]
        for each in found.closings
    ]
    head = ["concept", "gates", "its images lose", "others lose", "by random gates", "times"]
    return [
        element("p", note, class_="note"),
        table(head, rows),
        element("p", finding),
    ]


def _figures(rule: CheckedRule) -> list[str]:
    return [
        "-" if rule.precision is None else per_cent(rule.precision.estimate),
        per_cent(rule.recall.estimate),
        per_cent(rule.balanced_accuracy),
    ]
