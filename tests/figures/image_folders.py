"""Images of CIFAR-10 as files in folders, as users have theirs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from tests.figures.bench import Bench

__all__ = ["write_images"]


def write_images(bench: Bench, folder: Path, a_class: Mapping[str, int]) -> None:
    """Write images as PNG files, one folder a class in one folder a split.

    Args:
        bench: Where they come from.
        folder: Where to.
        a_class: By the split's name, how many of each class at most.
    """
    for name, most in a_class.items():
        images = getattr(bench.splits, name)
        counts = dict.fromkeys(range(len(bench.splits.class_names)), most)
        for row, label in enumerate(images.labels.tolist()):
            if counts[label]:
                counts[label] -= 1
                pixels = images.read([row], bench.pipeline.preprocessing)[0]
                path = folder / name / bench.splits.class_names[label] / f"{row:05d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(path, compress_level=1)
