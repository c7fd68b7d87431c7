"""A command that is killed with SIGKILL at random points of its work, again and again."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

__all__ = ["Extraction", "files_of", "run_killed"]

_POLL_S = 0.002


@dataclass(frozen=True, kw_only=True, slots=True)
class Extraction:
    """What ``offpath extract`` is given, less the folder that it writes to.

    Args:
        data: The images.
        network: The network's file.
        options: Further options.
    """

    data: Path
    network: Path
    options: Sequence[str]

    def command(self, output: Path | str) -> list[str]:
        """The command as a process runs it."""
        given = ["--data", str(self.data), "--network", str(self.network), "--output", str(output)]
        return [sys.executable, "-m", "service.cli", "extract", *given, *self.options]

    def run(self, output: Path) -> None:
        """Run it to its end.

        Raises:
            subprocess.CalledProcessError: If it does not end with exit code 0.
        """
        subprocess.run(self.command(output), check=True, capture_output=True)


def run_killed(extraction: Extraction, output: Path, *, kills: int, seed: int = 0) -> int:
    """Kill an extraction that often, then let it come to its end.

    Each run makes one to three more files, and is then killed at once or, as often, at a random
    time within that of one more file.

    Args:
        extraction: What is extracted; it needs more than three files for each kill.
        output: Where to, a new folder.
        kills: How often.
        seed: Fixes the points, as far as the machine's speed does not.

    Returns:
        How many of the runs were killed; the others had come to their end before.
    """
    generator = np.random.default_rng(seed)
    killed = 0
    for _ in range(kills):
        before = _files(output)
        more, late = int(generator.integers(1, 4)), bool(generator.integers(2))
        process = subprocess.Popen(
            extraction.command(output), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        started = _wait_for(process, output, before + 1)
        reached = _wait_for(process, output, before + more)
        if late and more > 1:
            time.sleep(generator.uniform(0, (reached - started) / (more - 1)))
        process.kill()
        killed += process.wait() < 0
    extraction.run(output)
    return killed


def files_of(folder: Path) -> dict[str, bytes]:
    """Name and bytes of each file in a folder, hidden ones too."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _wait_for(process: subprocess.Popen[bytes], output: Path, files: int) -> float:
    """Wait until so many files are there, or the process has ended; the time."""
    while process.poll() is None and _files(output) < files:
        time.sleep(_POLL_S)
    return time.monotonic()


def _files(folder: Path) -> int:
    return sum(1 for _ in folder.glob("*.parquet"))
