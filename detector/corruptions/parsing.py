"""Corruptions by name."""

from __future__ import annotations

from detector.corruptions.base import Corruption
from detector.corruptions.blur import DefocusBlur, GlassBlur, MotionBlur, ZoomBlur
from detector.corruptions.digital import Contrast, JpegCompression, Pixelate, Resize
from detector.corruptions.elastic import ElasticTransform
from detector.corruptions.frost import Frost
from detector.corruptions.names import CorruptionName
from detector.corruptions.noise import GaussianNoise, ImpulseNoise, ShotNoise
from detector.corruptions.weather import Brightness, Fog, Snow
from detector.errors import InvalidInputError

__all__ = ["corruption_class", "parse_corruption"]

_CLASSES: dict[CorruptionName, type[Corruption]] = {
    kind.kind: kind
    for kind in (
        GaussianNoise,
        ShotNoise,
        ImpulseNoise,
        DefocusBlur,
        GlassBlur,
        MotionBlur,
        ZoomBlur,
        Snow,
        Frost,
        Fog,
        Brightness,
        Contrast,
        ElasticTransform,
        Pixelate,
        JpegCompression,
        Resize,
    )
}


def corruption_class(name: CorruptionName) -> type[Corruption]:
    """The class of corruptions that a name stands for."""
    return _CLASSES[name]


def parse_corruption(text: str) -> Corruption:
    """Read a name such as ``fog:3``.

    Args:
        text: The kind and, behind a colon, its severity in 1..5.

    Raises:
        InvalidInputError: If there is no such corruption.
    """
    kind, _, severity = (part.strip().lower() for part in text.partition(":"))
    try:
        name = CorruptionName(kind)
    except ValueError:
        raise InvalidInputError(
            f"A corruption should be one of {', '.join(CorruptionName)}. Found {text!r}. "
            "Write it with its severity, as fog:3.",
            field="corruption",
        ) from None
    if severity not in {"1", "2", "3", "4", "5"}:
        raise InvalidInputError(
            f"{name} should be followed by a severity in 1..5, as in {name}:3. Found {severity!r}.",
            field="corruption",
        )
    return corruption_class(name)(severity=int(severity))
