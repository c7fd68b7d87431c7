"""The same answers as a server's, without one: for a few images on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from detector.bundle import Bundle
from detector.errors import ImageError
from detector.images import decode_image
from service.client import parse_detection
from service.codec import encode_detection
from service.results import Detection

__all__ = ["LocalDetector"]


class LocalDetector:
    """Looks at image files in this process.

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
        include_path: bool = False,
        include_layers: bool = False,
    ) -> tuple[Detection, ...]:
        """Classify images and tell which of them left the path of their class.

        Args:
            images: Image files, at least one.
            alpha: False-alarm budget; None for the bundle's.
            include_path: Whether to return each image's path.
            include_layers: Whether to return the layers that weigh most.

        Raises:
            ImageError: If a file is no usable image.
            BudgetError: If alpha cannot be kept.
        """
        budget = self._pipeline.check_alpha(alpha)
        findings = self._pipeline.analyse(torch.stack([self._read(image) for image in images]))
        # Through the message and back: what is shown here is what a server would have sent.
        return tuple(
            parse_detection(
                encode_detection(
                    self._pipeline.detect(findings, row, budget),
                    path=findings.path[row : row + 1] if include_path else None,
                    layers=include_layers,
                )
            )
            for row in range(len(images))
        )

    def _read(self, path: Path) -> torch.Tensor:
        try:
            return self._pipeline.preprocessing.fit(decode_image(path.read_bytes()))
        except OSError as error:
            raise ImageError(
                f"{path} should be a readable file. Found: {error.strerror}. Check the path."
            ) from error
        except ImageError as error:
            raise ImageError(f"{path}: {error}") from error
