"""Programs as Debian packs them: from the path, or unpacked below ``build/`` without root."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from detector.errors import OffpathError

__all__ = ["MissingProgramError", "debian_programs", "debian_tree"]

_CACHE = Path(__file__).parents[2] / "build" / "debian"
_DOWNLOAD_S = 120.0
# apt-get gives way to a user of its own, who may not write into our folders.
_OPTIONS = ("-q", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=2")


class MissingProgramError(OffpathError):
    """A program is not on the path, and its package is not to be had."""


def debian_programs(package: str, names: Sequence[str]) -> dict[str, Path]:
    """Where programs lie; their package is fetched once where they are not on the path.

    Args:
        package: Debian's name of what holds them.
        names: Names of programs.

    Raises:
        MissingProgramError: If they are neither here nor to be had.
    """
    found = {name: shutil.which(name) for name in names}
    if all(found.values()):
        return {name: Path(str(path)) for name, path in found.items()}
    folder = _CACHE / package
    unpacked = {name: folder / "usr" / "bin" / name for name in names}
    if not all(map(_runs, unpacked.values())):
        shutil.rmtree(folder, ignore_errors=True)
        _unpack(package, folder)
    return unpacked


def debian_tree(package: str) -> Path:
    """A folder with a package and all that it needs and this machine lacks; fetched once.

    Args:
        package: Debian's name of it.

    Raises:
        MissingProgramError: If it is not to be had.
    """
    folder = _CACHE / f"{package}-and-libraries"
    if not folder.exists():
        _unpack(package, folder, _with_libraries)
    return folder


def _runs(program: Path) -> bool:
    """Whether a program is there and whole."""
    return program.exists() and _run([str(program), "--version"], _CACHE).returncode == 0


def _alone(package: str, work: Path) -> list[str]:
    """What fetches a package into a folder."""
    return ["-o", f"Dir::Cache={work}/cache", "download", package]


def _with_libraries(package: str, work: Path) -> list[str]:
    """What fetches a package and the missing ones that it needs below a folder."""
    options = ["--yes", "--download-only", "--no-install-recommends"]
    own = ["-o", f"Dir::Cache={work}/cache", "-o", "Debug::NoLocking=1"]
    return [*own, "install", *options, package]


def _unpack(package: str, folder: Path, how: Callable[[str, Path], list[str]] = _alone) -> None:
    """Put the package's files below a folder, all of them or none."""
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise MissingProgramError(
                f"{package} should be on the path. Found neither it nor {tool} to fetch its "
                "package with. Install it."
            )
    _CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_CACHE) as temporary:
        work = Path(temporary)
        for archive in _download(package, work, how(package, work)):
            _run(["dpkg-deb", "-x", str(archive), str(work / "unpacked")], work).check_returncode()
        with contextlib.suppress(OSError):  # somebody else was faster
            (work / "unpacked").rename(folder)


def _download(package: str, work: Path, command: list[str]) -> list[Path]:
    """The packages, whose digests apt-get has checked."""
    (work / "cache" / "archives" / "partial").mkdir(parents=True)
    done = _apt_get(command, work)
    if done.returncode:  # nobody has asked yet what packages there are: ask for this folder alone
        (work / "lists" / "partial").mkdir(parents=True)
        own = ["-o", f"Dir::State::Lists={work}/lists"]
        _apt_get([*own, "-o", f"Dir::Cache={work}/cache", "update"], work)
        done = _apt_get([*own, *command], work)
    archives = sorted(work.rglob("*.deb"))
    if done.returncode or not any(path.name.startswith(f"{package}_") for path in archives):
        raise MissingProgramError(
            f"{package} should be on the path, or apt-get have its package to give. "
            f"Found neither: {done.stderr.strip()[-300:]} Install it."
        )
    return archives


def _apt_get(arguments: Sequence[str], work: Path) -> subprocess.CompletedProcess[str]:
    return _run(["apt-get", *_OPTIONS, *arguments], work)


def _run(command: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603  # our own commands
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=_DOWNLOAD_S
    )
