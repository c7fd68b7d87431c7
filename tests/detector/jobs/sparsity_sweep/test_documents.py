"""A sweep as Markdown and as a picture."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector.jobs.sparsity_sweep import SweepReport
from detector.jobs.sparsity_sweep.curves import accuracy_curve, area_curves, time_curves
from detector.jobs.sparsity_sweep.documents import sweep_markdown, write_plot
from detector.jobs.sparsity_sweep.words import cost_table, detection_table, time_table
from tests.detector.jobs.sparsity_sweep.sample_sweep import sample_sweep


def test_the_markdown_has_a_row_for_each_network_in_each_table() -> None:
    report = sample_sweep()
    lines = sweep_markdown(report).splitlines()
    for made in (cost_table(report), time_table(report), detection_table(report)):
        for row in (made[0], *made[1]):
            assert f"| {' | '.join(row)} |" in lines
    assert "the plain network classifies 92.1 %" in lines[0]


def test_curves_hold_the_figures_of_all_networks_from_the_sparsest_on() -> None:
    report = sample_sweep()
    networks = sorted(report.networks, key=lambda each: each.kept.mean)
    kept = [each.kept.mean for each in networks]
    accuracy = accuracy_curve(report)
    assert [place for place, _ in accuracy.points] == kept
    assert [figure for _, figure in accuracy.points] == [
        each.accuracy.estimate for each in networks
    ]
    masked, served, verdict = time_curves(report)
    assert [figure for _, figure in masked.points] == [each.times.masked for each in networks]
    assert [figure for _, figure in served.points] == [each.times.served for each in networks]
    assert [figure for _, figure in verdict.points] == [each.times.verdict for each in networks]
    *_, missed = area_curves(report)
    assert [place for place, _ in missed.points] == kept[1:]  # none succeeds on the sparsest


def test_an_attack_that_succeeds_nowhere_has_no_curve() -> None:
    assert area_curves(sample_sweep(blind=True)) == ()


@pytest.mark.parametrize(
    "report", [sample_sweep(), sample_sweep(blind=True), sample_sweep(shares=(0.5,))]
)
def test_the_plot_is_a_picture_that_changes_only_with_its_figures(
    report: SweepReport, tmp_path: Path
) -> None:
    png, svg = write_plot(report, tmp_path)
    with Image.open(png) as image:
        assert len(np.unique(np.asarray(image.convert("L")))) > 20
    assert ET.parse(svg).getroot().tag.endswith("svg")
    before = svg.read_bytes()
    assert write_plot(report, tmp_path) == (png, svg)
    assert svg.read_bytes() == before
