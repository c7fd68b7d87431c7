"""Reports of several seeds side by side: the same figures, with what chance does to them."""

from __future__ import annotations

from statistics import fmean, stdev

import pytest

from detector.errors import DataError
from detector.jobs.evaluation import RELEASED_REPORT, EvaluationReport, compared_markdown
from detector.jobs.evaluation.headlines import headlines
from detector.jobs.evaluation.side_by_side import compared_figures


def test_every_headline_has_a_name_of_its_own():
    names = [each.name for each in headlines(EvaluationReport.read(RELEASED_REPORT))]
    assert len(names) == len(set(names))


def test_headlines_are_the_reports_own_figures(report):
    found = dict(headlines(report))
    level = report.levels[0]
    fusion = level.fusions[0]
    title = f"{level.level}, {fusion.name}"
    assert found["accuracy"] == report.accuracy.rate
    assert found[f"{title}: worst AUROC"] == fusion.worst.auroc.value
    assert found[f"{title}: mean AUROC"] == fusion.mean_auroc.value
    areas = {
        f"{title}: AUROC, {each.attack}": each.detection.auroc.value
        for each in fusion.attacks
        if each.detection is not None
    }
    assert areas
    assert {name: found[name] for name in found if name.startswith(f"{title}: AUROC")} == areas
    for alarms in fusion.false_alarms:
        name = f"{title}: false alarms at {100 * alarms.budget:g} %"
        assert found[name] == alarms.pooled.rate
        assert found[f"{name}, worst class"] >= alarms.pooled.rate


def test_mild_corruptions_are_averaged_and_severe_ones_left_out():
    report = EvaluationReport.read(RELEASED_REPORT)
    mild = [
        shift.flagged[0].share.rate
        for shift in report.shifts
        if shift.severity is not None and shift.severity <= 2
    ]
    found = dict(headlines(report))
    name = "standard, one-class: mild corruptions flagged at 5 %, mean"
    assert found[name] == pytest.approx(fmean(mild))


def test_seeds_stand_side_by_side_with_their_mean_and_spread(report_with):
    hits = (900, 910, 950)
    reports = {f"seed {n}": report_with(accuracy=each) for n, each in enumerate(hits)}
    figure = next(each for each in compared_figures(reports) if each.name == "accuracy")
    rates = [report.accuracy.rate for report in reports.values()]
    assert figure.values == tuple(rates)
    assert (figure.mean, figure.spread) == (fmean(rates), stdev(rates))
    text = compared_markdown(reports)
    assert text.startswith("| figure | mean | standard deviation | seed 0 | seed 1 | seed 2 |")
    assert f"| accuracy | {fmean(rates):.4f} | {stdev(rates):.4f} | {rates[0]:.4f} |" in text


def test_what_one_report_lacks_is_left_open_there(report_with):
    reports = {"whole": report_with(), "short": report_with(plain_network=None)}
    found = {each.name: each for each in compared_figures(reports)}
    figure = found["accuracy, lost against the plain network"]
    assert figure.values[1] is None
    assert figure.spread is None
    assert "–" in compared_markdown(reports)  # noqa: RUF001


def test_reports_of_two_plans_or_a_single_one_are_refused(report_with):
    with pytest.raises(DataError, match=r"two reports or more.*Found 1"):
        compared_figures({"a": report_with()})
    with pytest.raises(DataError, match=r"same plan.*bbbbbbbbbbbb in b"):
        compared_figures({"a": report_with(), "b": report_with(plan_digest="b" * 64)})
