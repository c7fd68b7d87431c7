"""The page of a sweep holds every figure, and asks nothing of the network."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from detector.errors import InvalidInputError
from detector.jobs.evaluation.estimates import difference_of
from detector.jobs.evaluation.markdown import NONE_TEXT
from detector.jobs.sparsity_sweep import SweepReport
from detector.jobs.sparsity_sweep.page import page
from detector.jobs.sparsity_sweep.words import cost_table, detection_table, time_table
from tests.detector.jobs.sparsity_sweep.sample_sweep import sample_sweep


class Tags(HTMLParser):
    """Collects what a page consists of, and what it would load."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loaded += [str(value) for name, value in attrs if name in {"src", "href"}]


def test_every_cell_of_the_three_tables_stands_on_the_page() -> None:
    report = sample_sweep()
    text = page(report).replace("\u00a0", " ")
    for table in (cost_table(report), time_table(report), detection_table(report)):
        head, rows = table
        assert all(f">{cell}</th>" in text for cell in head)
        assert all(len(row) == len(head) for row in rows)
        assert all(f">{cell}</t" in text for row in rows for cell in row)


def test_the_page_has_three_charts_and_loads_nothing() -> None:
    tags = Tags()
    tags.feed(page(sample_sweep()))
    assert tags.tags.count("svg") == 3
    assert "script" not in tags.tags
    assert tags.loaded == []


def test_each_point_of_a_chart_lies_where_its_figure_is() -> None:
    """Accuracy falls from network to network, so that lower points lie further down."""
    text = page(sample_sweep())
    chart = text[text.index('aria-label="Accuracy"') :].partition("</svg>")[0]
    points = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', chart)
    places = [(float(x), float(y)) for x, y in points]
    assert len(places) == 6
    assert places == sorted(places)  # from the sparsest on, to the right
    assert [y for _, y in places] == sorted((y for _, y in places), reverse=True)


def test_names_that_would_hide_each_other_are_left_out_of_charts() -> None:
    text = page(sample_sweep())
    chart = text[text.index('aria-label="Accuracy"') :].partition("</svg>")[0]
    assert ">R 1</text>" in chart
    assert ">R 0.8</text>" not in chart


def test_losses_are_told_against_the_network_that_may_keep_most_gates() -> None:
    report = sample_sweep()
    first, *_, last = report.networks
    lost = difference_of(first.accuracy.estimate, last.accuracy.estimate)
    assert report.accuracy_lost(last) == lost
    _, rows = cost_table(report)
    assert rows[0][-1] == NONE_TEXT
    assert rows[-1][-1] == f"{lost.value * 100:.2f} [{lost.low * 100:.2f}, {lost.high * 100:.2f}]"


def test_what_detection_lost_is_told_where_the_same_attacks_succeed() -> None:
    report = sample_sweep()
    before, after = report.networks[0], report.networks[2]
    assert before.detection.mean_auroc is not None
    assert after.detection.mean_auroc is not None
    lost = difference_of(before.detection.mean_auroc, after.detection.mean_auroc)
    assert report.area_lost(after) == lost
    assert lost.value == pytest.approx(0.04)


def test_an_attack_that_never_succeeds_leaves_its_cell_empty() -> None:
    _, rows = detection_table(sample_sweep())
    assert rows[-1][3] == rows[-1][-1] == NONE_TEXT  # and means of other attacks do not compare
    assert NONE_TEXT not in rows[-2]


@pytest.mark.parametrize(
    "report", [sample_sweep(blind=True), sample_sweep(shares=(0.5,))], ids=["blind", "one"]
)
def test_a_sweep_without_attacks_that_succeed_or_of_one_network_has_a_page_too(
    report: SweepReport,
) -> None:
    text = page(report)
    assert text.count("<svg") == 2 + (report.reference.detection.mean_auroc is not None)
    assert SweepReport.from_json(report.to_json()) == report


@pytest.mark.parametrize("shares", [(0.4, 0.5), (0.5, 0.5)])
def test_networks_in_another_order_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(InvalidInputError, match="the largest share of open gates first"):
        sample_sweep(shares=shares)
