"""The bundled default gives an image the same bits and the same score whatever its batch-mates."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

import service
from detector.bundle import load_bundle
from detector.images import decode_image
from detector.pipeline import row_digests
from service.settings import Settings

SAMPLES = sorted((Path(service.__file__).parent / "samples").glob("*.png"))


@pytest.fixture(scope="module")
def pipeline():
    return load_bundle().pipeline


@pytest.fixture(scope="module")
def samples():
    return torch.stack([decode_image(path.read_bytes()) for path in SAMPLES])


def numbers(findings, row):
    return (
        findings.path.bits[row],
        findings.path.logits[row],
        findings.path.activations[row],
        findings.class_logits[row],
        findings.probability[row],
        findings.scores[row],
        findings.layer_weights[row],
    )


@pytest.mark.parametrize("level", ["fast", "standard", "thorough"])
def test_an_image_has_the_same_bits_and_score_in_every_served_size_and_position(
    pipeline, samples, level
):
    sizes = Settings().batch_sizes_of(pipeline.level(level).passes)
    digests = {size: row_digests(pipeline, level, size) for size in sizes}
    served = [size for size in sizes if digests[size] == digests[sizes[-1]]]
    # What is kept is worth little if it is not enough to serve with.
    assert len(served) >= len(sizes) - 1
    draws = torch.Generator().manual_seed(1)
    for chosen in (0, 57, 119):
        expected = None
        for size in served:
            for place in sorted({0, size // 2, size - 1}):
                batch = samples[torch.randint(len(samples), (size,), generator=draws)].clone()
                batch[place] = samples[chosen]
                found = numbers(pipeline.analyse(batch, level), place)
                expected = expected or found
                assert all(map(torch.equal, found, expected)), (size, place)


@pytest.mark.parametrize("level", ["fast", "standard", "thorough"])
def test_what_was_observed_scores_the_same_among_any_number_of_others(pipeline, samples, level):
    """Sizes between the served ones too, and more images than are scored at once."""
    seen = pipeline.observe(samples[:40], pipeline.level(level).copies)
    whole = pipeline.judge(seen, level)
    for count in (1, 2, 3, 5, 11, 31, 32, 33):
        for first in (0, 7):
            found = pipeline.judge(seen[first : first + count], level)
            for row in range(count):
                alike = map(torch.equal, numbers(found, row), numbers(whole, first + row))
                assert all(alike), (count, first, row)


def test_the_digests_tell_a_pipeline_whose_numbers_hang_on_the_batch(make_pipeline):
    pipeline = make_pipeline()
    steady = {size: row_digests(pipeline, "standard", size) for size in (2, 4, 8)}
    assert all(len(digests) == 1 for digests in steady.values())
    analyse = pipeline.analyse

    def unsteady(images, level=None):
        found = analyse(images, level)
        rounding = 1 + torch.finfo(torch.float32).eps * len(images)
        return dataclasses.replace(found, scores=found.scores * rounding)

    pipeline.analyse = unsteady
    assert row_digests(pipeline, "standard", 2) != row_digests(pipeline, "standard", 8)
