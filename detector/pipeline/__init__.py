"""From images to verdicts: what the service calls."""

from detector.pipeline.agreement import row_digests
from detector.pipeline.device_noise import DeviceNoise
from detector.pipeline.findings import Abstention, Detection, Findings, LayerWeight, Verdict
from detector.pipeline.levels import Level, LevelName
from detector.pipeline.pipeline import Pipeline
from detector.pipeline.steadiness import Steadiness

__all__ = [
    "Abstention",
    "Detection",
    "DeviceNoise",
    "Findings",
    "LayerWeight",
    "Level",
    "LevelName",
    "Pipeline",
    "Steadiness",
    "Verdict",
    "row_digests",
]
