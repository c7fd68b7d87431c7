"""Natural shift: images spoilt by noise, blur, weather and processing, at five severities.

The kinds are those of CIFAR-10-C, and resizing. A corruption is an immutable object such as
``Fog(severity=3)``; `parse_corruption` reads the name that users write, ``fog:3``. A detector of
attacks meets all of them in clean traffic.
"""

from detector.corruptions.base import Corruption
from detector.corruptions.blur import DefocusBlur, GlassBlur, MotionBlur, ZoomBlur
from detector.corruptions.digital import Contrast, JpegCompression, Pixelate, Resize
from detector.corruptions.elastic import ElasticTransform
from detector.corruptions.frost import Frost
from detector.corruptions.names import CorruptionName
from detector.corruptions.noise import GaussianNoise, ImpulseNoise, ShotNoise
from detector.corruptions.parsing import corruption_class, parse_corruption
from detector.corruptions.weather import Brightness, Fog, Snow

__all__ = [
    "Brightness",
    "Contrast",
    "Corruption",
    "CorruptionName",
    "DefocusBlur",
    "ElasticTransform",
    "Fog",
    "Frost",
    "GaussianNoise",
    "GlassBlur",
    "ImpulseNoise",
    "JpegCompression",
    "MotionBlur",
    "Pixelate",
    "Resize",
    "ShotNoise",
    "Snow",
    "ZoomBlur",
    "corruption_class",
    "parse_corruption",
]
