"""An interpretation and stories with everything in them that is hard to show."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from detector.explanation import ExplainedGate, Explanation, NearImage, Rival
from detector.jobs.evaluation.estimates import Estimate, Share
from detector.jobs.interpretation import Interpretation
from detector.jobs.interpretation.class_distances import class_distances
from detector.jobs.interpretation.class_rates import ClassRates, layer_gates
from detector.jobs.interpretation.closing import Closing
from detector.jobs.interpretation.combinations import CheckedRule, Combination, RuleGate
from detector.jobs.interpretation.dissection import Dissection, PlacedFilter, PlacedRule
from detector.jobs.interpretation.embedding import Embedding, LayerMap
from detector.jobs.interpretation.pixel_rules import Cover
from detector.jobs.interpretation.probes import LayerProbe, Probes
from detector.jobs.interpretation.story import LayerStory, Story
from detector.paths import PathLayout

__all__ = ["sample_interpretation", "sample_stories"]

_CLASSES = (
    '<b>cat</b> & "dog"',
    "a class with quite a long name",
    *("frog", "newt", "horse", "ship", "truck", "deer", "bird", "automobile"),
)
_LAYERS = tuple(
    f"layer{place // 6 + 1}.{place % 6 // 2}.conv{place % 2 + 1}" for place in range(18)
)
_GATES = 16
_IMAGES = 400


def sample_interpretation() -> Interpretation:
    """Eighteen layers and ten classes, some with long names."""
    generator = np.random.default_rng(0)
    layout = PathLayout(names=_LAYERS, sizes=(_GATES,) * len(_LAYERS))
    labels = np.arange(_IMAGES) % len(_CLASSES)
    shares = generator.beta(0.5, 0.5, (len(_CLASSES), layout.gates))
    bits = generator.random((_IMAGES, layout.gates)) < shares[labels]
    rates, shuffled = (
        ClassRates.of(bits, each, layout=layout, classes=len(_CLASSES))
        for each in (labels, generator.permutation(labels))
    )
    return Interpretation(
        network="0123456789abcdef",
        class_names=_CLASSES,
        learn_split="train",
        learn_images=20_000,
        check_split="calibration",
        check_images=3_500,
        rate_images=45_000,
        gates=layer_gates(rates),
        distances=class_distances(rates, shuffled),
        probes=Probes(
            network=Share.of(3168, 3500),
            chance=0.1,
            class_entropy=math.log(len(_CLASSES)),
            layers=tuple(_probe(name, place) for place, name in enumerate(_LAYERS)),
            path=_probe("whole path", len(_LAYERS)),
        ),
        embedding=Embedding(
            image_ids=tuple(range(_IMAGES)),
            labels=tuple(labels.tolist()),
            layers=tuple(
                LayerMap(layer=name, points=_points(labels, place))
                for place, name in enumerate(_LAYERS)
            ),
        ),
        combinations=tuple(map(_combination, _CLASSES, range(1, 11))),
        closings=tuple(map(_closing, _CLASSES, range(1, 11))),
        dissections=tuple(
            _dissection(name, place)
            for place, name in enumerate(("wheel", "a concept of many words <i>in a mask</i>"))
        ),
    )


def sample_stories() -> tuple[tuple[Story, ...], list[str], Tensor, dict[int, Tensor]]:
    """What the page of a clean image and its attacked twin is made from."""
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (2, 3, 32, 32), generator=generator, dtype=torch.uint8)
    near = torch.randint(0, 256, (5, 3, 32, 32), generator=generator, dtype=torch.uint8)
    names = ["photos/a-rather-long-folder-name/clean.png", "photos/<attacked>.png"]
    return (_story(0), _story(1)), names, pictures, dict(enumerate(near[:4]))


def _probe(layer: str, place: int) -> LayerProbe:
    hits = 500 + 130 * place
    nats = 0.2 + 0.09 * place
    return LayerProbe(
        layer=layer,
        gates=_GATES if place < len(_LAYERS) else _GATES * len(_LAYERS),
        paths=5 * 4**place if place < 5 else 3400,
        accuracy=Share.of(hits, 3500),
        at_most=min(1.0, (hits + 100) / 3500),
        from_logits=Share.of(min(hits + 500, 3168), 3500),
        information=Estimate(value=nats, low=nats - 0.03, high=nats + 0.03),
        control=Share.of(350, 3500, confidence=0.997),
    )


def _points(labels: np.ndarray[tuple[int, ...], np.dtype[np.int64]], place: int) -> tuple:
    generator = np.random.default_rng(place)
    angles = 2 * np.pi * labels / len(_CLASSES)
    centres = (place + 1) * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    points = np.round(centres + 3 * generator.standard_normal(centres.shape), 2)
    return tuple(map(tuple, points.tolist()))


def _rule(gates: int) -> CheckedRule:
    rate = min(0.97, 0.7 + 0.03 * gates)
    return CheckedRule(
        gates=tuple(
            RuleGate(layer=_LAYERS[-1 - place], filter=7 * place % 64, is_open=place % 3 > 0)
            for place in range(gates)
        ),
        at_least=max(1, gates - 2),
        recall=Share.of(round(350 * rate), 350),
        specificity=Share.of(round(3150 * rate), 3150),
        precision=Share.of(round(300 * rate), 300) if gates % 4 else None,
        balanced_accuracy=Estimate(value=rate, low=rate - 0.02, high=rate + 0.02),
    )


def _combination(name: str, gates: int) -> Combination:
    return Combination(concept=name, members=2000, combination=_rule(gates), single=_rule(1))


def _closing(name: str, gates: int) -> Closing:
    def points(value: float) -> Estimate:
        return Estimate(value=value, low=value - 0.01, high=value + 0.01)

    return Closing(
        concept=name,
        gates=_rule(gates).gates,
        images=300,
        others=300,
        harm=points(0.03 * gates),
        harm_to_others=points(0.01),
        random_harm=points(0.02),
        draws=20,
        ratio=1.5 * gates if gates % 5 else None,
        beyond=points(0.03 * gates - 0.1),
    )


def _dissection(name: str, place: int) -> Dissection:
    def placed(count: int, iou: float) -> PlacedRule:
        share = Estimate(value=iou, low=iou - 0.04, high=iou + 0.04)
        return PlacedRule(
            filters=tuple(
                PlacedFilter(layer=layer, filter=9, top_share=0.05, threshold=0.61)
                for layer in _LAYERS[-count:]
            ),
            at_least=min(count, 1 + place),
            cover=Cover(iou=share, precision=share if place else None, recall=share),
        )

    return Dissection(
        concept=name,
        learn_images=150,
        check_images=151,
        having=40,
        combination=placed(2 + 5 * place, 0.61),
        singles=tuple(placed(1, 0.3 - 0.02 * rank) for rank in range(12)),
        gain=Estimate(value=0.31, low=0.2, high=0.4),
    )


def _story(place: int) -> Story:
    return Story(
        predicted=_CLASSES[place],
        probability=0.9731,
        p_value=0.42 if not place else 0.0004,
        verdict="off path" if place else "on path",
        rival=_CLASSES[1 - place],
        settles_on=_CLASSES[place],
        settles_at=_LAYERS[5],
        layers=tuple(_layer(name, number, place) for number, name in enumerate(_LAYERS)),
        explanation=_explanation(place),
    )


def _layer(name: str, number: int, place: int) -> LayerStory:
    return LayerStory(
        layer=name,
        open_gates=9,
        usual=_GATES - 2 * place * (number % 6),
        unusually_open=tuple(range(place * (number % 6))),
        unusually_closed=tuple(range(10, 10 + place * (number % 6))),
        distance=math.nan if number == 17 else 0.4 + place * number**1.5,
        rival_margin=-12.5 + 2 * number,
        differing=number if place else None,
    )


def _explanation(place: int) -> Explanation:
    gate = {"open_share": 0.013, "activation": 2.1, "usual_activation": 0.1, "contribution": 9.0}
    return Explanation(
        distance=120.0,
        layers=(),
        gates=tuple(
            ExplainedGate(
                layer=_LAYERS[number],
                filter=number,
                is_open=True,
                sentence=f"Filter {number} of {_LAYERS[number]} is open, as in 1.3 % of clean "
                f"images of {_CLASSES[place]}.",
                **gate,
            )
            for number in range(6)
        ),
        rival=Rival(index=1 - place, label=_CLASSES[1 - place], margin=3.0, sentence="As said."),
        neighbours=tuple(
            NearImage(image=number, index=place, label=_CLASSES[place], differing=0.03 * number)
            for number in range(5)
        ),
    )
