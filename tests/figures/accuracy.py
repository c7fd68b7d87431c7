"""What decoupling costs in accuracy."""

from __future__ import annotations

from pathlib import Path

import torch

from detector.weights import load_gated
from tests.figures.bench import Bench
from tests.figures.figure import Figure, reported, share_text

__all__ = ["accuracy"]

_PLAIN = Path(__file__).parent / "weights" / "plain-64-epochs.safetensors"
"""The plain phase of the bundled default's recipe, which its decoupled phase started from."""

_OTHER_SEEDS = tuple(_PLAIN.with_name(f"seed-{seed}.safetensors") for seed in (1, 2))
"""The same recipe with other seeds, from the same plain phase."""

_HARDENED = _PLAIN.with_name("robust.safetensors")
"""What `offpath train --preset resnet20-cifar10-robust` made of it."""

_PLAIN_TARGET = 0.915
_LOSS_TARGET = 0.015


def accuracy(bench: Bench) -> list[Figure]:
    """Test accuracy of the decoupled network and of the plain one that it was trained from."""
    labels = bench.splits.test.labels
    right = _right(bench, _PLAIN)
    decoupled = int((bench.clean.predicted == labels).sum())
    lost = (right - decoupled) / len(labels)
    seeds = [_right(bench, weights) / len(labels) for weights in _OTHER_SEEDS]
    return [
        Figure(
            name="test accuracy, plain ResNet-20",
            target=f">= {_PLAIN_TARGET:.1%}",
            measured=share_text(right, len(labels)),
            holds=right / len(labels) >= _PLAIN_TARGET,
        ),
        reported("test accuracy, decoupled ResNet-20", share_text(decoupled, len(labels))),
        Figure(
            name="test accuracy lost by decoupling",
            target=f"<= {_LOSS_TARGET * 100:.1f} points",
            measured=f"{lost * 100:.2f} points",
            holds=lost <= _LOSS_TARGET,
        ),
        reported(
            "test accuracy, decoupled ResNet-20, seeds 1 and 2",
            " and ".join(f"{share:.2%}" for share in seeds),
        ),
        reported(
            "test accuracy, hardened ResNet-20", share_text(_right(bench, _HARDENED), len(labels))
        ),
    ]


def _right(bench: Bench, weights: Path) -> int:
    """How many test images a network classifies right; a plain one has all its gates open."""
    network, info = load_gated(weights)
    labels, right = bench.splits.test.labels, 0
    with torch.inference_mode():
        for start in range(0, len(labels), 250):
            rows = range(start, min(start + 250, len(labels)))
            images = bench.splits.test.read(rows, info.preprocessing)
            predicted = network(info.preprocessing(images)).class_logits.argmax(dim=1).numpy()
            right += int((predicted == labels[rows.start : rows.stop]).sum())
    return right
