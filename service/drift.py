"""Whether the promise of a bundle still stands for its traffic, and what to do if not."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from detector.drift import DriftMonitor, LayerShift
from detector.pipeline import Findings, Pipeline
from service.fair_share import FairShare
from service.recent import RecentDigests

__all__ = ["DriftReport", "DriftWatch"]

_NAMED_LAYERS = 3
_REMEMBERED = 20_000
"""Twice the images of a window of the martingale: those of it that count are then all different,
unless more than half of what was looked at meanwhile was suspicious or of another level."""

_ADVICE = (
    "Traffic no longer looks like the calibration images, so that more of it may be flagged than "
    "the budget allows. See what changed before the images came here, such as camera, light, "
    "resizing or compression. If it is to stay, calibrate a bundle on recent clean images and "
    "promote it."
)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class DriftReport:
    """What is known of the traffic that a bundle has judged.

    Args:
        since: When the first image was looked at; None before.
        found: When drift was found; None where none was.
        advice: What to do; empty where no drift was found.
        layers: The layers whose gates moved furthest, and how far, furthest first; none where no
            drift was found.
    """

    since: datetime | None
    found: datetime | None
    advice: str
    layers: tuple[tuple[str, float], ...]


class DriftWatch:
    """Looks at the images that one bundle answers; for one thread at a time.

    It tells drift from attack by who sends what: drift is in everybody's images, an attack in those
    of a few. What one principal sends counts up to a share of the traffic, images of query
    campaigns do not count, nor do those whose p-value is so small that an attack may be behind it.
    The price: with few principals an attack on many images weighs more, drift of a single one among
    many is found late or never, and drift so strong that nearly all is flagged shows in the share
    of alarms alone.

    Exact repeats do not count either, whoever sends them: retries, popular images and test sets
    sent over and over are not exchangeable with calibration images. Between two looks at the same
    pixels lie 20 000 at others, of any level and verdict, kept as digests in 3 MB. So an image that
    is sent again to a dearer level because it was suspicious does not count there, and none counts
    twice in a window of the martingale, 10 000 that count, as long as half of what is looked at
    counts at its level. Each window is held against calibration by itself: delta holds then for any
    number of images on repeat. It does not where images come again nearly the same, in another
    compression or as the next frame of a film, nor where calibration has popular images many times,
    which count here once.

    Once found, drift stays found until `reset` or another bundle: evidence that fades is no proof
    that it is over.

    Args:
        pipeline: Whose verdicts are looked at.
        delta: Probability, in (0, 1), that clean traffic is ever taken for drift, see
            `detector.drift.TestMartingale`.
        share: Most of the traffic that one principal's images count for, in (0, 1].
        counted: Called for each image that counts.
        now: The time of day.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        delta: float,
        share: float,
        counted: Callable[[], None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._pipeline = pipeline
        self._delta = delta
        self._share = share
        self._counted = counted
        self._now = now
        self.layers = pipeline.layout.names
        """Names of the layers, in the network's order."""
        self.reset()

    def reset(self) -> None:
        """Forget all that was seen, as after the cause of drift was removed.

        Each reset brings another chance, delta, of a false alarm.
        """
        pipeline = self._pipeline
        self._monitor = DriftMonitor(
            {name: level.conformal for name, level in pipeline.levels.items()},
            alpha=pipeline.alpha,
            delta=self._delta,
        )
        self._fair = FairShare(self._share)
        self._looked_at = RecentDigests(_REMEMBERED)
        self._shift = LayerShift(pipeline.layout, pipeline.open_rates.numpy())
        self._since: datetime | None = None
        self._found: datetime | None = None

    @property
    def log_martingale(self) -> float:
        """Natural logarithm of the strongest evidence for drift so far."""
        return self._monitor.log_martingale

    @property
    def alarm(self) -> bool:
        """Whether drift was found."""
        return self._found is not None

    def layer_ratio(self, index: int) -> float:
        """How far the gates of a layer have moved, in [0, 1]."""
        return self._shift.of_layer(index)

    def report(self) -> DriftReport:
        """What is known of the traffic."""
        return DriftReport(
            since=self._since,
            found=self._found,
            advice=_ADVICE if self.alarm else "",
            layers=tuple(self._shift.furthest(_NAMED_LAYERS)) if self.alarm else (),
        )

    def see(
        self, principal: str, findings: Findings, row: int, *, digest: int, in_campaign: bool
    ) -> None:
        """Look at an image that was answered.

        Args:
            principal: Who sent it.
            findings: What was found about its batch.
            row: Which image of the batch it is.
            digest: A number of 64 bits, the same for the same pixels only.
            in_campaign: Whether it belongs to a query campaign.
        """
        self._since = self._since or self._now()
        # Repeats come first: they would else fill the traffic of which others have a share.
        if in_campaign or digest in self._looked_at or not self._fair.picks(principal):
            return
        self._looked_at.add(digest)
        found = findings.rows[row]
        if not self._monitor.observe(findings.level, found.score, found.predicted):
            return
        self._counted()
        self._shift.observe(findings.path.bits.numpy()[row], found.predicted)
        if self._monitor.alarm and not self.alarm:
            self._found = self._now()
            self._warn(findings.level)

    def _warn(self, level: str) -> None:
        moved = ", ".join(f"{name} {far:.3f}" for name, far in self._shift.furthest(_NAMED_LAYERS))
        _log.warning(
            "Drift found after %d images, at last of level %s: log martingale %.1f, alarm from "
            "%.1f. Layers that moved furthest: %s. %s",
            self._monitor.images,
            level,
            self._monitor.log_martingale,
            self._monitor.log_threshold,
            moved,
            _ADVICE,
        )
