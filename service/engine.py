"""One bundle, ready to answer, with all that depends on it."""

from __future__ import annotations

from functools import partial

import torch

from detector.bundle import Bundle, skip_where_it_pays
from detector.decoupling.skipping import SkippingChoice, SkippingPlan, Way
from detector.images import ImageLimits
from detector.pipeline import Detection, Findings, Pipeline, row_digests
from service import codec
from service.admission import Priority
from service.analysis import Analysis
from service.batch_limits import BatchLimits
from service.batcher import Batcher
from service.campaign_watches import CampaignWatches
from service.campaigns import CampaignGuard
from service.codec import AnalysisCall
from service.decoding import Decoder, require_all
from service.drift import DriftReport, DriftWatch
from service.engine_observer import EngineObserver
from service.metrics import Metrics
from service.security.quotas import Quotas
from service.settings import Settings
from service.skipping import Skipping, tell_choice
from service.skipping_metrics import count_of
from service.warm_up import warm_up

__all__ = ["Engine"]


class Engine:
    """A bundle with its decoder, which knows its input size, and a batcher on a thread of its own.

    Args:
        bundle: What answers.
        settings: How the server runs.
        metrics: Where answers are counted.
        quotas: Who counts what callers use.
        watches: Who remembers what callers ask.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        settings: Settings,
        metrics: Metrics,
        quotas: Quotas,
        watches: CampaignWatches,
    ) -> None:
        self.bundle = bundle
        self.observer = EngineObserver(metrics.batches, metrics.skipping)
        self.decoder = Decoder(
            bundle.pipeline.preprocessing,
            limits=ImageLimits(max_pixels=settings.max_pixels),
            threads=settings.decode_threads,
        )
        self.batcher: Batcher[Findings] = Batcher(
            bundle.pipeline.analyse,
            limits=_limits(bundle.pipeline, settings),
            observer=self.observer,
            explain=bundle.pipeline.explain,
        )
        self.watch = watches.of(bundle)
        """What is remembered of callers' queries; other bundles with this network share it."""
        self.drift = _drift_watch(bundle.pipeline, settings, metrics)
        """Whether traffic still is what the bundle was calibrated on; None where nobody looks."""
        self.analysis = Analysis(
            bundle.pipeline,
            batcher=self.batcher,
            decoder=self.decoder,
            metrics=metrics,
            quotas=quotas,
            campaigns=CampaignGuard(
                self.watch,
                policy=settings.campaign_policy,
                exempt=settings.campaign_exempt_principals,
                observer=metrics.campaigns,
            ),
            drift=self.drift,
        )
        side = bundle.pipeline.preprocessing
        self.image = torch.zeros(3, side.height, side.width, dtype=torch.uint8)
        """What batches are tried with, uint8 of shape (3, h, w)."""
        self.description = codec.encode_bundle(bundle)
        """What GetBundle says; with the prices of the levels once it is warm."""
        self._may_skip = settings.skipping is Skipping.AUTO
        self.skipping: SkippingChoice | None = None
        """What warm-up measured of closed filters; None where it did not."""

    @property
    def digest(self) -> str:
        """The bundle's digest."""
        return self.bundle.manifest.digest

    @property
    def plan(self) -> SkippingPlan:
        """How each gated layer is computed."""
        if self.skipping is None or not self.skipping.pays:
            return SkippingPlan.uniform(self.bundle.pipeline.layout.names, Way.MASKED)
        return self.skipping.plan

    @property
    def drift_report(self) -> DriftReport | None:
        """What is known of the traffic; None where nobody looks."""
        return None if self.drift is None else self.drift.report()

    @property
    def is_fit(self) -> bool:
        """Whether it can analyse, as far as is known."""
        return not (self.batcher.failing.is_set() or self.batcher.died.is_set())

    async def warm(self) -> None:
        """Skip what is closed if that pays; meet every size of batch once, time them, and begin.

        Raises:
            StartError: If a batch does not fit into the device's memory.
        """
        if self._may_skip:
            passes = (
                level.passes * max(self.batcher.sizes[level.name])
                for level in self.bundle.pipeline.levels.values()
            )
            choose = partial(skip_where_it_pays, self.bundle, largest_batch=max(passes))
            self.skipping = await self.batcher.on_thread(choose)
            tell_choice(self.digest, self.skipping)
        count = partial(count_of, self.bundle.pipeline)
        self.observer.mac_count = await self.batcher.on_thread(count)
        image_seconds = await warm_up(
            self.batcher, self.image, digests=partial(row_digests, self.bundle.pipeline)
        )
        self.description = codec.encode_bundle(self.bundle, image_seconds=image_seconds)
        self.batcher.start()

    async def judge_unasked(self, call: AnalysisCall) -> list[Detection]:
        """Judge the images of a call that another engine answers; nobody is charged or told.

        Args:
            call: What was asked of the other one.

        Raises:
            InvalidInputError: If this bundle cannot judge the images, or not as it is asked.
            OffpathError: If there is no room, or the analysis failed.
        """
        pipeline = self.bundle.pipeline
        level = pipeline.level(call.level)
        with self.batcher.admit(
            level.name,
            images=len(call.images),
            size_bytes=call.size_bytes,
            priority=Priority.BULK,
        ):
            images = require_all(await self.decoder.all_pixels(call.images))
            rows = await self.batcher.submit(images, level.name, priority=Priority.BULK)
        return [pipeline.detect(row.batch, row.index, call.alpha) for row in rows]

    async def stop(self, *, timeout_s: float) -> bool:
        """Refuse new calls, answer those admitted, end the threads.

        Args:
            timeout_s: Longest wait for the admitted ones, seconds.

        Returns:
            Whether all of them were answered.
        """
        finished = await self.batcher.stop(timeout_s=timeout_s)
        self.decoder.close()
        return finished


def _drift_watch(pipeline: Pipeline, settings: Settings, metrics: Metrics) -> DriftWatch | None:
    if not settings.watch_drift:
        return None
    return DriftWatch(
        pipeline,
        delta=settings.drift_delta,
        share=settings.drift_principal_share,
        counted=metrics.drift.images.inc,
    )


def _limits(pipeline: Pipeline, settings: Settings) -> BatchLimits:
    return BatchLimits(
        # The default level, which stands first, is that of most callers.
        sizes={
            level.name: settings.batch_sizes_of(level.passes) for level in pipeline.levels.values()
        },
        max_delay_s=settings.max_queue_delay_s,
        max_images=settings.max_queue_images,
        max_bytes=settings.max_queue_bytes,
        bulk_share=settings.bulk_queue_share,
        bulk_patience_s=settings.bulk_patience_s,
        max_failures=settings.max_failed_batches,
    )
