"""Which sizes of batch give the same image the same numbers on this machine."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from detector.pipeline.findings import Findings
from detector.pipeline.pipeline import Pipeline

__all__ = ["row_digests"]

_SEED = 20200823


def row_digests(pipeline: Pipeline, level: str, size: int) -> frozenset[str]:
    """What one image comes to at the first, middle and last place of a batch of random others.

    Convolution libraries choose their kernels by the size of the batch. Sizes that give this image
    the same digest compute alike; one that gives it several cannot keep a promise at all.

    Args:
        pipeline: The pipeline, on the device that counts.
        level: At which level.
        size: Size of the batch, at least 1.

    Returns:
        SHA-256 of bits, gate logits, class logits and score, each digest that occurs.
    """
    side = pipeline.preprocessing
    draws = torch.Generator().manual_seed(_SEED)
    shape = (1 + size, 3, side.height, side.width)
    # No extremes: what saturates agrees everywhere.
    probe, *others = torch.randint(64, 192, shape, generator=draws).to(torch.uint8)
    places = sorted({0, size // 2, size - 1})
    batch = torch.stack([probe if i in places else other for i, other in enumerate(others)])
    found = pipeline.analyse(batch, level)
    return frozenset(_digest(found, row) for row in places)


def _digest(found: Findings, row: int) -> str:
    parts: tuple[Tensor, ...] = (
        found.path.bits,
        found.path.logits,
        found.class_logits,
        found.scores,
    )
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part[row].contiguous().numpy().tobytes())
    return digest.hexdigest()
