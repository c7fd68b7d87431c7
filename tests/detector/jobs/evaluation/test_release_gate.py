"""The gate lets through what did not fall, and names what did."""

from __future__ import annotations

from dataclasses import replace

import pytest

from detector.errors import DataError, GateError
from detector.jobs.evaluation.estimates import Share
from detector.jobs.evaluation.release_gate import gate_refusals, require_promotion


def alarms(report, **changes):
    """The report with other false alarms at the first budget of the first score."""
    level = report.levels[0]
    fusion = level.fusions[0]
    changed = (replace(fusion.false_alarms[0], **changes), *fusion.false_alarms[1:])
    fusions = (replace(fusion, false_alarms=changed), *level.fusions[1:])
    return replace(report, levels=(replace(level, fusions=fusions), *report.levels[1:]))


def test_the_released_bundle_itself_may_be_released(report):
    assert gate_refusals(report, report) == ()
    require_promotion(report, report)


def test_a_better_bundle_may_be_released(report, report_with):
    require_promotion(report, report_with(gain=1.3, accuracy=930))


def test_other_images_of_the_same_kind_are_no_fall(report, report_with):
    assert gate_refusals(report, report_with(accuracy=890)) == ()


def test_a_worse_detector_is_refused_by_its_areas_and_by_what_it_finds(report, report_with):
    refusals = gate_refusals(report, report_with(gain=0.4))
    figures = {each.figure for each in refusals}
    assert {
        "fast, learnt: worst AUROC",
        "fast, learnt: mean AUROC",
        "standard, learnt: mean share found at 0.05",
    } <= figures
    assert all(each.candidate < each.released for each in refusals)
    with pytest.raises(GateError, match=r"fast, learnt: worst AUROC: \.?\d"):
        require_promotion(report, report_with(gain=0.4))


def test_a_fall_in_accuracy_is_refused(report, report_with):
    (refusal,) = gate_refusals(report, report_with(accuracy=850))
    assert (refusal.figure, refusal.released, refusal.candidate) == ("accuracy", 0.9, 0.85)


def test_a_class_that_breaks_its_promise_is_refused(report):
    before = report.levels[0].fusions[0].false_alarms[0]
    broken = replace(before.classes[1], flagged=Share.of(40, 300), chance=1e-6, keeps=False)
    candidate = alarms(report, classes=(before.classes[0], broken, before.classes[2]))
    (refusal,) = gate_refusals(report, candidate)
    assert refusal.figure == "fast, learnt: false alarms at 0.05, dog"
    assert "13.33% is flagged" in refusal.reason


@pytest.mark.parametrize(("hits", "refused"), [(44, False), (90, True)])
def test_more_false_alarms_count_only_beyond_the_budget(report, hits, refused):
    candidate = alarms(report, pooled=Share.of(hits, 900))
    assert bool(gate_refusals(report, candidate)) is refused


def test_a_broken_control_is_refused(report):
    broken = replace(report.controls[0], holds=False)
    candidate = replace(report, controls=(broken, *report.controls[1:]))
    (refusal,) = gate_refusals(report, candidate)
    assert refusal.figure == "control null, fast, learnt"


def test_a_level_that_is_missing_is_refused(report):
    refusals = gate_refusals(report, replace(report, levels=report.levels[:1]))
    assert [each.figure for each in refusals] == ["standard, learnt", "standard, one-class"]


def test_reports_of_different_plans_do_not_compare(report):
    other = replace(report, plan_digest="c" * 64)
    with pytest.raises(DataError, match=r"same plan.*aaaaaaaaaaaa.*cccccccccccc"):
        gate_refusals(report, other)
