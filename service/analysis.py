"""What every service does with images: let them in, decode, analyse, judge and count them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from detector.pipeline import Detection, Findings, Level, Pipeline
from service.batch_running import Row
from service.batcher import Batcher
from service.campaigns import CampaignGuard, Sighting, principal_of_peer
from service.codec import AnalysisCall, SentImage
from service.decoding import Decoder, require_all
from service.drift import DriftWatch
from service.last_moment import answered_in_time
from service.metrics import Metrics
from service.security.call_record import Stage, current_call
from service.security.disclosure import check_right
from service.security.principal import ANONYMOUS, Right, current_principal
from service.security.quotas import Quotas
from service.stages import batch_stages, unanswered_stages

__all__ = ["Analysed", "Analysis", "Judged"]


@dataclass(frozen=True, slots=True)
class Judged:
    """What is said about one image, its row, and whether to say that it is in a campaign."""

    detection: Detection
    row: Row[Findings]
    in_campaign: bool


@dataclass(frozen=True, slots=True)
class Analysed:
    """What is said about the images of one call, in their order, and at which level."""

    images: tuple[Judged, ...]
    level: Level


class Analysis:
    """From the images of a call to verdicts on them, the same for each service of a server.

    Args:
        pipeline: What judges them.
        batcher: Where images are analysed.
        decoder: Where images are decoded.
        metrics: Where answers are counted.
        quotas: Who counts what callers use.
        campaigns: Who looks for query campaigns.
        drift: Who looks for drift; None for nobody.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        batcher: Batcher[Findings],
        decoder: Decoder,
        metrics: Metrics,
        quotas: Quotas,
        campaigns: CampaignGuard,
        drift: DriftWatch | None,
    ) -> None:
        self._pipeline = pipeline
        self._batcher = batcher
        self._decoder = decoder
        self._metrics = metrics
        self._quotas = quotas
        self._campaigns = campaigns
        self._drift = drift

    async def answer(self, call: AnalysisCall, *, remaining_s: float | None) -> Analysed:
        """Judge the images of a call.

        Args:
            call: What is asked for.
            remaining_s: How long the caller still waits, seconds; None is for ever.

        Raises:
            PermissionDeniedError: If the caller may not choose a budget.
            InvalidInputError: If an image, the budget or the level is not acceptable, or the call
                is larger than the room that there is for its priority.
            QueueFullError: If there is no room.
            QuotaExceededError: If the caller has used up its own.
            CampaignError: If an image belongs to a query campaign, and those are refused.
            DeadlineError: If the caller would not wait long enough.
            DrainingError: If the server is shutting down.
            BatchFailedError: If the analysis failed.
        """
        caller, record = current_principal(), current_call()
        check_right(caller, Right.ALPHA, "alpha", asked=call.alpha is not None)
        self._pipeline.check_alpha(call.alpha)
        level = self._pipeline.level(call.level)
        record.images, record.level = len(call.images), level.name
        deadline = self._batcher.deadline(remaining_s)
        with self._batcher.admit(
            level.name,
            images=len(call.images),
            size_bytes=call.size_bytes,
            deadline=deadline,
            priority=call.priority,
        ):
            # Only now: what the queue refuses costs nothing.
            self._quotas.take_images(caller, len(call.images))
            async with answered_in_time(remaining_s):
                images = await self._decode(call.images)
                rows = await self._submit(images, level.name, deadline, call)
            record.queue_s = max(row.queue_s for row in rows)
            record.analysis_s = max(row.analysis_s for row in rows)
            # Callers without a name are told apart by address.
            name = principal_of_peer(record.peer) if caller is ANONYMOUS else caller.name
            sightings = self._campaigns.judge(
                name, _seen(images, rows), request_id=record.request_id
            )
            self._look_for_drift(name, images, rows, sightings)
            in_campaign = [each is not None and each.belongs for each in sightings]
            return Analysed(
                tuple(
                    self._judge(row, call.alpha, in_campaign=each and self._campaigns.tells)
                    for row, each in zip(rows, in_campaign, strict=True)
                ),
                level,
            )

    def _look_for_drift(
        self,
        principal: str,
        images: list[Tensor],
        rows: list[Row[Findings]],
        sightings: Sequence[Sighting | None],
    ) -> None:
        """Show drift the images; the pixels of those that campaigns saw are hashed already."""
        if self._drift is None:
            return
        for image, row, seen in zip(images, rows, sightings, strict=True):
            self._drift.see(
                principal,
                row.batch,
                row.index,
                digest=self._campaigns.digest(image.numpy()) if seen is None else seen.digest,
                in_campaign=seen is not None and seen.belongs,
            )

    async def _decode(self, images: tuple[SentImage, ...]) -> list[Tensor]:
        """All images at the network's input size, or every field at fault at once."""
        record = current_call()
        began_s = time.monotonic()
        try:
            results = await self._decoder.all_pixels(images)
        finally:
            ended_s = time.monotonic()
            if record.stages is not None:
                record.note(
                    Stage(name="decode", began_s=began_s, ended_s=ended_s, images=len(images))
                )
        record.decode_s = ended_s - began_s
        self._metrics.decode_seconds.observe(record.decode_s)
        return require_all(results)

    async def _submit(
        self, images: list[Tensor], level: str, deadline: float, call: AnalysisCall
    ) -> list[Row[Findings]]:
        """The images' rows; when they waited for what goes into the call's record."""
        record = current_call()
        submitted_s = time.monotonic()
        try:
            rows = await self._batcher.submit(
                images,
                level,
                deadline=deadline,
                priority=call.priority,
                explained=call.include_explanation,
            )
        except BaseException as error:
            if record.stages is not None:
                record.note(*unanswered_stages(error, submitted_s, len(images)))
            raise
        if record.stages is not None:
            record.note(*batch_stages(rows, submitted_s))
        return rows

    def _judge(self, row: Row[Findings], alpha: float | None, *, in_campaign: bool) -> Judged:
        detection = self._pipeline.detect(row.batch, row.index, alpha)
        self._metrics.images.answered(detection)
        current_call().verdicts[detection.verdict.name.lower()] += 1
        return Judged(detection, row, in_campaign)


def _seen(
    images: list[Tensor], rows: list[Row[Findings]]
) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.uint8]]]:
    """Path and pixels of each image, as arrays."""
    for image, row in zip(images, rows, strict=True):
        yield row.batch.path.bits.numpy()[row.index], image.numpy()
