"""Whether calibration keeps its memory flat, however many images the path table is of."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from detector.bundle import DEFAULT_BUNDLE
from detector.bundle.folder import NETWORK
from detector.copies import parse_copy
from detector.jobs.extract import ExtractOptions, extract
from detector.path_table import SplitName
from tests.figures.bench import Bench
from tests.figures.figure import Figure

__all__ = ["calibrate_memory"]

_IMAGES = {SplitName.TRAIN: 1_000, SplitName.FIT: 150, SplitName.CALIBRATION: 350}
"""Of the small table; the large one has ten times as many of each split."""
_TARGET = 0.10
_ALPHA = 0.2
"""The small table has 35 calibration images a class, some of which are predicted elsewhere."""

_PROGRAM = """
import resource, sys
from pathlib import Path
from detector.jobs.calibrate import CalibrateOptions, calibrate
table, network, output, alpha = sys.argv[1:]
calibrate(CalibrateOptions(
    table=Path(table), network=Path(network), output=Path(output), alpha=float(alpha)))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def calibrate_memory(bench: Bench) -> list[Figure]:
    """Peak memory of a whole process that calibrates, for tables of two sizes."""
    small, large = (_peak_bytes(bench, times) for times in (1, 10))
    growth = large - small
    return [
        Figure(
            name="peak memory of calibrate, 15 000 against 1 500 images",
            target=f"within {_TARGET:.0%}",
            measured=f"{growth / small:+.1%}, {growth / 2**20:+.1f} MiB "
            f"({large / 2**20:.0f} against {small / 2**20:.0f} MiB)",
            holds=abs(growth) <= _TARGET * small,
        )
    ]


def _peak_bytes(bench: Bench, times: int) -> int:
    with tempfile.TemporaryDirectory(prefix="offpath-figures-") as folder:
        table = Path(folder) / "table"
        for split, images in _IMAGES.items():
            extract(
                bench.pipeline.network,
                bench.splits,
                ExtractOptions(
                    output=table,
                    splits=(split,),
                    copies=() if split is SplitName.TRAIN else (parse_copy("flip"),),
                    limit=times * images,
                ),
            )
        given = [table, DEFAULT_BUNDLE / NETWORK, Path(folder) / "bundle", _ALPHA]
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, *map(str, given)],
            check=True,
            capture_output=True,
            text=True,
        )
    return int(done.stdout.split()[-1])
