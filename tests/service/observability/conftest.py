"""Prometheus and its linter as Debian packs them: from the path, or unpacked here without root."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

PACKAGE = "prometheus"
PROGRAMS = ("prometheus", "promtool")
CACHE = Path(__file__).parents[3] / "build" / "debian"
DOWNLOAD_S = 120.0
# apt-get gives way to a user of its own, who may not write into our folders.
OPTIONS = ("-q", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=2")


@pytest.fixture(scope="session")
def programs() -> dict[str, Path]:
    """Where `prometheus` and `promtool` lie."""
    found = {name: shutil.which(name) for name in PROGRAMS}
    if all(found.values()):
        return {name: Path(str(path)) for name, path in found.items()}
    folder = CACHE / PACKAGE
    unpacked = {name: folder / "usr" / "bin" / name for name in PROGRAMS}
    if not all(map(runs, unpacked.values())):
        shutil.rmtree(folder, ignore_errors=True)
        unpack_package(folder)
    return unpacked


def runs(program: Path) -> bool:
    """Whether a program is there and whole."""
    return program.exists() and run([str(program), "--version"], CACHE).returncode == 0


def unpack_package(folder: Path) -> None:
    """Put the package's files below a folder, all of them or none; skip where there is none."""
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            pytest.skip(f"No {PACKAGE} on the path, and no {tool} to fetch its package with.")
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as temporary:
        work = Path(temporary)
        package = download(work)
        run(["dpkg-deb", "-x", str(package), str(work / "unpacked")], work).check_returncode()
        with contextlib.suppress(FileExistsError):  # somebody else was faster
            (work / "unpacked").rename(folder)


def download(work: Path) -> Path:
    """The package, whose digest apt-get has checked; skip where none is to be had."""
    done = apt_get(["download", PACKAGE], work)
    if done.returncode:  # nobody has asked yet what packages there are: ask for this folder alone
        for name in ("lists", "cache/archives"):
            (work / name / "partial").mkdir(parents=True)
        own = ["-o", f"Dir::State::Lists={work}/lists", "-o", f"Dir::Cache={work}/cache"]
        apt_get([*own, "update"], work)
        done = apt_get([*own, "download", PACKAGE], work)
    packages = sorted(work.glob(f"{PACKAGE}_*.deb"))
    if done.returncode or not packages:
        pytest.skip(f"apt-get has no package {PACKAGE} to give: {done.stderr.strip()[-300:]}")
    return packages[0]


def apt_get(arguments: Sequence[str], work: Path) -> subprocess.CompletedProcess[str]:
    return run(["apt-get", *OPTIONS, *arguments], work)


def run(command: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=DOWNLOAD_S
    )
