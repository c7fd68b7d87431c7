"""The two calls of the DetectionService, each a few steps that other files know how to do."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from offpath.v1 import detection_pb2 as pb
from offpath.v1 import detection_pb2_grpc as pb_grpc
from torch import Tensor

from detector.bundle import Bundle
from detector.pipeline import Findings, Level
from service import codec
from service.batcher import Batcher, Row
from service.campaigns import CampaignGuard, principal_of_peer
from service.codec import DetectCall, SentImage
from service.decoding import Decoder
from service.errors import RequestError, Violation
from service.interceptors import current_request_id
from service.metrics import Metrics

__all__ = ["SERVICE_NAME", "DetectionServicer"]

SERVICE_NAME: str = pb.DESCRIPTOR.services_by_name["DetectionService"].full_name
"""The service's full name on the wire."""


class DetectionServicer(pb_grpc.DetectionServiceServicer):
    """Answers calls out of one bundle.

    Args:
        bundle: What is served.
        batcher: Where images are analysed.
        decoder: Where images are decoded.
        metrics: Where answers are counted.
        campaigns: Who looks for query campaigns.
        max_images: Most images in one request.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        batcher: Batcher[Findings],
        decoder: Decoder,
        metrics: Metrics,
        campaigns: CampaignGuard,
        max_images: int,
    ) -> None:
        self._bundle = bundle
        self._pipeline = bundle.pipeline
        self._batcher = batcher
        self._decoder = decoder
        self._metrics = metrics
        self._campaigns = campaigns
        self._max_images = max_images
        self._description = codec.encode_bundle(bundle)

    def price(self, image_seconds: Mapping[str, float]) -> None:
        """Tell callers from now on what an image costs at each level.

        Args:
            image_seconds: The time of an image in a full batch of each level, seconds.
        """
        self._description = codec.encode_bundle(self._bundle, image_seconds=image_seconds)

    def register(self, server: Any) -> None:
        """Answer calls on a server."""
        add = pb_grpc.add_DetectionServiceServicer_to_server
        add(self, server)  # type: ignore[no-untyped-call]  # generated code

    async def Detect(self, request: pb.DetectRequest, context: Any) -> pb.DetectResponse:  # noqa: N802  # the contract's name
        """Classify images and give a verdict on each one's path."""
        call = codec.decode_request(request, max_images=self._max_images)
        self._pipeline.check_alpha(call.alpha)
        level = self._pipeline.level(call.level)
        deadline = self._batcher.deadline(context.time_remaining())
        with self._batcher.admit(
            level.name, images=len(call.images), size_bytes=call.size_bytes, deadline=deadline
        ):
            images = await self._decode(call.images)
            rows = await self._batcher.submit(images, level.name, deadline=deadline)
            in_campaign = self._campaigns.judge(
                principal_of_peer(context.peer()),
                _seen(images, rows),
                request_id=current_request_id(),
            )
            return self._reply(call, rows, level, in_campaign)

    async def GetBundle(  # noqa: N802  # the contract's name
        self,
        request: pb.GetBundleRequest,  # noqa: ARG002  # gRPC passes it
        context: Any,  # noqa: ARG002  # gRPC passes it
    ) -> pb.GetBundleResponse:
        """Describe what is loaded."""
        return self._description

    def _reply(
        self, call: DetectCall, rows: list[Row[Findings]], level: Level, in_campaign: list[bool]
    ) -> pb.DetectResponse:
        detections = []
        for row, belongs in zip(rows, in_campaign, strict=True):
            detection = self._pipeline.detect(row.batch, row.index, call.alpha)
            self._metrics.answered(
                level=level.name,
                verdict=detection.verdict.name.lower(),
                score=detection.score,
                p_value=detection.p_value,
            )
            path = row.batch.path[row.index : row.index + 1] if call.include_path else None
            detections.append(
                codec.encode_detection(
                    detection,
                    passes=level.passes,
                    path=path,
                    layers=call.include_layers,
                    in_campaign=belongs,
                )
            )
        return codec.encode_reply(
            detections,
            request_id=current_request_id(),
            bundle_digest=self._bundle.manifest.digest,
        )

    async def _decode(self, images: tuple[SentImage, ...]) -> list[Tensor]:
        """All images at the network's input size, or every field at fault at once."""
        started = time.perf_counter()
        results = await self._decoder.all_pixels(images)
        self._metrics.decode_seconds.observe(time.perf_counter() - started)
        violations = tuple(result for result in results if isinstance(result, Violation))
        if violations:
            raise RequestError(violations)
        return [result for result in results if isinstance(result, Tensor)]


def _seen(
    images: list[Tensor], rows: list[Row[Findings]]
) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.uint8]]]:
    """Path and pixels of each image, as arrays."""
    for image, row in zip(images, rows, strict=True):
        yield row.batch.path.bits[row.index].numpy(), image.numpy()
