"""From images to verdicts: what the service calls."""

from detector.pipeline.agreement import row_digests
from detector.pipeline.findings import Detection, Findings, LayerWeight, Verdict
from detector.pipeline.levels import Level, LevelName
from detector.pipeline.pipeline import Pipeline

__all__ = [
    "Detection",
    "Findings",
    "LayerWeight",
    "Level",
    "LevelName",
    "Pipeline",
    "Verdict",
    "row_digests",
]
