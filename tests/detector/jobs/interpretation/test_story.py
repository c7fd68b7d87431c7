"""The story of an image tells its path layer by layer, and what differs in its twin."""

from __future__ import annotations

import json

import torch
from torch import nn

from detector.jobs.interpretation.story import tell_stories


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
