"""Names of corruptions, as commands and tables write them."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["CorruptionName"]


class CorruptionName(StrEnum):
    """A kind of corruption, by name: those of CIFAR-10-C, then resizing."""

    GAUSSIAN_NOISE = "gaussian-noise"
    SHOT_NOISE = "shot-noise"
    IMPULSE_NOISE = "impulse-noise"
    DEFOCUS_BLUR = "defocus-blur"
    GLASS_BLUR = "glass-blur"
    MOTION_BLUR = "motion-blur"
    ZOOM_BLUR = "zoom-blur"
    SNOW = "snow"
    FROST = "frost"
    FOG = "fog"
    BRIGHTNESS = "brightness"
    CONTRAST = "contrast"
    ELASTIC_TRANSFORM = "elastic-transform"
    PIXELATE = "pixelate"
    JPEG_COMPRESSION = "jpeg-compression"
    RESIZE = "resize"
