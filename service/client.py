"""Typed clients, one that blocks and one for asyncio; both speak in plain data."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import grpc
import numpy as np
from numpy.typing import NDArray
from offpath.v1 import detection_pb2 as pb
from offpath.v1 import detection_pb2_grpc as pb_grpc

from detector.errors import ImageError
from service.call_errors import call_error
from service.explanation_parsing import parse_explanation
from service.results import (
    BundleDescription,
    ClassDescription,
    Detection,
    DetectReply,
    DriftDescription,
    DriftState,
    LayerDescription,
    LayerPath,
    LayerShift,
    LayerWeight,
    Level,
    LevelDescription,
    Priority,
    Verdict,
)
from service.security.credentials import Credentials

__all__ = ["AsyncClient", "Client", "ImageInput", "detect_request"]

ImageInput = bytes | Path | NDArray[np.uint8]
"""An image file's bytes, an image file, or pixels: uint8 of shape (H, W, 3), red green blue."""

_NO_CREDENTIALS = Credentials()
_DEFAULT_TIMEOUT_S = 30.0
_DEFAULT_MESSAGE_BYTES = 16 * 2**20
_VERDICTS = {
    pb.VERDICT_ON_PATH: Verdict.ON_PATH,
    pb.VERDICT_OFF_PATH: Verdict.OFF_PATH,
    pb.VERDICT_ABSTAIN: Verdict.ABSTAIN,
}
_LEVELS = {
    pb.LEVEL_FAST: Level.FAST,
    pb.LEVEL_STANDARD: Level.STANDARD,
    pb.LEVEL_THOROUGH: Level.THOROUGH,
}
_DRIFT_STATES = {
    pb.DRIFT_STATE_UNSPECIFIED: DriftState.UNWATCHED,
    pb.DRIFT_STATE_NONE: DriftState.NONE,
    pb.DRIFT_STATE_FOUND: DriftState.FOUND,
}
_SENT_LEVELS: dict[Level | None, pb.Level] = {
    None: pb.LEVEL_UNSPECIFIED,
    **{level: sent for sent, level in _LEVELS.items()},
}


_SENT_PRIORITIES: dict[Priority, pb.Priority] = {
    Priority.INTERACTIVE: pb.PRIORITY_INTERACTIVE,
    Priority.BULK: pb.PRIORITY_BULK,
}


class Client:
    """Calls a server and waits; the README shows it at work.

    Args:
        address: Where the server is, ``host:port``.
        credentials: What the client shows and whom it trusts; nothing and anybody by default.
        timeout_s: Longest wait for an answer unless a call says otherwise, seconds.
        max_message_bytes: Largest request and reply, bytes.

    Raises:
        CredentialsError: If the token would travel in the clear, or a file cannot be read.
    """

    def __init__(
        self,
        address: str,
        *,
        credentials: Credentials = _NO_CREDENTIALS,
        timeout_s: float = _DEFAULT_TIMEOUT_S,
        max_message_bytes: int = _DEFAULT_MESSAGE_BYTES,
    ) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._metadata = credentials.metadata
        self._tls = credentials.tls is not None
        self._channel = credentials.channel(address, _options(max_message_bytes))
        self._stub = _stub(self._channel)

    def detect(
        self,
        images: Sequence[ImageInput],
        *,
        alpha: float | None = None,
        level: Level | None = None,
        priority: Priority = Priority.INTERACTIVE,
        include_path: bool = False,
        include_layers: bool = False,
        include_explanation: bool = False,
        timeout_s: float | None = None,
    ) -> DetectReply:
        """Classify images and tell which of them left the path of their class.

        Args:
            images: The images, at least one.
            alpha: False-alarm budget of this call; None for the bundle's.
            level: How much compute each verdict may cost; None for the bundle's default.
            priority: Who goes first where calls have to wait.
            include_path: Whether to return each image's path.
            include_layers: Whether to return the layers that lie farthest from clean paths.
            include_explanation: Whether to return what speaks against the predicted class.
            timeout_s: Longest wait, seconds; None for the client's.

        Raises:
            CallError: If the call failed; its kind says whether to try again.
            ImageError: If a file cannot be read or an array is no image.
        """
        request = detect_request(
            images,
            alpha=alpha,
            level=level,
            priority=priority,
            include_path=include_path,
            include_layers=include_layers,
            include_explanation=include_explanation,
        )
        try:
            reply = self._stub.Detect(
                request, timeout=_chosen(timeout_s, self._timeout_s), metadata=self._metadata
            )
        except grpc.RpcError as error:
            raise call_error(error, self._address, tls=self._tls) from error
        return _parse_reply(reply)

    def bundle(self, *, timeout_s: float | None = None) -> BundleDescription:
        """What the server has loaded.

        Raises:
            CallError: If the call failed.
        """
        try:
            reply = self._stub.GetBundle(
                pb.GetBundleRequest(),
                timeout=_chosen(timeout_s, self._timeout_s),
                metadata=self._metadata,
            )
        except grpc.RpcError as error:
            raise call_error(error, self._address, tls=self._tls) from error
        return _parse_bundle(reply)

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient:
    """Calls a server from a coroutine; cancelling it cancels the call on the server as well.

    Args:
        address: Where the server is, ``host:port``.
        credentials: What the client shows and whom it trusts; nothing and anybody by default.
        timeout_s: Longest wait for an answer unless a call says otherwise, seconds.
        max_message_bytes: Largest request and reply, bytes.

    Raises:
        CredentialsError: If the token would travel in the clear, or a file cannot be read.
    """

    def __init__(
        self,
        address: str,
        *,
        credentials: Credentials = _NO_CREDENTIALS,
        timeout_s: float = _DEFAULT_TIMEOUT_S,
        max_message_bytes: int = _DEFAULT_MESSAGE_BYTES,
    ) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._metadata = credentials.metadata
        self._tls = credentials.tls is not None
        self._channel = credentials.async_channel(address, _options(max_message_bytes))
        self._stub = _stub(self._channel)

    async def detect(
        self,
        images: Sequence[ImageInput],
        *,
        alpha: float | None = None,
        level: Level | None = None,
        priority: Priority = Priority.INTERACTIVE,
        include_path: bool = False,
        include_layers: bool = False,
        include_explanation: bool = False,
        timeout_s: float | None = None,
    ) -> DetectReply:
        """Classify images; arguments, result and errors are those of `Client.detect`."""
        # Files are read where a slow disk holds up no other call.
        request = await asyncio.to_thread(
            detect_request,
            images,
            alpha=alpha,
            level=level,
            priority=priority,
            include_path=include_path,
            include_layers=include_layers,
            include_explanation=include_explanation,
        )
        try:
            reply = await self._stub.Detect(
                request, timeout=_chosen(timeout_s, self._timeout_s), metadata=self._metadata
            )
        except grpc.RpcError as error:
            raise call_error(error, self._address, tls=self._tls) from error
        return _parse_reply(reply)

    async def bundle(self, *, timeout_s: float | None = None) -> BundleDescription:
        """What the server has loaded; errors are those of `Client.bundle`."""
        try:
            reply = await self._stub.GetBundle(
                pb.GetBundleRequest(),
                timeout=_chosen(timeout_s, self._timeout_s),
                metadata=self._metadata,
            )
        except grpc.RpcError as error:
            raise call_error(error, self._address, tls=self._tls) from error
        return _parse_bundle(reply)

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close(None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _stub(channel: Any) -> Any:
    return pb_grpc.DetectionServiceStub(channel)  # type: ignore[no-untyped-call]  # generated code


def _chosen(timeout_s: float | None, default_s: float) -> float:
    """The wait of a call; none at all, 0, is a wait as well."""
    return default_s if timeout_s is None else timeout_s


def _options(max_message_bytes: int) -> list[tuple[str, Any]]:
    return [
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.max_receive_message_length", max_message_bytes),
        # A name may stand for many servers; gRPC would else stay with the first that it finds.
        ("grpc.lb_policy_name", "round_robin"),
    ]


def detect_request(
    images: Sequence[ImageInput],
    *,
    alpha: float | None = None,
    level: Level | None = None,
    priority: Priority = Priority.INTERACTIVE,
    include_path: bool = False,
    include_layers: bool = False,
    include_explanation: bool = False,
) -> pb.DetectRequest:
    """The message that `Client.detect` sends for these arguments.

    Raises:
        ImageError: If a file cannot be read or an array is no image.
    """
    return pb.DetectRequest(
        images=[_image(image) for image in images],
        alpha=alpha,
        include_path=include_path,
        include_layers=include_layers,
        include_explanation=include_explanation,
        level=_SENT_LEVELS[level],
        priority=_SENT_PRIORITIES[priority],
    )


def _image(image: ImageInput) -> pb.Image:
    if isinstance(image, bytes):
        return pb.Image(encoded=image)
    if isinstance(image, Path):
        try:
            return pb.Image(encoded=image.read_bytes())
        except OSError as error:
            raise ImageError(
                f"{image} should be a readable file. Found: {error.strerror}. Check the path."
            ) from error
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ImageError(
            "Pixels should be a uint8 array of shape (H, W, 3). "
            f"Found {image.dtype} of shape {image.shape}."
        )
    height, width, channels = image.shape
    return pb.Image(
        raw=pb.RawTensor(data=image.tobytes(), height=height, width=width, channels=channels)
    )


def _parse_reply(reply: pb.DetectResponse) -> DetectReply:
    return DetectReply(
        detections=tuple(_parse_detection(detection) for detection in reply.detections),
        request_id=reply.request_id,
        bundle_digest=reply.bundle_digest,
    )


def _parse_detection(message: pb.Detection) -> Detection:
    return Detection(
        predicted_class=message.predicted_class,
        label=message.label,
        probability=message.probability if message.HasField("probability") else None,
        score=message.score if message.HasField("score") else None,
        p_value=message.p_value,
        p_value_is_bucket=message.p_value_is_bucket,
        alpha=message.alpha,
        level=_LEVELS[message.level],
        passes=message.passes,
        verdict=_VERDICTS[message.verdict],
        reason=message.reason,
        unstable_gates=message.unstable_gates if message.HasField("unstable_gates") else None,
        in_campaign=message.in_campaign,
        path=tuple(_parse_layer(layer) for layer in message.path.layers),
        layers=tuple(LayerWeight(name=each.name, weight=each.weight) for each in message.layers),
        explanation=parse_explanation(message),
    )


def _parse_layer(layer: pb.LayerPath) -> LayerPath:
    packed = np.frombuffer(layer.bits, dtype=np.uint8)
    bits = np.unpackbits(packed, count=layer.gates, bitorder="little")
    return LayerPath(
        name=layer.name,
        open_gates=tuple(bits.astype(bool).tolist()),
        logits=tuple(layer.logits),
        activations=tuple(layer.activations),
    )


def _parse_bundle(reply: pb.GetBundleResponse) -> BundleDescription:
    return BundleDescription(
        digest=reply.digest,
        schema_version=reply.schema_version,
        created=reply.created,
        classes=tuple(
            ClassDescription(name=each.name, calibration_images=each.calibration_images)
            for each in reply.classes
        ),
        alpha=reply.alpha,
        smallest_alpha=reply.smallest_alpha,
        confidence=reply.confidence,
        guarantee=reply.guarantee,
        backbone=reply.backbone,
        input_height=reply.input_height,
        input_width=reply.input_width,
        layers=tuple(LayerDescription(name=e.name, gates=e.gates) for e in reply.layers),
        levels=tuple(_parse_level(level) for level in reply.levels),
        default_level=_LEVELS[reply.default_level],
        drift=_parse_drift(reply.drift),
    )


def _parse_drift(message: pb.TrafficDrift) -> DriftDescription:
    return DriftDescription(
        state=_DRIFT_STATES[message.state],
        since=message.since,
        found=message.found,
        advice=message.advice,
        layers=tuple(LayerShift(name=each.name, ratio=each.ratio) for each in message.layers),
    )


def _parse_level(message: pb.CalibratedLevel) -> LevelDescription:
    measured = message.HasField("milliseconds_per_image")
    return LevelDescription(
        level=_LEVELS[message.level],
        passes=message.passes,
        copies=tuple(message.copies),
        fusion=message.fusion,
        milliseconds_per_image=message.milliseconds_per_image if measured else None,
    )
