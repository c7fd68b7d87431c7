"""Looks whether another bundle has taken the place of the one that is served."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from detector.errors import OffpathError
from service.engines import Engines

__all__ = ["watch_bundle"]

_log = logging.getLogger(__name__)
_Stamp = tuple[tuple[str, int, int, int], ...]


async def watch_bundle(
    folder: Path,
    engines: Engines,
    *,
    every_s: float,
    promote: bool,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Load what is put into a folder, and let it stand by; a bad bundle changes nothing.

    A folder is read once it was found the same twice, as files may still be on their way, and not
    again before it changes.

    Args:
        folder: Where bundles are put.
        engines: Who loads them.
        every_s: Time between two looks, seconds.
        promote: Whether a new bundle is promoted once it is warm.
        sleep: How time passes.
    """
    before: _Stamp | None = None
    tried: _Stamp | None = None
    while True:
        await sleep(every_s)
        stamp = await asyncio.to_thread(_stamp, folder)
        if stamp == before and stamp != tried:
            tried = stamp
            await _load(folder, engines, promote=promote)
        before = stamp


async def _load(folder: Path, engines: Engines, *, promote: bool) -> None:
    loaded = {engine.digest for _, engine in engines.loaded()}
    try:
        digest = await engines.load(folder)
    except Exception:  # noqa: BLE001  # the engines have told why; the watch goes on
        _log.info("The folder %s is left alone until it changes", folder)
        return
    # One that was loaded already may have been rolled back from, for a reason.
    if promote and digest not in loaded:
        try:
            engines.promote(digest)
        except OffpathError as error:
            _log.error("The bundle in %s is not promoted: %s", folder, error)


def _stamp(folder: Path) -> _Stamp:
    """What differs when a file of the folder was written, replaced or removed."""
    try:
        found = {path.name: path.stat() for path in folder.iterdir()}
    except OSError:  # not there, or changed under our hands
        return ()
    return tuple(
        (name, status.st_ino, status.st_size, status.st_mtime_ns)
        for name, status in sorted(found.items())
    )
