"""The output tensors of the Open Inference Protocol: what each holds, and how it becomes bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from detector.pipeline import Detection
from service.analysis import Judged
from service.open_inference_tensors import join_byte_strings
from service.security.principal import Right

__all__ = ["OUTPUTS", "OutputTensor"]

Pack = Callable[[Sequence[Judged]], bytes]


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputTensor:
    """An output that the model gives.

    Args:
        name: Its name.
        datatype: The datatype of its elements.
        pack: Lays out what it tells of some images, little-endian, row after row.
        right: What a caller needs to be told it; None for nothing.
        of_classes: Whether it has an element for each class of each image, or one for each image.
    """

    name: str
    datatype: str
    pack: Pack
    right: Right | None = None
    of_classes: bool = False

    def shape(self, *, images: int, classes: int) -> tuple[int, ...]:
        """Its shape for so many images, -1 where their number is open."""
        return (images, classes) if self.of_classes else (images,)


def _logits(images: Sequence[Judged]) -> bytes:
    rows = [image.row.batch.class_logits[image.row.index].numpy() for image in images]
    return np.stack(rows).astype("<f4").tobytes()


def _numbers(dtype: str, number: Callable[[Detection], float]) -> Pack:
    return lambda images: np.array([number(e.detection) for e in images], dtype=dtype).tobytes()


def _texts(text: Callable[[Detection], str]) -> Pack:
    return lambda images: join_byte_strings(text(each.detection).encode() for each in images)


def _in_campaign(images: Sequence[Judged]) -> bytes:
    return bytes(image.in_campaign for image in images)


OUTPUTS = {
    tensor.name: tensor
    for tensor in (
        OutputTensor(
            name="logits", datatype="FP32", pack=_logits, right=Right.SCORE, of_classes=True
        ),
        OutputTensor(
            name="class", datatype="INT64", pack=_numbers("<i8", lambda d: d.predicted_class)
        ),
        OutputTensor(name="label", datatype="BYTES", pack=_texts(lambda d: d.label)),
        OutputTensor(
            name="probability",
            datatype="FP64",
            pack=_numbers("<f8", lambda d: d.probability),
            right=Right.SCORE,
        ),
        OutputTensor(
            name="score",
            datatype="FP64",
            pack=_numbers("<f8", lambda d: d.score),
            right=Right.SCORE,
        ),
        OutputTensor(name="p_value", datatype="FP64", pack=_numbers("<f8", lambda d: d.p_value)),
        OutputTensor(name="verdict", datatype="BYTES", pack=_texts(lambda d: d.verdict.name)),
        OutputTensor(name="in_campaign", datatype="BOOL", pack=_in_campaign),
    )
}
"""The outputs by name, in the order in which they come unless a request asks for another."""
