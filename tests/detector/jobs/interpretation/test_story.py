"""The story of an image tells its path layer by layer, and what differs in its twin."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from detector.data import ArraySource
from detector.errors import DataError
from detector.images import decode_image
from detector.jobs.interpretation.page import story_page
from detector.jobs.interpretation.story import near_images, tell_stories


def test_each_layer_tells_its_gates_and_how_the_twin_differs(make_pipeline, images) -> None:
    pipeline = make_pipeline()
    stories = tell_stories(pipeline, images)
    path = pipeline.analyse(images).path
    layout = pipeline.layout
    for row, story in enumerate(stories):
        assert tuple(layer.layer for layer in story.layers) == layout.names
        for layer, size, part in zip(story.layers, layout.sizes, layout.slices, strict=True):
            unusual = len(layer.unusually_open) + len(layer.unusually_closed)
            assert layer.usual + unusual == size
            assert layer.open_gates == int(path.bits[row, part].sum())
            differing = int((path.bits[row, part] != path.bits[0, part]).sum())
            assert layer.differing == (differing if row else None)
    assert any(layer.differing for layer in stories[1].layers)


def test_unusual_gates_are_rare_in_the_predicted_class(make_pipeline, images) -> None:
    pipeline = make_pipeline()
    findings = pipeline.analyse(images)
    told = 0
    for row, story in enumerate(tell_stories(pipeline, images)):
        shares = pipeline.open_rates[findings.predicted[row]]
        for layer, part in zip(story.layers, pipeline.layout.slices, strict=True):
            told += len(layer.unusually_open) + len(layer.unusually_closed)
            assert all(shares[part][filter_] <= 0.05 for filter_ in layer.unusually_open)
            assert all(shares[part][filter_] >= 0.95 for filter_ in layer.unusually_closed)
    assert told


def test_a_path_settles_where_all_further_layers_fit_one_class_better(
    make_pipeline, images
) -> None:
    pipeline = make_pipeline()
    # The classifier, untrained, leans to one class: level it, so that predictions differ.
    *_, classifier = (m for m in pipeline.network.backbone.modules() if isinstance(m, nn.Linear))
    assert classifier.out_features == 3
    with torch.no_grad():
        classifier.bias -= pipeline.analyse(images).class_logits.mean(dim=0)
    first, *others = tell_stories(pipeline, images)
    assert any(story.predicted != first.predicted for story in others)
    for story in (first, *others):
        assert story.explanation is not None
        alike = story.predicted == first.predicted
        assert story.rival == (story.explanation.rival.label if alike else first.predicted)
        nearer = [layer.rival_margin > 0 for layer in story.layers]
        place = [layer.layer for layer in story.layers].index(story.settles_at)
        assert set(nearer[place:]) == {story.settles_on == story.rival}
        assert not place or nearer[place - 1] != nearer[place]


def test_a_twin_that_is_the_same_image_has_the_same_story(make_pipeline, images) -> None:
    first, twin = tell_stories(make_pipeline(), torch.cat([images[:1], images[:1]]))
    assert [layer.differing for layer in twin.layers] == [0] * len(twin.layers)
    assert (first.rival, first.p_value) == (twin.rival, twin.p_value)
    assert json.loads(json.dumps(twin.to_json()))["predicted"] == twin.predicted


def test_what_is_not_finite_is_null_in_a_file_and_a_dash_on_the_page(make_pipeline, images) -> None:
    (story,) = tell_stories(make_pipeline(), images[:1])
    first, *others = story.layers
    broken = dataclasses.replace(first, distance=math.nan, rival_margin=math.inf)
    story = dataclasses.replace(story, layers=(broken, *others), probability=-math.inf)
    text = json.dumps(story.to_json(), allow_nan=False)
    plain = json.loads(text)
    assert (plain["layers"][0]["distance"], plain["layers"][0]["rival_margin"]) == (None, None)
    assert plain["probability"] is None
    assert plain["layers"][1]["distance"] == others[0].distance
    page = story_page([story], ["broken"], images[:1], {})
    assert "<td>-</td><td>-</td></tr>" in page
    assert "nan" not in re.findall(r"<tbody>.*</tbody>", page)[0]


@pytest.fixture
def training(network_info):
    """So many training images that the clean ones which scores were fitted on are among them."""

    def make(shift: int = 0):
        generator = np.random.default_rng(0)
        labels = (np.arange(2000) - 1000 + shift) % 3
        pixels = generator.integers(0, 256, (2000, 8, 8, 3), dtype=np.uint8)
        source = ArraySource(pixels, labels, network_info.class_names)
        return SimpleNamespace(
            train=SimpleNamespace(source=source), preprocessing=network_info.preprocessing
        )

    return make


def test_the_nearest_training_images_are_those_of_their_index(
    make_pipeline, images, training
) -> None:
    stories = tell_stories(make_pipeline(), images)
    splits = training()
    near = near_images(stories, splits)
    named = {each.image for story in stories for each in story.explanation.neighbours}
    assert near.keys() == named
    for image, pixels in near.items():
        assert (pixels == splits.train.source.load(image)).all()


def test_data_of_other_labels_are_refused(make_pipeline, images, training) -> None:
    with pytest.raises(DataError, match="other data than the bundle was made with"):
        near_images(tell_stories(make_pipeline(), images), training(shift=1))


def test_the_page_shows_images_and_neighbours_as_they_are_and_loads_nothing(
    make_pipeline, images, training
) -> None:
    stories = tell_stories(make_pipeline(), images[:2])
    near = near_images(stories, training())
    text = story_page(stories, ["<clean>", "twin"], images[:2], near)
    assert "<clean>" not in text
    assert not re.search(r"href=|url\(|@import|https?:|<script", text)
    shown = [
        decode_image(base64.b64decode(found))
        for found in re.findall(r'src="data:image/png;base64,([^"]*)"', text)
    ]
    expected = []
    for story, image in zip(stories, images, strict=False):
        expected += [image, *(near[each.image] for each in story.explanation.neighbours)]
    assert len(shown) == len(expected)
    assert all(torch.equal(a, b) for a, b in zip(shown, expected, strict=True))
