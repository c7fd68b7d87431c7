"""The two calls of the DetectionService, each a few steps that other files know how to do."""

from __future__ import annotations

from typing import Any

from offpath.v1 import detection_pb2 as pb
from offpath.v1 import detection_pb2_grpc as pb_grpc

from service import codec
from service.analysis import Analysed
from service.codec import DetectCall
from service.engine import Engine
from service.engines import Engines
from service.interceptors import current_request_id
from service.security.disclosure import check_right
from service.security.principal import Right, current_principal

__all__ = ["SERVICE_NAME", "DetectionServicer"]

SERVICE_NAME: str = pb.DESCRIPTOR.services_by_name["DetectionService"].full_name
"""The service's full name on the wire."""


class DetectionServicer(pb_grpc.DetectionServiceServicer):
    """Answers calls, each with the engine that is active when it begins.

    Args:
        engines: Who judges images.
        max_images: Most images in one request.
    """

    def __init__(self, engines: Engines, *, max_images: int) -> None:
        self._engines = engines
        self._max_images = max_images

    def register(self, server: Any) -> None:
        """Answer calls on a server."""
        add = pb_grpc.add_DetectionServiceServicer_to_server
        add(self, server)  # type: ignore[no-untyped-call]  # generated code

    async def Detect(self, request: pb.DetectRequest, context: Any) -> pb.DetectResponse:  # noqa: N802  # the contract's name
        """Classify images and give a verdict on each one's path."""
        engine = self._engines.active
        call = codec.decode_request(request, max_images=self._max_images)
        caller = current_principal()
        check_right(caller, Right.PATH, "include_path", asked=call.include_path)
        check_right(caller, Right.EXPLANATION, "include_layers", asked=call.include_layers)
        check_right(
            caller, Right.EXPLANATION, "include_explanation", asked=call.include_explanation
        )
        analysed = await engine.analysis.answer(call, remaining_s=context.time_remaining())
        reply = self._reply(engine, call, analysed)
        self._engines.answered(engine, call, analysed)
        return reply

    async def GetBundle(  # noqa: N802  # the contract's name
        self,
        request: pb.GetBundleRequest,  # noqa: ARG002  # gRPC passes it
        context: Any,  # noqa: ARG002  # gRPC passes it
    ) -> pb.GetBundleResponse:
        """Describe the bundle that answers."""
        engine, reply = self._engines.active, pb.GetBundleResponse()
        reply.CopyFrom(engine.description)
        rights = current_principal().rights
        reply.drift.CopyFrom(codec.encode_drift(engine.drift_report, rights=rights))
        return reply

    def _reply(self, engine: Engine, call: DetectCall, analysed: Analysed) -> pb.DetectResponse:
        rights = current_principal().rights
        detections = []
        for image in analysed.images:
            index, batch = image.row.index, image.row.batch
            path = batch.path[index : index + 1] if call.include_path else None
            detections.append(
                codec.encode_detection(
                    image.detection,
                    passes=analysed.level.passes,
                    path=path,
                    layers=call.include_layers,
                    rights=rights,
                    in_campaign=image.in_campaign,
                )
            )
        return codec.encode_reply(
            detections,
            request_id=current_request_id(),
            bundle_digest=engine.digest,
        )
