"""Images that are sent over and over are no drift; the same network, and real images."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
import torch

from detector.bundle import load_bundle
from detector.images import decode_image
from detector.pipeline import Findings, Pipeline
from service.drift import DriftWatch
from service.load.requests import SAMPLES
from service.settings import Settings

LOOKS = 20_000
"""Fifteen times as many as raised the alarm while repeats counted."""


@dataclass
class Looks:
    """A watch as servers have it, one caller, and how many images counted."""

    pipeline: Pipeline
    counted: list[None] = field(default_factory=list)

    def __post_init__(self) -> None:
        settings = Settings()
        self.watch = DriftWatch(
            self.pipeline,
            delta=settings.drift_delta,
            share=settings.drift_principal_share,
            counted=lambda: self.counted.append(None),
        )

    def over_and_over(self, findings: Findings, digests: Iterable[int]) -> None:
        rows = itertools.cycle(range(len(findings)))
        for row, digest in zip(rows, digests, strict=False):
            self.watch.see("bench", findings, row, digest=digest, in_campaign=False)


@pytest.fixture(scope="module")
def default() -> Pipeline:
    return load_bundle().pipeline


@pytest.fixture(scope="module")
def samples(default: Pipeline) -> Findings:
    """What is found about the images that `offpath bench` sends."""
    files = sorted(SAMPLES.glob("*.png"))
    pixels = [default.preprocessing.fit(decode_image(file.read_bytes())) for file in files]
    return default.analyse(torch.stack(pixels))


def test_the_samples_sent_over_and_over_raise_no_alarm(
    default: Pipeline, samples: Findings
) -> None:
    looks = Looks(default)
    looks.over_and_over(samples, (number % len(samples) for number in range(LOOKS)))
    assert 0 < len(looks.counted) <= len(samples)
    assert not looks.watch.alarm


def test_they_would_if_each_was_taken_for_another_image(
    default: Pipeline, samples: Findings
) -> None:
    looks = Looks(default)
    looks.over_and_over(samples, range(LOOKS))
    assert looks.watch.alarm


def test_an_image_counts_again_after_20_000_others(default: Pipeline, samples: Findings) -> None:
    looks = Looks(default)
    row = int(samples.p_values.argmax())  # far from what is left out as suspicious
    for digests, counted in ((range(LOOKS), LOOKS), ([0], LOOKS), ([LOOKS, 0], LOOKS + 2)):
        for digest in digests:
            looks.watch.see("bench", samples, row, digest=digest, in_campaign=False)
        assert len(looks.counted) == counted


def test_drift_of_new_images_is_found_among_ten_times_as_many_repeats(pipeline: Pipeline) -> None:
    looks = Looks(pipeline)
    pixels = torch.zeros(600, 3, 8, 8, dtype=torch.uint8)
    # Calibration scores are even below 200; these crowd in the middle.
    pixels[:, 0, 0, 1] = torch.arange(600) % 100 + 60
    drifted = pipeline.analyse(pixels)
    for row, digest in enumerate(range(120, 720)):
        looks.watch.see("camera", drifted, row, digest=digest, in_campaign=False)
        for repeat in range(10):
            again = (10 * row + repeat) % 120
            looks.watch.see("bench", drifted, again, digest=again, in_campaign=False)
    assert looks.watch.alarm


def test_repeats_of_one_caller_do_not_enlarge_the_share_of_another(
    default: Pipeline, samples: Findings
) -> None:
    looks = Looks(default)
    row = int(samples.p_values.argmax())
    digests = itertools.count()
    rounds, taken = 1000, 0
    for number in range(rounds):
        for _ in range(18):
            looks.watch.see("bench", samples, row, digest=-1, in_campaign=False)
        honest = f"principal {number % 20}"
        looks.watch.see(honest, samples, row, digest=next(digests), in_campaign=False)
        before = len(looks.counted)
        looks.watch.see("attacker", samples, row, digest=next(digests), in_campaign=False)
        taken += len(looks.counted) - before
    # A tenth of what is no repeat, and somewhat more at first, while few have sent anything.
    assert taken <= 0.12 * 2 * rounds
