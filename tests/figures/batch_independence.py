"""Whether bits and score hang on the batch, and how often rounding decides a verdict."""

from __future__ import annotations

import torch
from torch import Tensor

from detector.devices import threads
from detector.pipeline import Findings, Pipeline, Verdict, row_digests
from service.settings import Settings
from tests.figures.bench import Bench
from tests.figures.figure import Figure, share_text

__all__ = ["batch_independence"]

_IMAGES = 6
_MATES = 200
_SEED = 0
_CALIBRATION = 2000
_MOST_UNDECIDED = 0.005


def batch_independence(bench: Bench) -> list[Figure]:
    """Some images alone and in every served size, at five positions, among random neighbours.

    At each level, with one and with two threads. Calibration images, as nothing is learnt here.
    """
    images = bench.pixels(bench.splits.calibration, _CALIBRATION)
    compared = differing = 0
    for count in (1, 2):
        with threads(count):
            for level in bench.pipeline.levels:
                found = _compare(bench.pipeline, level, images[:_MATES])
                compared, differing = compared + found[0], differing + found[1]
    return [
        Figure(
            name="same image in every batch size and position: differing bits / scores",
            target="0",
            measured=f"{differing} of {compared} comparisons, all levels, 1 and 2 threads",
            holds=differing == 0,
        ),
        _undecided(bench.pipeline, images),
    ]


def _compare(pipeline: Pipeline, level: str, images: Tensor) -> tuple[int, int]:
    """How many comparisons were made, and how many found other bits or another score."""
    sizes = Settings().batch_sizes_of(pipeline.level(level).passes)
    reference = row_digests(pipeline, level, sizes[-1])
    served = [size for size in sizes if row_digests(pipeline, level, size) == reference]
    draws = torch.Generator().manual_seed(_SEED)
    compared = differing = 0
    for image in images[:_IMAGES]:
        # Alone is what the server makes of one image: padded to the smallest size it serves.
        alone = pipeline.analyse(image.expand(served[0], *image.shape), level)
        for size in served:
            for place in sorted({0, size // 4, size // 2, 3 * size // 4, size - 1}):
                batch = images[torch.randint(len(images), (size,), generator=draws)].clone()
                batch[place] = image
                compared += 1
                differing += not _same(alone, 0, pipeline.analyse(batch, level), place)
    return compared, differing


def _same(first: Findings, row: int, second: Findings, place: int) -> bool:
    return bool(
        torch.equal(first.path.bits[row], second.path.bits[place])
        and torch.equal(first.path.logits[row], second.path.logits[place])
        and torch.equal(first.scores[row], second.scores[place])
    )


def _undecided(pipeline: Pipeline, images: Tensor) -> Figure:
    """How often this machine's rounding decides a verdict of the default level."""
    undecided = unstable = 0
    for batch in images.split(32):
        found = pipeline.analyse(batch)
        verdicts = [pipeline.detect(found, row) for row in range(len(batch))]
        unstable += sum(each.unstable_gates > 0 for each in verdicts)
        undecided += sum(each.verdict is Verdict.ABSTAIN for each in verdicts)
    return Figure(
        name="clean images whose verdict rounding decides",
        target=f"at most {_MOST_UNDECIDED:.1%}",
        measured=f"{share_text(undecided, len(images))}; {unstable} have an unstable gate",
        holds=undecided <= _MOST_UNDECIDED * len(images),
    )
