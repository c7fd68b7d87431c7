"""What other servers serve: the plain network's predictions, or the detector's verdicts."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from typing_extensions import override

from detector.bundle import load_bundle
from detector.pipeline import Pipeline

__all__ = ["Predictions", "ServedModel", "Verdicts", "served_model"]

Answer = dict[str, Any]
"""Fields of `offpath.v1.Detection`."""


class ServedModel(ABC):
    """Decodes files of the network's input size, and answers a batch of them; one thread.

    Args:
        pipeline: Where the weights are from.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        torch.set_num_threads(1)
        self._pipeline = pipeline

    def decode(self, data: bytes) -> Tensor:
        """Pixels of an image file, uint8 of shape (3, H, W).

        Raises:
            OSError: If it is none.
        """
        with Image.open(io.BytesIO(data)) as image:
            return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)

    @abstractmethod
    def answers(self, images: Sequence[Tensor]) -> list[Answer]:
        """One for each image, at least one image."""


class Predictions(ServedModel):
    """The backbone without its gates: a class, and nothing about paths.

    Weights and images lie in the layout that convolutions are fastest in, and the statistics of
    the images are made beforehand.
    """

    @override
    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__(pipeline)
        side = pipeline.preprocessing
        self._mean = 255 * torch.tensor(side.mean).view(1, 3, 1, 1)
        self._std = 255 * torch.tensor(side.std).view(1, 3, 1, 1)
        self._network = pipeline.network.detach_hooks().eval()
        self._network.to(memory_format=torch.channels_last)

    @override
    def answers(self, images: Sequence[Tensor]) -> list[Answer]:
        names = self._pipeline.class_names
        with torch.inference_mode():
            batch = (torch.stack(list(images)).float() - self._mean) / self._std
            logits = self._network(batch.contiguous(memory_format=torch.channels_last))
            probabilities, classes = logits.softmax(dim=1).max(dim=1)
        return [
            {"predicted_class": index, "label": names[index], "probability": probability}
            for index, probability in zip(classes.tolist(), probabilities.tolist(), strict=True)
        ]


class Verdicts(ServedModel):
    """The whole detector at the bundle's default level, called as a library."""

    @override
    def answers(self, images: Sequence[Tensor]) -> list[Answer]:
        findings = self._pipeline.analyse(torch.stack(list(images)))
        found = [self._pipeline.detect(findings, row) for row in range(len(images))]
        return [
            {
                "predicted_class": each.predicted_class,
                "label": each.label,
                "probability": each.probability,
                "score": each.score,
                "p_value": each.p_value,
                "alpha": each.alpha,
                "verdict": f"VERDICT_{each.verdict.name}",
                "reason": each.reason,
            }
            for each in found
        ]


_MODELS = {"predictions": Predictions, "verdicts": Verdicts}


def served_model(bundle: Path, answers: str) -> ServedModel:
    """A model of a bundle.

    Args:
        bundle: Folder of the bundle.
        answers: ``predictions`` or ``verdicts``.
    """
    return _MODELS[answers](load_bundle(bundle).pipeline)
