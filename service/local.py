"""The same answers as a server's, without one: for a few images on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from detector import pipeline as domain
from detector.bundle import Bundle
from detector.errors import ImageError
from detector.images import decode_image
from detector.paths import PathVectors
from detector.preprocessing import Preprocessing
from service.results import Detection, LayerPath, LayerWeight, Level, Verdict

__all__ = ["LocalDetector", "read_image"]

_PASSES_PER_BATCH = 64


class LocalDetector:
    """Looks at image files in this process; needs neither gRPC nor protobuf.

    Args:
        bundle: What to look with.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._pipeline = bundle.pipeline

    def detect(
        self,
        images: Sequence[Path],
        *,
        alpha: float | None = None,
        level: Level | None = None,
        include_path: bool = False,
        include_layers: bool = False,
        include_explanation: bool = False,
    ) -> tuple[Detection, ...]:
        """Classify images and tell which of them left the path of their class.

        Args:
            images: Image files.
            alpha: False-alarm budget; None for the bundle's.
            level: How much compute each verdict may cost; None for the bundle's default.
            include_path: Whether to return each image's path.
            include_layers: Whether to return the layers that lie farthest from clean paths.
            include_explanation: Whether to return what speaks against the predicted class.

        Raises:
            ImageError: If a file is no usable image.
            BudgetError: If alpha cannot be kept.
            InvalidInputError: If the bundle has no such level.
        """
        self._pipeline.check_alpha(alpha)
        chosen = self._pipeline.level(level)
        side = self._pipeline.preprocessing
        step = max(1, _PASSES_PER_BATCH // chosen.passes)
        found: list[Detection] = []
        for start in range(0, len(images), step):
            batch = [read_image(image, side) for image in images[start : start + step]]
            findings = self._pipeline.analyse(torch.stack(batch), chosen.name)
            if include_explanation:
                findings = self._pipeline.explain(findings, range(len(batch)))
            found += (
                _as_result(
                    self._pipeline.detect(findings, row, alpha),
                    passes=chosen.passes,
                    path=findings.path[row : row + 1] if include_path else None,
                    layers=include_layers,
                )
                for row in range(len(batch))
            )
        return tuple(found)


def read_image(path: Path, preprocessing: Preprocessing) -> torch.Tensor:
    """An image file at the size of the network's input, uint8 of shape (3, H, W).

    Args:
        path: The file.
        preprocessing: How images become the network's input.

    Raises:
        ImageError: If it is no usable image.
    """
    try:
        return preprocessing.fit(decode_image(path.read_bytes()))
    except OSError as error:
        raise ImageError(
            f"{path} should be a readable file. Found: {error.strerror}. Check the path."
        ) from error
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error


def _as_result(
    found: domain.Detection, *, passes: int, path: PathVectors | None, layers: bool
) -> Detection:
    """What a server would have sent about the same image."""
    return Detection(
        predicted_class=found.predicted_class,
        label=found.label,
        probability=found.probability,
        score=found.score,
        p_value=found.p_value,
        alpha=found.alpha,
        level=Level[found.level.name],
        passes=passes,
        verdict=Verdict[found.verdict.name],
        reason=found.reason,
        unstable_gates=found.unstable_gates,
        explanation=found.explanation,
        path=() if path is None else tuple(_layers(path)),
        layers=tuple(LayerWeight(name=each.name, weight=each.weight) for each in found.layers)
        if layers
        else (),
    )


def _layers(path: PathVectors) -> list[LayerPath]:
    return [
        LayerPath(
            name=name,
            open_gates=tuple(layer.bits[0].tolist()),
            logits=tuple(layer.logits[0].tolist()),
            activations=tuple(layer.activations[0].tolist()),
        )
        for name, layer in path.by_layer()
    ]
