"""The page of an interpretation holds all parts, loads nothing, and escapes what it is given."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from detector.jobs.interpretation import Interpretation
from detector.jobs.interpretation.class_distances import class_distances
from detector.jobs.interpretation.class_rates import ClassRates, layer_gates
from detector.jobs.interpretation.closing import GateCloser
from detector.jobs.interpretation.combinations import find_combination
from detector.jobs.interpretation.concepts import concepts_of_classes
from detector.jobs.interpretation.dissection import dissect
from detector.jobs.interpretation.embedding import Embedding, embed_layers
from detector.jobs.interpretation.page import page
from detector.jobs.interpretation.probes import probe_layers
from detector.jobs.interpretation.sample_images import SampleImages
from tests.detector.jobs.interpretation.planted import planted, planted_network

NASTY = "<script>alert(1)</script>"


class Elements(HTMLParser):
    """Counts the elements of a page and keeps which are open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes) -> None:
        self.seen.append((tag, dict(attributes)))
        self.open.append(tag)

    def handle_startendtag(self, tag, attributes) -> None:
        self.seen.append((tag, dict(attributes)))

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def count(self, tag: str) -> int:
        return sum(each == tag for each, _ in self.seen)


@pytest.fixture
def found(colours) -> Interpretation:
    sample = dataclasses.replace(colours.sample, class_names=("red", "green", NASTY))
    generator = np.random.default_rng(0)
    rates = [
        ClassRates.of(sample.bits, labels, layout=sample.layout, classes=3)
        for labels in (sample.labels, generator.permutation(sample.labels))
    ]
    closer = GateCloser(
        colours.network,
        SampleImages(sample, colours.splits.test, colours.splits.preprocessing),
        limit=10,
        draws=5,
        seed=0,
        done=lambda _: None,
    )
    concepts = concepts_of_classes(sample.class_names)
    combinations = tuple(
        find_combination(each, sample, sample, most_gates=2, seed=0) for each in concepts
    )
    closings = map(closer.close, concepts, combinations)
    return Interpretation(
        network="0123456789abcdef",
        class_names=sample.class_names,
        learn_split="train",
        learn_images=120,
        check_split="test",
        check_images=120,
        rate_images=120,
        gates=layer_gates(rates[0]),
        distances=class_distances(*rates),
        probes=probe_layers(sample, sample, seed=0, done=lambda _: None),
        embedding=embed_layers(sample, points=40, seed=0, done=lambda _: None),
        combinations=combinations,
        closings=tuple(each for each in closings if each is not None),
    )


def test_the_page_has_all_parts_and_is_well_formed(found) -> None:
    elements = Elements(page(found))
    assert [tag for tag in elements.open if tag != "meta"] == []
    places = {attributes.get("id") for _, attributes in elements.seen}
    assert {"layers", "maps", "classes", "concepts", "cause", "places"} <= places
    # Two charts, one map for the only layer, one dendrogram.
    assert elements.count("svg") == 4


def test_the_page_loads_nothing_and_runs_nothing(found) -> None:
    text = page(found)
    assert not re.search(r"(?:src|href)=\"(?!#)|url\(|@import|https?:", text)
    assert Elements(text).count("script") == 0
    assert "&lt;script&gt;" in text


def test_what_was_left_out_is_said(found) -> None:
    nothing = Embedding(image_ids=(), labels=(), layers=())
    text = page(dataclasses.replace(found, embedding=nothing, closings=()))
    assert "No maps were drawn." in text
    assert "No gates were closed" in text
    assert "No masks were given." in text


def test_where_concepts_are_is_told_with_the_best_filters(found, tmp_path) -> None:
    images = planted(tmp_path, count=40).read()
    placed = dissect(planted_network(), images, most_filters=4, seed=0, done=lambda _: None)
    places = page(dataclasses.replace(found, dissections=placed)).partition('id="places"')[2]
    for each in placed:
        assert f"<summary>Single filters: {each.concept}</summary>" in places
        assert each.combination.sentence in places
    assert re.search(r"second:[23] or second:[23]", places)
    assert "<td>-</td>" in places  # no precision of a filter that is never lit


def test_concepts_that_their_gates_do_not_cause_are_named(found) -> None:
    harmless = [each.concept for each in found.closings if not each.holds]
    text = page(found)
    assert harmless
    assert "nothing says that these gates cause what they stand for" in text
