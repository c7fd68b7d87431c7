"""The report keeps all it is given, and tables and plots show it."""

from __future__ import annotations

import json
from dataclasses import replace
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from detector.errors import DataError, InvalidInputError
from detector.jobs.evaluation.bootstrap import Resamples
from detector.jobs.evaluation.estimates import Estimate, Share
from detector.jobs.evaluation.figures import ScoreFigures, WorstAttack
from detector.jobs.evaluation.measure import AttackedImages, measure_score
from detector.jobs.evaluation.plots import write_plots
from detector.jobs.evaluation.report import EvaluationReport
from detector.jobs.evaluation.report_sections import PlainNetworkFigures
from detector.jobs.evaluation.roc import auroc, threshold_at
from detector.jobs.evaluation.tables import report_markdown, write_tables


def test_a_report_comes_back_as_it_was_written(report, tmp_path):
    path = tmp_path / "report.json"
    report.write(path)
    assert EvaluationReport.read(path) == report
    assert [each.name for each in tmp_path.iterdir()] == ["report.json"]


def test_a_report_without_its_optional_sections_comes_back_too(report_with):
    report = report_with(adaptive=None, plain_network=None, shifts=(), few_shot=(), transfer=())
    assert EvaluationReport.from_json(json.loads(json.dumps(report.to_json()))) == report
    text = report_markdown(report)
    assert "Attackers" not in text
    assert "plain network" not in text
    assert "other networks" not in text


def test_a_report_written_before_there_was_transfer_is_read_as_one_without(report_with):
    fields = json.loads(json.dumps(report_with().to_json()))
    del fields["transfer"]
    assert EvaluationReport.from_json(fields) == report_with(transfer=())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda fields: fields.update(schema_version=99), "schema version 1. Found 99"),
        (lambda fields: fields.pop("levels"), "levels should be given"),
        (lambda fields: fields.update(more=1), "more should be one of plan_name"),
        (lambda fields: fields["accuracy"].update(hits="9"), "accuracy.hits should be a whole"),
        (lambda fields: fields["accuracy"].update(hits=-1), "at least one image. Found -1"),
        (
            lambda fields: fields["controls"][0].update(name="x"),
            r"controls\[0\].name should be one",
        ),
    ],
)
def test_a_report_that_was_changed_into_something_else_is_refused(
    report, tmp_path, change, message
):
    fields = report.to_json()
    change(fields)
    path = tmp_path / "report.json"
    path.write_text(json.dumps(fields))
    with pytest.raises(DataError, match=rf"report.json.*{message}"):
        EvaluationReport.read(path)


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_file_that_is_no_report_is_refused(tmp_path, content):
    (tmp_path / "report.json").write_text(content)
    with pytest.raises(DataError, match=r"report.json"):
        EvaluationReport.read(tmp_path / "report.json")


def test_the_headline_of_left_out_families_is_their_worst_unknown_attack(report):
    assert report.worst_left_out["fast"].value == min(
        cell.auroc.value for cell in report.left_out if cell.unknown
    )


def test_figures_of_a_score_are_those_of_its_successes():
    generator = np.random.default_rng(0)
    clean, calibration = generator.normal(size=200), generator.normal(size=300)
    scores = generator.normal(1, size=50)
    right, success = np.arange(50) < 45, np.arange(50) % 2 == 0
    flags = scores > 1
    found = measure_score(
        "learnt",
        calibration=calibration,
        negatives=clean,
        attacked=[
            AttackedImages(
                attack="pgd:8/255",
                scores=scores,
                right_before=right,
                success=success & right,
                flags={0.05: flags},
            )
        ],
        resamples=Resamples(negatives=200, images=50, replicates=50, seed=0),
        budgets=[0.05, 0.001],
    )
    (figures,) = found.attacks
    chosen = success & right
    assert (figures.images, figures.success.hits, figures.success.total) == (50, 23, 45)
    assert figures.detection.auroc.value == pytest.approx(auroc(clean, scores[chosen]))
    share, none = (each.share for each in figures.detection.found)
    assert share.hits == (scores[chosen] > threshold_at(calibration, 0.05)).sum()
    assert none is None  # 300 images cannot promise 0.1 %
    assert figures.detection.flagged[0].share.hits == flags[chosen].sum()
    assert figures.held[0].share.hits == (flags | ~success)[right].sum()
    assert found.worst.auroc == found.mean_auroc == figures.detection.auroc
    assert found.mean_found[0].estimate.value == pytest.approx(share.rate)
    assert found.mean_found[1].estimate is None


def test_an_attack_cannot_succeed_on_an_image_that_was_wrong_before():
    with pytest.raises(InvalidInputError, match="succeed only on images"):
        AttackedImages(
            attack="cw-l2",
            scores=[1.0],
            right_before=np.array([False]),
            success=np.array([True]),
        )


def test_the_tables_show_every_section_and_every_attack(report, tmp_path):
    write_tables(report, tmp_path / "report.md")
    text = (tmp_path / "report.md").read_text("utf-8")
    for part in (
        "# Evaluation small",
        "## Controls",
        "## Levels",
        "## fast, learnt",
        "## Attacks made on other networks",
        "## Baselines on the same network",
        "## The plain network",
        "without fgsm",
        "## Few images",
        "## Calibration size",
        "## Natural change and noise",
        "## Attackers who know the detector",
    ):
        assert part in text
    worst = report.levels[0].fusions[0].worst
    assert f"{worst.auroc.value:.3f}".removeprefix("0") + " [" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    columns = {len(row.split(" | ")) for row in rows if row.startswith("| pgd:8/255")}
    assert columns == {11}  # the same for both fusions and both levels


def test_attacks_through_other_networks_have_a_row_each_also_where_they_never_succeed(report):
    text = report_markdown(report)
    section = text[text.index("## Attacks made on other networks") :].split("\n## ")[0]
    head, _, *rows = [line.split(" | ") for line in section.splitlines() if line.startswith("|")]
    assert head[-2:] == ["flagged at 5 %", "flagged at 1 % |"]
    figures = report.transfer[0].scores[0].attacks
    assert len(rows) == 2 * 2 * len(figures)
    assert {len(row) for row in rows} == {len(head)}
    by_attack = {(row[1], row[2]): row for row in rows}
    assert len(by_attack) == len(rows)
    assert list(by_attack)[:2] == [
        ("fgsm:8/255@cccccccccccc", "fast, learnt"),
        ("fgsm:8/255@cccccccccccc", "fast, one-class"),
    ]
    never = by_attack["square:8/255@cccccccccccc", "fast, learnt"]
    assert never[3].startswith("0.0 % [")
    assert never[4:6] == ["0", "never succeeds"]
    pgd = next(each for each in figures if each.attack == "pgd:8/255@cccccccccccc")
    row = by_attack[pgd.attack, "fast, learnt"]
    assert row[0] == "| plain (cifar-resnet20, plain, seed 1)"
    assert row[4] == str(pgd.success.hits)
    assert row[5].startswith(f"{pgd.detection.auroc.value:.3f}".removeprefix("0"))
    assert row[6].startswith(f"{pgd.detection.flagged[0].share.rate * 100:.1f} %")


def test_the_tables_say_what_decoupling_adds(report_with):
    report = report_with(
        plain_network=PlainNetworkFigures(
            accuracy=Share.of(910, 1000),
            scores=(made_of("fast, learnt", 0.90, 0.80), made_of("energy", 0.92, 0.70)),
        )
    )
    level = report.levels[0]
    ours = (made_of("learnt", 0.98, 0.95), *level.fusions[1:])
    report = replace(
        report,
        levels=(replace(level, fusions=ours), *report.levels[1:]),
        baselines=(made_of("energy", 0.91, 0.75),),
    )
    text = report_markdown(report)
    rows = text[text.index("| the same score") :].split("\n\n")[0].splitlines()[2:]
    assert rows == [
        "| fast, learnt | +.080 [+.066, +.094] | +.150 [+.136, +.164] |",
        "| energy | -.010 [-.024, +.004] | +.050 [+.036, +.064] |",
    ]
    (sentence,) = [line for line in text.splitlines() if line.startswith("What decoupling adds")]
    assert "fast, learnt on the decoupled network, .980" in sentence
    assert "energy on the plain one, .920" in sentence
    assert "changes by +.060 [+.046, +.074], the worst by +.250 [+.236, +.264]" in sentence


def made_of(name, mean, worst):
    """A score of nothing but its mean and its worst area."""
    areas = [Estimate(value=area, low=area - 0.01, high=area + 0.01) for area in (mean, worst)]
    return ScoreFigures(
        name=name,
        attacks=(),
        mean_auroc=areas[0],
        worst=WorstAttack(attack="pgd:8/255", auroc=areas[1]),
        mean_found=(),
    )


def test_each_plot_is_a_picture_and_the_same_for_the_same_report(report, tmp_path):
    paths = write_plots(report, tmp_path)
    assert {path.name for path in paths} == {
        f"{name}.{ending}"
        for name in (
            "roc-fast-learnt",
            "roc-fast-one-class",
            "roc-standard-learnt",
            "roc-standard-one-class",
            "auroc",
            "shift-fast-learnt",
            "few-shot-pgd-8-255",
        )
        for ending in ("png", "svg")
    }
    for path in paths:
        if path.suffix == ".png":
            with Image.open(path) as picture:
                assert len(picture.convert("RGB").getcolors(maxcolors=2**20)) > 10
        else:
            assert ET.parse(path).getroot().tag.endswith("svg")
    before = {path: path.read_bytes() for path in paths if path.suffix == ".svg"}
    write_plots(report, tmp_path)
    assert before == {path: path.read_bytes() for path in before}
