"""Which bundle answers, which one stands by, and which one answered before."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path

from detector.bundle import Bundle, BundleManifest
from detector.errors import BundleError, OffpathError
from service.admission import DrainingError
from service.analysis import Analysed
from service.codec import AnalysisCall
from service.engine import Engine
from service.errors import BadBundleError, WrongPlaceError
from service.metrics import Metrics
from service.shadow import Shadow

__all__ = ["Engines", "Place"]

_log = logging.getLogger(__name__)


class Place(Enum):
    """Where an engine stands."""

    ACTIVE = "active"
    """It answers all calls."""
    STANDBY = "standby"
    """It is warm and waits to be promoted; at most it is a shadow."""
    PREVIOUS = "previous"
    """It was active before, and is kept for the way back."""


class Engines:
    """The engines of a server.

    A call asks once, at its begin, for the `active` one and stays with it. All changes of places
    are made between two steps of the event loop, so that no call sees half of one.

    Args:
        active: Who answers first.
        load: Reads a bundle from its folder and lets it test itself; called on a thread.
        make: Builds the engine of a bundle.
        metrics: Where changes are counted.
        promoted: Told who answers from now on.
        last_calls_s: Longest wait for the last calls of an engine that is dropped, seconds.
    """

    def __init__(
        self,
        active: Engine,
        *,
        load: Callable[[Path], Bundle],
        make: Callable[[Bundle], Engine],
        metrics: Metrics,
        promoted: Callable[[Engine], None],
        last_calls_s: float,
    ) -> None:
        self._load = load
        self._make = make
        self._metrics = metrics
        self._promoted = promoted
        self._last_calls_s = last_calls_s
        self._one_load = asyncio.Lock()
        self._draining = False
        self._leaving: set[asyncio.Task[bool]] = set()
        self.active = active
        self.standby: Engine | None = None
        self.previous: Engine | None = None
        self.shadow = Shadow(metrics)
        active.observer.answers = True

    def loaded(self) -> Iterator[tuple[Place, Engine]]:
        """Every engine and its place, the active one first."""
        yield Place.ACTIVE, self.active
        for place, engine in ((Place.STANDBY, self.standby), (Place.PREVIOUS, self.previous)):
            if engine is not None:
                yield place, engine

    def holds(self, digest: str) -> bool:
        """Whether a bundle is loaded."""
        return any(engine.digest == digest for _, engine in self.loaded())

    def answered(self, engine: Engine, call: AnalysisCall, answer: Analysed) -> None:
        """Let the shadow look at a call that an engine has just judged; returns at once."""
        if self.standby is not None and engine is self.active:
            self.shadow.follow(self.standby, call, (each.detection for each in answer.images))

    async def load(self, folder: Path) -> str:
        """Load a bundle beside the active one, and let it stand by; one at a time.

        Args:
            folder: Where it lies.

        Returns:
            Its digest. Where it is loaded already, nothing else happens.

        Raises:
            BadBundleError: If it cannot be loaded, or callers could not go on with it.
            DrainingError: If the server is shutting down.
        """
        async with self._one_load:
            self._check_open()
            try:
                digest, engine = await self._ready(folder)
            except Exception as error:
                self._metrics.bundles.loads.labels("failed").inc()
                expected = isinstance(error, OffpathError)
                _log.error(
                    "The bundle in %s is refused, the others stay: %s",
                    folder,
                    error,
                    exc_info=None if expected else error,
                )
                if expected and not isinstance(error, DrainingError):
                    raise BadBundleError(str(error)) from error
                raise
            if engine is not None:
                self._metrics.bundles.loads.labels("done").inc()
                _log.info("Bundle %s stands by", digest)
                self.shadow.forget()
                self._stand_by(engine)
            return digest

    def start_shadow(self, share: float) -> None:
        """Let the engine that stands by judge a share of the calls from now on.

        Args:
            share: In [0, 1]; 0 turns it off.

        Raises:
            WrongPlaceError: If none stands by.
            InvalidInputError: If it is no share.
        """
        if self.standby is None:
            raise WrongPlaceError(
                "A bundle should stand by to be the shadow. Found none. Load one that is not the "
                "one that answers."
            )
        self.shadow.start(share)

    def promote(self, digest: str) -> None:
        """Let the engine that stands by answer all calls from now on; the active one is kept.

        Args:
            digest: Its bundle's. Nothing happens if that is active already.

        Raises:
            WrongPlaceError: If it does not stand by, or its batches fail.
            DrainingError: If the server is shutting down.
        """
        self._check_open()
        if digest == self.active.digest:
            return
        engine = self.standby
        if engine is None or engine.digest != digest:
            raise WrongPlaceError(
                f"The bundle to promote should stand by. Found {digest or 'no digest'}, which does "
                "not. Load it first, or roll back to it if it is the previous one."
            )
        _check_fit(engine)
        self.standby = None
        self._drop(self.previous)
        self.previous = self.active
        self._answer_with(engine)
        self._metrics.bundles.promotions.inc()
        _log.info("Bundle %s is promoted", engine.digest)

    def roll_back(self) -> None:
        """Let the previous engine answer all calls from now on; the active one stands by.

        Raises:
            WrongPlaceError: If there is none, or its batches fail.
            DrainingError: If the server is shutting down.
        """
        self._check_open()
        engine = self.previous
        if engine is None:
            raise WrongPlaceError(
                "There should be a previous bundle to roll back to. Found none. "
                "Load the one that you want and promote it."
            )
        _check_fit(engine)
        rolled_back, self.previous = self.active, None
        self._answer_with(engine)
        self._stand_by(rolled_back)
        self._metrics.bundles.rollbacks.inc()
        _log.info("Rolled back to bundle %s", engine.digest)

    def unload(self, digest: str) -> None:
        """Drop an engine that is not active, once its last calls are answered.

        Args:
            digest: Its bundle's.

        Raises:
            WrongPlaceError: If it is active or not loaded.
        """
        for place, engine in self.loaded():
            if engine.digest == digest and place is not Place.ACTIVE:
                if place is Place.STANDBY:
                    self.shadow.forget()
                    self.standby = None
                else:
                    self.previous = None
                self._drop(engine)
                _log.info("Bundle %s is dropped", digest)
                return
        raise WrongPlaceError(
            "The bundle to drop should stand by or be the previous one. "
            f"Found {digest or 'no digest'}, which does not. List what is loaded."
        )

    async def stop(self, *, timeout_s: float) -> bool:
        """Refuse new calls and bundles, answer the calls admitted, end all threads.

        Args:
            timeout_s: Longest wait for the admitted ones, seconds.

        Returns:
            Whether all of them were answered.
        """
        self._draining = True
        self.shadow.stop()
        # Who stands by may still answer calls from before a roll-back.
        stops = [engine.stop(timeout_s=timeout_s) for _, engine in self.loaded()]
        return all(await asyncio.gather(*stops, *self._leaving))

    async def _ready(self, folder: Path) -> tuple[str, Engine | None]:
        """A bundle's digest and its warm engine; None where it is loaded already."""
        manifest = await asyncio.to_thread(BundleManifest.read, folder)
        if self.holds(manifest.digest):
            return manifest.digest, None
        bundle = await asyncio.to_thread(self._load, folder)
        digest = bundle.manifest.digest
        if digest != manifest.digest:
            raise BundleError(
                f"{folder} should stay as it is while it is loaded. Found another bundle in it. "
                "Load it again."
            )
        _check_replaces(bundle, self.active.bundle)
        engine = self._make(bundle)
        try:
            await engine.warm()
            self._check_open()
        except BaseException:
            await engine.stop(timeout_s=0)
            raise
        return digest, engine

    def _answer_with(self, engine: Engine) -> None:
        self.shadow.stop()
        engine.observer.answers = True
        self.active = engine
        self._promoted(engine)

    def _stand_by(self, engine: Engine) -> None:
        self.shadow.stop()
        self._drop(self.standby)
        self.standby = engine
        engine.observer.answers = False

    def _drop(self, engine: Engine | None) -> None:
        if engine is None:
            return
        leaving = asyncio.create_task(engine.stop(timeout_s=self._last_calls_s))
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)

    def _check_open(self) -> None:
        if self._draining:
            raise DrainingError(
                "The server should be serving. Found it shutting down. Start another one."
            )


def _check_fit(engine: Engine) -> None:
    if not engine.is_fit:
        raise WrongPlaceError(
            "A bundle whose batches succeed should answer. "
            f"Found that those of {engine.digest} fail. Unload it and load it again."
        )


def _check_replaces(bundle: Bundle, active: Bundle) -> None:
    """Refuse a bundle that callers of another could not go on with.

    Raises:
        BundleError: If its classes are others, or a level is missing.
    """
    ours, theirs = bundle.manifest, active.manifest
    if ours.class_names != theirs.class_names:
        raise BundleError(
            "A bundle that takes over should have the classes of the active one, in their order, "
            f"as callers rely on them. Found {len(ours.class_names)} classes that are others. "
            "Start a server of its own for it."
        )
    missing = {level.name for level in theirs.levels} - {level.name for level in ours.levels}
    if missing:
        raise BundleError(
            "A bundle that takes over should have every level of the active one, as callers ask "
            f"for them. Found none for {', '.join(sorted(missing))}. Calibrate it for them as well."
        )
