"""What closing filters spares, and what it costs in accuracy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from detector.decoupling import MacCount
from detector.weights import load_network
from tests.figures.bench import Bench
from tests.figures.figure import Figure, reported, share_text

__all__ = ["sparsity"]

_OPEN = Path(__file__).parent / "weights" / "open-1.0.safetensors"
"""What `offpath sweep --open-share 1` made of the plain phase of the bundled default's recipe."""

_SPARSE = _OPEN.with_name("open-0.6.safetensors")
"""The same with the largest share that leaves at most half of the multiplications."""

_KEPT_TARGET = 0.5
_LOST_TARGET = 0.01
_BATCH = 250


@dataclass(frozen=True, kw_only=True, slots=True)
class _Seen:
    """How many test images a network classifies right, and what share of MACs each one keeps."""

    right: int
    kept: np.ndarray[tuple[int], np.dtype[np.float64]]


def sparsity(bench: Bench) -> list[Figure]:
    """MACs kept, modules included, and test accuracy lost against the network trained for R = 1."""
    whole, sparse = _seen(bench, _OPEN), _seen(bench, _SPARSE)
    images = len(bench.splits.test)
    lost = (whole.right - sparse.right) / images
    kept = float(sparse.kept.mean())
    return [
        reported("ResNet-20 for R = 1: MACs kept", _kept_text(whole)),
        reported("ResNet-20 for R = 1: test accuracy", share_text(whole.right, images)),
        Figure(
            name="sparse ResNet-20: MACs kept",
            target=f"<= {_KEPT_TARGET:.0%}",
            measured=_kept_text(sparse),
            holds=kept <= _KEPT_TARGET,
        ),
        reported("sparse ResNet-20: test accuracy", share_text(sparse.right, images)),
        Figure(
            name="sparse ResNet-20: points lost against R = 1",
            target=f"<= {_LOST_TARGET * 100:.1f} points",
            measured=f"{lost * 100:.2f} points",
            holds=lost <= _LOST_TARGET,
        ),
    ]


def _seen(bench: Bench, weights: Path) -> _Seen:
    network, info = load_network(weights)
    side = info.preprocessing
    macs = MacCount.of(network, height=side.height, width=side.width)
    labels, right, kept = bench.splits.test.labels, 0, []
    with torch.inference_mode():
        for start in range(0, len(labels), _BATCH):
            rows = range(start, min(start + _BATCH, len(labels)))
            output = network(side(bench.splits.test.read(rows, side)))
            predicted = output.class_logits.argmax(dim=1).numpy()
            right += int((predicted == labels[rows.start : rows.stop]).sum())
            kept.append(macs.total(output.path.bits).numpy() / macs.plain)
    return _Seen(right=right, kept=np.concatenate(kept))


def _kept_text(seen: _Seen) -> str:
    low, high = np.quantile(seen.kept, [0.05, 0.95])
    return f"{seen.kept.mean():.1%}, 5-95 % of the images {low:.1%} to {high:.1%}"
