"""Between messages of offpath.v1 and the domain's own types: no other file knows both."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import numpy as np
from offpath.v1 import detection_pb2 as pb
from torch import Tensor

from detector.bundle import Bundle
from detector.errors import BudgetError, InvalidInputError
from detector.images import ImageLimits, decode_image, image_from_pixels, small_png_size
from detector.paths import PathVectors
from detector.pipeline import Detection, LevelName, Verdict
from service.admission import Priority
from service.drift import DriftReport
from service.explanation_codec import encode_explanation
from service.security.disclosure import told_p_value
from service.security.principal import ALL_RIGHTS, Right

__all__ = [
    "AnalysisCall",
    "DetectCall",
    "EncodedImage",
    "RawImage",
    "SentImage",
    "check_count",
    "decode_request",
    "encode_bundle",
    "encode_detection",
    "encode_drift",
    "encode_reply",
]

_VERDICTS = {
    Verdict.ON_PATH: pb.VERDICT_ON_PATH,
    Verdict.OFF_PATH: pb.VERDICT_OFF_PATH,
    Verdict.ABSTAIN: pb.VERDICT_ABSTAIN,
}
_LEVELS = {
    LevelName.FAST: pb.LEVEL_FAST,
    LevelName.STANDARD: pb.LEVEL_STANDARD,
    LevelName.THOROUGH: pb.LEVEL_THOROUGH,
}
_PRIORITIES = {
    pb.PRIORITY_UNSPECIFIED: Priority.INTERACTIVE,
    pb.PRIORITY_INTERACTIVE: Priority.INTERACTIVE,
    pb.PRIORITY_BULK: Priority.BULK,
}
_ASKED_LEVELS: dict[pb.Level, LevelName | None] = {
    pb.LEVEL_UNSPECIFIED: None,
    **{sent: name for name, sent in _LEVELS.items()},
}


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedImage:
    """An image as a file's bytes, sent in the named field."""

    field: str
    data: bytes

    @property
    def size_bytes(self) -> int:
        """Size of what was sent, bytes."""
        return len(self.data)

    def size_if_cheap(self) -> tuple[int, int] | None:
        """Height and width where a small file says so in a place where it is soon read."""
        return small_png_size(self.data)

    def pixels(self, limits: ImageLimits) -> Tensor:
        """The image, uint8 of shape (3, H, W)."""
        return decode_image(self.data, limits=limits)


@dataclass(frozen=True, kw_only=True, slots=True)
class RawImage:
    """An image as pixels, height x width x channel of uint8, sent in the named field."""

    field: str
    data: bytes
    height: int
    width: int
    channels: int

    @property
    def size_bytes(self) -> int:
        """Size of what was sent, bytes."""
        return len(self.data)

    def size_if_cheap(self) -> tuple[int, int] | None:
        """Height and width: to take over pixels is a mere copy."""
        return self.height, self.width

    def pixels(self, limits: ImageLimits) -> Tensor:
        """The image, uint8 of shape (3, H, W)."""
        return image_from_pixels(
            self.data,
            height=self.height,
            width=self.width,
            channels=self.channels,
            limits=limits,
        )


class SentImage(Protocol):
    """An image as it was sent in the named field, not decoded yet."""

    @property
    def field(self) -> str:
        """The field of the request."""

    @property
    def size_bytes(self) -> int:
        """Size of what was sent, bytes."""

    def size_if_cheap(self) -> tuple[int, int] | None:
        """Height and width where decoding costs less than handing it to a thread; else None."""

    def pixels(self, limits: ImageLimits) -> Tensor:
        """The image, uint8 of shape (3, H, W)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AnalysisCall:
    """What a request of any service asks of the analysis; nothing is decoded yet.

    Args:
        images: The images, at least one.
        alpha: The budget of this call; None for the bundle's.
        level: How much a verdict may cost; None for the bundle's default.
        size_bytes: Size of the request, bytes.
        priority: Who goes first.
        include_explanation: Whether the paths are to be explained, which takes work of its own.
    """

    images: tuple[SentImage, ...]
    alpha: float | None
    level: LevelName | None
    size_bytes: int
    priority: Priority = Priority.INTERACTIVE
    include_explanation: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectCall(AnalysisCall):
    """One request to Detect.

    Args:
        include_path: Whether the path is wanted.
        include_layers: Whether the layers' weights are wanted.
    """

    include_path: bool
    include_layers: bool


def check_count(count: int, *, max_images: int, field: str) -> None:
    """Refuse a request without images or with too many.

    Args:
        count: Number of its images.
        max_images: Most images in one request.
        field: What of the request says how many there are.

    Raises:
        InvalidInputError: If there is none or there are too many.
    """
    if not 1 <= count <= max_images:
        raise InvalidInputError(
            f"A request should have 1 to {max_images} images. Found {count}. "
            "Send more requests with fewer images each.",
            field=field,
        )


def decode_request(request: pb.DetectRequest, *, max_images: int) -> DetectCall:
    """What a request asks for.

    Args:
        request: The message.
        max_images: Most images in one request.

    Raises:
        InvalidInputError: If there is no image or there are too many, one is of no kind, or there
            is no such level or priority.
        BudgetError: If alpha is not a number.
    """
    check_count(len(request.images), max_images=max_images, field="images")
    alpha = request.alpha if request.HasField("alpha") else None
    if alpha is not None and not math.isfinite(alpha):
        raise BudgetError(f"alpha should be a number in (0, 1). Found {alpha}.", field="alpha")
    return DetectCall(
        images=tuple(_decode_image(image, i) for i, image in enumerate(request.images)),
        alpha=alpha,
        include_path=request.include_path,
        include_layers=request.include_layers,
        include_explanation=request.include_explanation,
        level=_decode_level(request.level),
        size_bytes=request.ByteSize(),
        priority=_decode_priority(request.priority),
    )


def _decode_priority(priority: pb.Priority) -> Priority:
    if priority not in _PRIORITIES:  # numbers of a later contract arrive as they are
        raise InvalidInputError(
            f"priority should be one of {', '.join(pb.Priority.keys())}. "
            f"Found the number {priority}. Ask for one of them.",
            field="priority",
        )
    return _PRIORITIES[priority]


def _decode_level(level: pb.Level) -> LevelName | None:
    if level not in _ASKED_LEVELS:  # numbers of a later contract arrive as they are
        raise InvalidInputError(
            f"level should be one of {', '.join(pb.Level.keys())}. Found the number {level}. "
            "Ask for one that GetBundle lists.",
            field="level",
        )
    return _ASKED_LEVELS[level]


def _decode_image(image: pb.Image, index: int) -> SentImage:
    field = f"images[{index}]"
    match image.WhichOneof("kind"):
        case "encoded":
            return EncodedImage(field=f"{field}.encoded", data=image.encoded)
        case "raw":
            return RawImage(
                field=f"{field}.raw",
                data=image.raw.data,
                height=image.raw.height,
                width=image.raw.width,
                channels=image.raw.channels,
            )
        case _:
            raise InvalidInputError(
                "An image should have either encoded or raw set. Found neither.", field=field
            )


def encode_detection(
    detection: Detection,
    *,
    passes: int,
    path: PathVectors | None = None,
    layers: bool = False,
    rights: frozenset[Right] = ALL_RIGHTS,
    in_campaign: bool = False,
) -> pb.Detection:
    """One detection as a message.

    Args:
        detection: What was found.
        passes: Passes of the network that it cost.
        path: The image's path, of a batch of one, where it is wanted.
        layers: Whether the layers' weights are wanted.
        rights: What the caller may be told beyond prediction, verdict and the p-value's bucket.
        in_campaign: Whether to say that the image belongs to a query campaign.
    """
    exact = Right.SCORE in rights  # the reason names the p-value as well
    message = pb.Detection(
        predicted_class=detection.predicted_class,
        label=detection.label,
        probability=detection.probability if exact else None,
        score=detection.score if exact else None,
        p_value=told_p_value(detection.p_value, rights),
        p_value_is_bucket=not exact,
        alpha=detection.alpha,
        verdict=_VERDICTS[detection.verdict],
        reason=detection.reason if exact and Right.EXPLANATION in rights else "",
        level=_LEVELS[detection.level],
        passes=passes,
        unstable_gates=detection.unstable_gates if exact else None,
        in_campaign=in_campaign,
    )
    if detection.explanation is not None:
        message.explanation.CopyFrom(encode_explanation(detection.explanation, rights))
    if path is not None:
        message.path.CopyFrom(_encode_path(path))
    if layers:
        message.layers.extend(
            pb.LayerWeight(name=layer.name, weight=layer.weight) for layer in detection.layers
        )
    return message


def _encode_path(path: PathVectors) -> pb.Path:
    return pb.Path(
        layers=[
            pb.LayerPath(
                name=name,
                gates=layer.layout.gates,
                bits=np.packbits(layer.bits[0].numpy(), bitorder="little").tobytes(),
                logits=layer.logits[0].tolist(),
                activations=layer.activations[0].tolist(),
            )
            for name, layer in path.by_layer()
        ]
    )


def encode_reply(
    detections: list[pb.Detection], *, request_id: str, bundle_digest: str
) -> pb.DetectResponse:
    """The reply to one request."""
    return pb.DetectResponse(
        detections=detections, request_id=request_id, bundle_digest=bundle_digest
    )


def encode_bundle(
    bundle: Bundle, *, image_seconds: Mapping[str, float] | None = None
) -> pb.GetBundleResponse:
    """What is loaded, as a message.

    Args:
        bundle: What is loaded.
        image_seconds: What an image costs at each level, seconds, where that was measured.
    """
    manifest, pipeline = bundle.manifest, bundle.pipeline
    return pb.GetBundleResponse(
        digest=manifest.digest,
        schema_version=manifest.schema_version,
        created=manifest.created,
        classes=[
            pb.CalibratedClass(name=name, calibration_images=count)
            for name, count in zip(pipeline.class_names, pipeline.calibration_counts, strict=True)
        ],
        alpha=pipeline.alpha,
        smallest_alpha=pipeline.smallest_alpha,
        confidence=manifest.confidence,
        guarantee=manifest.guarantee,
        backbone=manifest.backbone.value,
        input_height=pipeline.preprocessing.height,
        input_width=pipeline.preprocessing.width,
        layers=[
            pb.GatedLayer(name=name, gates=size)
            for name, size in zip(pipeline.layout.names, pipeline.layout.sizes, strict=True)
        ],
        levels=_encode_levels(bundle, image_seconds or {}),
        default_level=_LEVELS[pipeline.default_level],
    )


def encode_drift(
    report: DriftReport | None, *, rights: frozenset[Right] = ALL_RIGHTS
) -> pb.TrafficDrift:
    """Whether the promise stands for the traffic, as a message.

    Args:
        report: What is known of the traffic; None where nobody looks.
        rights: What the caller may be told beyond that.
    """
    if report is None:
        return pb.TrafficDrift()
    layers = report.layers if Right.EXPLANATION in rights else ()
    return pb.TrafficDrift(
        state=pb.DRIFT_STATE_NONE if report.found is None else pb.DRIFT_STATE_FOUND,
        since=_encode_time(report.since),
        found=_encode_time(report.found),
        advice=report.advice,
        layers=[pb.LayerShift(name=name, ratio=ratio) for name, ratio in layers],
    )


def _encode_time(time: datetime | None) -> str:
    return "" if time is None else time.isoformat(timespec="seconds")


def _encode_levels(bundle: Bundle, image_seconds: Mapping[str, float]) -> list[pb.CalibratedLevel]:
    levels = [
        pb.CalibratedLevel(
            level=_LEVELS[info.name],
            passes=bundle.pipeline.level(info.name).passes,
            copies=info.copies,
            fusion=info.fusion.value,
            milliseconds_per_image=(
                1000 * image_seconds[info.name] if info.name in image_seconds else None
            ),
        )
        for info in bundle.manifest.levels
    ]
    return sorted(levels, key=lambda level: level.passes)
