"""The page is one whole file that says what the report says."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from detector.jobs.calibration_report import HTML_FILE, CalibrationReport, write_report
from detector.jobs.calibration_report.page import page
from tests.detector.jobs.calibration_report.conftest import ATTACKS, CLASSES, LAYERS


@pytest.fixture
def tree(sample_report: CalibrationReport) -> ET.Element:
    """What every HTML reader sees, and a strict one too."""
    return ET.fromstring(page(sample_report).removeprefix("<!DOCTYPE html>"))


def words(part: ET.Element | None) -> str:
    assert part is not None
    return " ".join("".join(part.itertext()).split())


def test_nothing_is_fetched_and_nothing_runs(
    sample_report: CalibrationReport, tree: ET.Element
) -> None:
    used = {part.tag for part in tree.iter()}
    assert not used & {"script", "link", "img", "iframe", "object", "embed", "base", "use"}
    attributes = [(name, value) for part in tree.iter() for name, value in part.attrib.items()]
    assert not [name for name, _ in attributes if name == "src" or name.startswith("on")]
    text = page(sample_report)
    assert not re.search(r"https?:|url\(|@import|//[a-z]", text)
    assert "default-src 'none'" in text


def test_each_link_leads_to_a_place_of_the_page(tree: ET.Element) -> None:
    links = [part.attrib["href"] for part in tree.iter("a")]
    places = [part.attrib["id"] for part in tree.iter() if "id" in part.attrib]
    assert links
    assert set(links) == {f"#{place}" for place in places}
    assert len(set(places)) == len(places)


def test_names_are_shown_as_they_are_and_never_as_markup(
    sample_report: CalibrationReport, tree: ET.Element
) -> None:
    assert CLASSES[0] in words(tree.find("body"))
    assert not list(tree.iter("b"))
    card = replace(sample_report.card, text="</pre><script>alert(1)</script>")
    assert "<script" not in page(replace(sample_report, card=card))


def test_all_classes_attacks_and_layers_are_named(tree: ET.Element) -> None:
    text = words(tree.find("body"))
    for name in (*ATTACKS, *LAYERS, *CLASSES[:3]):
        assert name in text


def test_every_picture_is_told_in_words(tree: ET.Element) -> None:
    pictures = list(tree.iter("svg"))
    assert len(pictures) >= 8
    for picture in pictures:
        assert picture.attrib["role"] == "img"
        assert picture.attrib["aria-label"] == words(picture.find("title"))


def test_a_row_of_an_attack_has_the_figures_of_the_report(tree: ET.Element) -> None:
    cells = {
        words(row.find("th")): [words(cell) for cell in row.iter("td")] for row in tree.iter("tr")
    }
    first = cells[ATTACKS[0]]
    assert first[0] == "200 of 220"
    assert first[1].startswith("0.900 [0.860, 0.940]")
    assert first[2].startswith("90.0 %")  # 180 of 200 at 5 %
    assert first[5].startswith("85.0 %")  # 170 of 200 with the thresholds that ship
    assert first[4] == first[7] == "–"  # noqa: RUF001  # none at 0.1 %
    assert set(cells[ATTACKS[10]][1:]) == {"–"}  # noqa: RUF001  # it never succeeded


def test_a_class_that_breaks_the_promise_is_called_by_its_name(tree: ET.Element) -> None:
    assert f"broken for {CLASSES[1]}" in words(tree.find("body"))


def test_the_page_says_what_figures_are_measured_on(tree: ET.Element) -> None:
    said = words(next(part for part in tree.iter("section") if part.attrib.get("id") == "sources"))
    assert "200 clean images of the fit split, cross-fitted (3 folds)" in said
    assert "threshold that has seen it" in said


def test_the_page_says_which_calibrations_are_too_small(
    sample_report: CalibrationReport,
) -> None:
    text = page(sample_report)
    assert "100, 200 images leave some class too few for this budget." in text
    assert "leave none to count" not in text
    *sizes, last = sample_report.sizes
    without = replace(sample_report, sizes=(*sizes, replace(last, false_alarms=None)))
    assert "All 50000 leave none to count false alarms on." in page(without)


def test_of_many_classes_the_most_frequent_are_shown(sample_report: CalibrationReport) -> None:
    names = tuple(f"class-{place:03}" for place in range(120))
    paths = replace(
        sample_report.paths,
        images=tuple(range(1, 121)),
        open_shares=((0.5,) * len(LAYERS),) * 120,
        distances=((0.1,) * len(LAYERS),) * 120,
    )
    text = page(replace(sample_report, class_names=names, paths=paths))
    assert "The 50 most frequent of 120 classes" in text
    assert "class-119" in text
    assert "class-070" in text
    assert "class-069" not in text


def test_a_report_without_attacks_curves_or_card_is_a_page_too(
    sample_report: CalibrationReport, tmp_path: Path
) -> None:
    first = sample_report.levels[0]
    score = replace(first.score, attacks=(), mean_auroc=None, worst=None, false_alarms=())
    bare = replace(
        sample_report,
        levels=(replace(first, score=score, harmless=()),),
        few_shot=(),
        sizes=tuple(replace(p, false_alarms=None, found=None) for p in sample_report.sizes),
        card=replace(sample_report.card, text=None),
    )
    written = write_report(bare, tmp_path / "new")
    assert written == tmp_path / "new" / HTML_FILE
    text = written.read_text(encoding="utf-8")
    ET.fromstring(text.removeprefix("<!DOCTYPE html>"))
    assert "The table holds no attack" in text


def test_the_page_is_made_from_what_the_json_holds(
    sample_report: CalibrationReport, tmp_path: Path
) -> None:
    write_report(sample_report, tmp_path)
    read = CalibrationReport.read(tmp_path / "calibration.json")
    assert read == sample_report
    assert page(read) == (tmp_path / HTML_FILE).read_text(encoding="utf-8")
