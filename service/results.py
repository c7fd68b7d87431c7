"""What clients get: plain frozen data, and one small tree of errors; knows no messages.

Verdicts, levels and layers' weights stand here as well as in the pipeline: a client need not load
torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from detector.errors import OffpathError
from detector.explanation import Explanation

__all__ = [
    "BundleDescription",
    "CallError",
    "ClassDescription",
    "DetectReply",
    "Detection",
    "DriftDescription",
    "DriftState",
    "FieldViolation",
    "InvalidRequestError",
    "LayerDescription",
    "LayerPath",
    "LayerShift",
    "LayerWeight",
    "Level",
    "LevelDescription",
    "MessageTooLargeError",
    "PermissionDeniedError",
    "Priority",
    "QuotaExceededError",
    "RefusedChangeError",
    "RequestTimeoutError",
    "ServerBusyError",
    "ServerFailureError",
    "ServerUnavailableError",
    "UnauthenticatedError",
    "Verdict",
]


class Verdict(StrEnum):
    """Whether an image took the path of its predicted class."""

    ON_PATH = "on path"
    OFF_PATH = "off path"
    ABSTAIN = "abstain"


class Level(StrEnum):
    """How much compute a verdict may cost."""

    FAST = "fast"
    """One pass of the network."""
    STANDARD = "standard"
    """One copy of the image beside it."""
    THOROUGH = "thorough"
    """All copies that suit the data."""


class Priority(StrEnum):
    """Who goes first where calls have to wait."""

    INTERACTIVE = "interactive"
    """Somebody waits for the answer."""
    BULK = "bulk"
    """It takes the room in batches that interactive calls leave."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerPath:
    """The gates of one layer for one image.

    Args:
        name: Name of the layer.
        open_gates: True where the gate is open, in the layer's order.
        logits: Value of each gate before it was made binary; open means positive.
        activations: Mean over height and width of each gated output channel.
    """

    name: str
    open_gates: tuple[bool, ...]
    logits: tuple[float, ...]
    activations: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerWeight:
    """One layer's share, in [0, 1], of a path's distance from the clean paths of its class."""

    name: str
    weight: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Detection:
    """What was found for one image.

    Args:
        predicted_class: Index of the predicted class.
        label: Its name.
        probability: Softmax probability of the predicted class, in [0, 1]; None where the server
            does not tell it to this caller.
        score: How unusual the path is; higher is more suspicious; NaN, with an abstention, where
            the network's own output is not finite; None where it is not told.
        p_value: Share of clean images of that class that score at least as high, in (0, 1]; NaN
            where the score would be.
        alpha: The false-alarm budget that the verdict keeps, in (0, 1).
        level: The level that answered.
        passes: Passes of the network that the verdict cost.
        verdict: The verdict.
        reason: The verdict's reason, one sentence; empty where it is not told.
        in_campaign: Whether it belongs to a query campaign: many other images of this caller are
            nearly identical to it. Says nothing about the image by itself.
        path: The path, layer by layer; empty unless it was asked for.
        layers: The layers that lie farthest from clean paths of the predicted class, farthest
            first; empty unless they were asked for.
        p_value_is_bucket: Whether the p-value is rounded up, as it is for callers who are not told
            the score.
        unstable_gates: Gates of the image and its copies that are open or closed by rounding; where
            that would change the verdict, it is an abstention. None where it is not told.
        explanation: What its path says; None unless it was asked for, or where the score would be
            NaN.
    """

    predicted_class: int
    label: str
    probability: float | None
    score: float | None
    p_value: float
    alpha: float
    level: Level
    passes: int
    verdict: Verdict
    reason: str
    in_campaign: bool = False
    path: tuple[LayerPath, ...] = ()
    layers: tuple[LayerWeight, ...] = ()
    p_value_is_bucket: bool = False
    unstable_gates: int | None = 0
    explanation: Explanation | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectReply:
    """The answer to one call.

    Args:
        detections: One for each image, in the order of the request.
        request_id: Name of the call in the server's log.
        bundle_digest: Digest of the bundle that answered.
    """

    detections: tuple[Detection, ...]
    request_id: str
    bundle_digest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassDescription:
    """A class and the number of calibration images that are predicted to be of it."""

    name: str
    calibration_images: int


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerDescription:
    """A gated layer and its number of gates."""

    name: str
    gates: int


@dataclass(frozen=True, kw_only=True, slots=True)
class LevelDescription:
    """A level that a caller may ask for, and its price.

    Args:
        level: Which level.
        passes: Passes of the network that an image costs.
        copies: Names of the copies of each image that the network looks at.
        fusion: How what was measured becomes one score: ``one-class`` or ``learnt``.
        milliseconds_per_image: Time that an image costs in full batches on that server, measured
            when it started; None where it was not.
    """

    level: Level
    passes: int
    copies: tuple[str, ...]
    fusion: str
    milliseconds_per_image: float | None


class DriftState(StrEnum):
    """Whether traffic still looks like the calibration images."""

    UNWATCHED = "unwatched"
    """The server does not look."""
    NONE = "none"
    """Nothing speaks against it, so far."""
    FOUND = "found"
    """It does not: the false-alarm promise is withdrawn for the server's traffic."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerShift:
    """A layer, and the least share of its gates that have moved, in [0, 1]."""

    name: str
    ratio: float


@dataclass(frozen=True, kw_only=True, slots=True)
class DriftDescription:
    """Whether the promise of a bundle stands for the traffic of a server.

    Args:
        state: Whether there is drift.
        since: When the first image was looked at, ISO 8601; empty before.
        found: When drift was found, ISO 8601; empty where none was.
        advice: What to do, for people; empty where no drift was found.
        layers: Where drift was found, the layers whose gates moved furthest, furthest first; empty
            where they are not told.
    """

    state: DriftState = DriftState.UNWATCHED
    since: str = ""
    found: str = ""
    advice: str = ""
    layers: tuple[LayerShift, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class BundleDescription:
    """What a server has loaded.

    Args:
        digest: SHA-256 over all files of the bundle.
        schema_version: Version of the bundle's file format.
        created: When it was calibrated, ISO 8601.
        classes: The classes, by index.
        alpha: The bundle's false-alarm budget, the largest a call may ask for.
        smallest_alpha: The least budget that at least one class can promise.
        confidence: Probability that the promise holds.
        guarantee: ``pac`` or ``plain``.
        backbone: Name of the network's backbone.
        input_height: Height to which images are brought, pixels.
        input_width: Width to which images are brought, pixels.
        layers: The gated layers, in the network's order.
        levels: The levels that a call may ask for, cheapest first.
        default_level: The one of them that answers where none is asked for.
        drift: Whether the promise stands for the server's traffic.
    """

    digest: str
    schema_version: int
    created: str
    classes: tuple[ClassDescription, ...]
    alpha: float
    smallest_alpha: float
    confidence: float
    guarantee: str
    backbone: str
    input_height: int
    input_width: int
    layers: tuple[LayerDescription, ...]
    levels: tuple[LevelDescription, ...]
    default_level: Level
    drift: DriftDescription = DriftDescription()


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field of a request at fault, and what is wrong with it."""

    field: str
    description: str


class CallError(OffpathError):
    """A call to a server failed.

    Args:
        message: What happened.
        request_id: Name of the call in the server's log, where the server was reached.
    """

    def __init__(self, message: str, *, request_id: str = "") -> None:
        super().__init__(message)
        self.request_id = request_id


class RefusedChangeError(CallError):
    """The server cannot change its bundles so, and is as it was before."""


class InvalidRequestError(CallError):
    """The request is at fault; the same one will fail again.

    Args:
        message: What happened.
        violations: The fields at fault.
        request_id: Name of the call in the server's log.
    """

    def __init__(
        self, message: str, *, violations: tuple[FieldViolation, ...] = (), request_id: str = ""
    ) -> None:
        super().__init__(message, request_id=request_id)
        self.violations = violations


class ServerBusyError(CallError):
    """The server has no room; try again later.

    Args:
        message: What happened.
        retry_after_s: When there is likely to be room, seconds.
        request_id: Name of the call in the server's log.
    """

    def __init__(self, message: str, *, retry_after_s: float, request_id: str = "") -> None:
        super().__init__(message, request_id=request_id)
        self.retry_after_s = retry_after_s


class QuotaExceededError(ServerBusyError):
    """The server has room and the caller's own quota is used up; send less, or later."""


class UnauthenticatedError(CallError):
    """The server does not know the caller: its token is missing, wrong, or no longer taken."""


class PermissionDeniedError(CallError):
    """The caller may not have what it asked for; the same request without it is answered."""


class MessageTooLargeError(CallError):
    """The request or its reply is larger than a message may be; send fewer images at once."""


class ServerUnavailableError(CallError):
    """No server answers at the address, or it is shutting down."""


class RequestTimeoutError(CallError):
    """The answer did not come in time."""


class ServerFailureError(CallError):
    """The server failed; its log knows more under the request id."""
