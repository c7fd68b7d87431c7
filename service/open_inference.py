"""The calls of the Open Inference Protocol, beside those of the DetectionService on one server."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from offpath.inference.v2 import open_inference_pb2 as pb
from offpath.inference.v2 import open_inference_pb2_grpc as pb_grpc

from detector.errors import InvalidInputError
from service import open_inference_codec as codec
from service.engine import Engine
from service.engines import Engines
from service.errors import UnknownModelError
from service.interceptors import current_request_id
from service.open_inference_tensors import shortened

__all__ = ["MODEL_NAME", "OPEN_INFERENCE_NAME", "OpenInferenceServicer"]

OPEN_INFERENCE_NAME: str = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
"""The service's full name on the wire."""

MODEL_NAME = "offpath"
"""Name of the one model that is served."""

_VERSION_DIGITS = 12


class OpenInferenceServicer(pb_grpc.GRPCInferenceServiceServicer):
    """Answers calls of Triton's and KServe's clients, each with the engine active when it begins.

    Args:
        engines: Who judges images; the begin of the active bundle's digest is the model's version.
        max_images: Most images in one request.
        is_ready: Tells whether calls should be sent here.
    """

    def __init__(
        self,
        engines: Engines,
        *,
        max_images: int,
        is_ready: Callable[[], bool],
    ) -> None:
        self._engines = engines
        self._max_images = max_images
        self._is_ready = is_ready
        self._server = pb.ServerMetadataResponse(name="offpath", version=_software_version())

    def register(self, server: Any) -> None:
        """Answer calls on a server."""
        add = pb_grpc.add_GRPCInferenceServiceServicer_to_server
        add(self, server)  # type: ignore[no-untyped-call]  # generated code

    async def ServerLive(  # noqa: N802  # the contract's name
        self,
        request: pb.ServerLiveRequest,  # noqa: ARG002  # gRPC passes it
        context: Any,  # noqa: ARG002  # gRPC passes it
    ) -> pb.ServerLiveResponse:
        """Say that the process answers."""
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(  # noqa: N802  # the contract's name
        self,
        request: pb.ServerReadyRequest,  # noqa: ARG002  # gRPC passes it
        context: Any,  # noqa: ARG002  # gRPC passes it
    ) -> pb.ServerReadyResponse:
        """Say whether calls should be sent here."""
        return pb.ServerReadyResponse(ready=self._is_ready())

    async def ModelReady(  # noqa: N802  # the contract's name
        self,
        request: pb.ModelReadyRequest,
        context: Any,  # noqa: ARG002  # gRPC passes it
    ) -> pb.ModelReadyResponse:
        """Say whether the model takes calls."""
        _check_model(self._engines.active, request.name, request.version)
        return pb.ModelReadyResponse(ready=self._is_ready())

    async def ServerMetadata(  # noqa: N802  # the contract's name
        self,
        request: pb.ServerMetadataRequest,  # noqa: ARG002  # gRPC passes it
        context: Any,  # noqa: ARG002  # gRPC passes it
    ) -> pb.ServerMetadataResponse:
        """Name the server."""
        return self._server

    async def ModelMetadata(  # noqa: N802  # the contract's name
        self,
        request: pb.ModelMetadataRequest,
        context: Any,  # noqa: ARG002  # gRPC passes it
    ) -> pb.ModelMetadataResponse:
        """Describe what the model takes and gives."""
        engine = self._engines.active
        _check_model(engine, request.name, request.version)
        return codec.encode_model(
            name=MODEL_NAME,
            version=_version_of(engine),
            classes=len(engine.bundle.pipeline.class_names),
        )

    async def ModelInfer(  # noqa: N802  # the contract's name
        self, request: pb.ModelInferRequest, context: Any
    ) -> pb.ModelInferResponse:
        """Classify images and give a verdict on each one's path."""
        engine = self._engines.active
        _check_model(engine, request.model_name, request.model_version)
        call = codec.decode_infer(request, max_images=self._max_images)
        try:
            analysed = await engine.analysis.answer(call, remaining_s=context.time_remaining())
        except InvalidInputError as error:
            if error.field in codec.PARAMETERS:
                error.field = codec.parameter_field(error.field)
            raise
        reply = codec.encode_infer(
            call,
            analysed,
            name=MODEL_NAME,
            version=_version_of(engine),
            request_id=current_request_id(),
        )
        self._engines.answered(engine, call, analysed)
        return reply


def _version_of(engine: Engine) -> str:
    return engine.digest[:_VERSION_DIGITS]


def _check_model(engine: Engine, name: str, version: str) -> None:
    """Refuse to answer for another model.

    Raises:
        UnknownModelError: If another name, or another version, is asked for.
    """
    if name != MODEL_NAME or version not in {"", _version_of(engine)}:
        raise UnknownModelError(
            f"The model should be {MODEL_NAME}, version {_version_of(engine)} or none. "
            f"Found {shortened(name)}, version {shortened(version)}. "
            "Ask for what ModelMetadata names, or send no version."
        )


def _software_version() -> str:
    try:
        return version("offpath")
    except PackageNotFoundError:  # run from a folder
        return ""
