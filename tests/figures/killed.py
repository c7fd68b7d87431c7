"""A command that is killed with SIGKILL at random points of its work, again and again."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.ray_cluster import environment, running_cluster, until

__all__ = ["Extraction", "files_of", "run_killed", "run_on_ray_killed"]

_POLL_S = 0.002
_BEFORE_LOSS = 10
"""Files that are there before a worker is lost."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Extraction:
    """What ``offpath extract`` is given, less the folder that it writes to.

    Args:
        data: The images.
        network: The network's file.
        options: Further options.
        environment: What its process finds in its environment; what this one has by default.
    """

    data: Path
    network: Path
    options: Sequence[str]
    environment: Mapping[str, str] | None = None

    def command(self, output: Path | str) -> list[str]:
        """The command as a process runs it."""
        given = ["--data", str(self.data), "--network", str(self.network), "--output", str(output)]
        return [sys.executable, "-m", "service.cli", "extract", *given, *self.options]

    def run(self, output: Path) -> None:
        """Run it to its end.

        Raises:
            subprocess.CalledProcessError: If it does not end with exit code 0.
        """
        subprocess.run(self.command(output), check=True, capture_output=True, env=self.environment)


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
            extraction.command(output),
            env=extraction.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        started = _wait_for(process, output, before + 1)
        reached = _wait_for(process, output, before + more)
        if late and more > 1:
            time.sleep(generator.uniform(0, (reached - started) / (more - 1)))
        process.kill()
        killed += process.wait() < 0
    extraction.run(output)
    return killed


def run_on_ray_killed(extraction: Extraction, output: Path) -> int:
    """Extract on a Ray cluster of two workers, and kill one at work when some files are there.

    Args:
        extraction: What is extracted, with the environment of `tests.ray_cluster`.
        output: Where to, a new folder.

    Returns:
        How many files were there when it was killed; all where there was none to kill.

    Raises:
        subprocess.CalledProcessError: If the command does not end with exit code 0.
    """
    with running_cluster() as cluster:
        process = subprocess.Popen(
            [*extraction.command(output), "--engine", "ray"],
            env=environment(cluster.address),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(
            lambda: (
                process.poll() is not None
                or (_files(output) >= _BEFORE_LOSS and cluster.kill_one_at_work())
            )
        )
        there = _files(output)
        if process.wait():
            raise subprocess.CalledProcessError(process.returncode, process.args)
    return there


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
