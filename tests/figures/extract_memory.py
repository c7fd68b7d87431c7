"""Whether extraction, and calibration after it, keep their memory flat.

The images lie in a folder and are read when their turn comes, so that nothing but torch itself
stands below the growth that is measured. Batches are small: the allocator's own ups and downs go
with their size, and would hide a slow leak.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.figures.bench import Bench
from tests.figures.calibrate_memory import calibrate_memory
from tests.figures.figure import Figure
from tests.figures.image_folders import write_images

__all__ = ["extract_memory"]

_COUNTS = (1_000, 10_000)
_TARGET = 0.10
_TRAIN_A_CLASS = 3
"""The least that can be divided; extraction does not read them."""

_PROGRAM = """
import resource, sys
from pathlib import Path
from detector.bundle import load_bundle
from detector.data import load_splits
from detector.jobs.extract import ExtractOptions, extract
from detector.path_table import SplitName
data, output, limit = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
pipeline = load_bundle().pipeline
extract(
    pipeline.network,
    load_splits(data, preprocessing=pipeline.preprocessing),
    ExtractOptions(output=output, splits=(SplitName.TEST,), limit=limit, batch_size=25),
)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def extract_memory(bench: Bench) -> list[Figure]:
    """Peak memory of a whole process that extracts clean paths, for two numbers of images.

    Growth has two bounds: a share of the whole, and what the images alone would take if all of
    them were held, which is less. Calibration is measured beside it.
    """
    with tempfile.TemporaryDirectory() as folder:
        write_images(bench, Path(folder), {"train": _TRAIN_A_CLASS, "test": _COUNTS[1]})
        small, large = (_peak_bytes(Path(folder), count) for count in _COUNTS)
    return [_figure(bench, small, large), *calibrate_memory(bench)]


def _figure(bench: Bench, small: int, large: int) -> Figure:
    growth = large - small
    side = bench.pipeline.preprocessing
    held = (_COUNTS[1] - _COUNTS[0]) * 3 * side.height * side.width
    return Figure(
        name="peak memory of extract, 10 000 against 1 000 images",
        target=f"within {_TARGET:.0%} and {held / 2**20:.0f} MiB",
        measured=f"{growth / small:+.1%}, {growth / 2**20:+.1f} MiB "
        f"({large / 2**20:.0f} against {small / 2**20:.0f} MiB)",
        holds=abs(growth) <= min(_TARGET * small, held),
    )


def _peak_bytes(data: Path, images: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, str(data), folder, str(images)],
            check=True,
            capture_output=True,
            text=True,
        )
    return int(done.stdout.split()[-1])
