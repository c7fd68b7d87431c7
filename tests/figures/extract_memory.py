"""Whether extraction keeps its memory flat, however many images it reads."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.figures.bench import Bench
from tests.figures.figure import Figure

__all__ = ["extract_memory"]

_COUNTS = (1_000, 10_000)
_TARGET = 0.10

_PROGRAM = """
import resource, sys
from pathlib import Path
from detector.bundle import load_bundle
from detector.data import load_splits
from detector.jobs.extract import ExtractOptions, extract
from detector.path_table import SplitName
data, output, limit = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
extract(
    load_bundle().pipeline.network,
    load_splits(data),
    ExtractOptions(output=output, splits=(SplitName.TEST,), limit=limit),
)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def extract_memory(bench: Bench) -> list[Figure]:
    """Peak memory of a whole process that extracts clean paths, for two numbers of images."""
    small, large = (_peak_bytes(bench.data_path, count) for count in _COUNTS)
    growth = large / small - 1
    return [
        Figure(
            name="peak memory of extract, 10 000 against 1 000 images",
            target=f"within {_TARGET:.0%}",
            measured=f"{growth:+.1%} ({large / 2**20:.0f} against {small / 2**20:.0f} MiB)",
            holds=abs(growth) <= _TARGET,
        )
    ]


def _peak_bytes(data: Path, images: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, str(data), folder, str(images)],
            check=True,
            capture_output=True,
            text=True,
        )
    return int(done.stdout.split()[-1])
