"""Images whose concepts are known gate by gate, and a network whose one gate causes one class."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from detector.data import ArraySource, Splits
from detector.decoupling import DecoupledNetwork
from detector.jobs.interpretation.sample import PathSample
from detector.path_table import SplitName
from detector.paths import PathLayout
from detector.preprocessing import Preprocessing

LAYOUT = PathLayout(names=("early", "late"), sizes=(6, 10))
CLASSES = ("a", "b", "c", "d")

COLOURS = ("red", "green", "blue")
PLAIN = Preprocessing(height=4, width=4, shorter_side=4, mean=(0.0,) * 3, std=(1.0,) * 3)


@pytest.fixture
def make_sample() -> Callable[..., PathSample]:
    """Images of four classes. Early gates are coins; late gate k is open in class k alone.

    A share of the late gates is thrown as a coin as well. Gate 10 is always open, 11 always closed.
    """

    def make(
        count: int, *, seed: int = 0, noise: float = 0.0, split: SplitName = SplitName.TRAIN
    ) -> PathSample:
        generator = np.random.default_rng(seed)
        labels = np.arange(count) % len(CLASSES)
        bits = generator.random((count, LAYOUT.gates)) < 0.5
        late = np.eye(len(CLASSES), dtype=np.bool_)[labels]
        thrown = generator.random(late.shape) < noise
        bits[:, 6:10] = np.where(thrown, bits[:, 6:10], late)
        bits[:, 10], bits[:, 11] = True, False
        return PathSample(
            split=split,
            layout=LAYOUT,
            class_names=CLASSES,
            image_ids=np.arange(count),
            bits=bits,
            logits=np.where(bits, 1, -1).astype(np.float16),
            labels=labels,
            predictions=labels,
        )

    return make


class Colours(nn.Module):
    """Says which channel is bright; of its nine gated channels it reads the first three."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 3, 1, bias=False)
        self.second = nn.Conv2d(3, 9, 1, bias=False)
        self.classify = nn.Linear(9, 3)
        with torch.no_grad():
            self.first.weight.copy_(torch.eye(3)[:, :, None, None])
            self.second.weight.copy_(torch.eye(3).repeat(3, 1)[:, :, None, None])
            self.classify.weight.copy_(torch.eye(3, 9))
            # Where nothing comes through, it says blue.
            self.classify.bias.copy_(torch.tensor([-0.2, -0.2, 0.0]))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classify(self.second(self.first(images)).mean(dim=(2, 3)))
        return logits


@pytest.fixture
def colours() -> SimpleNamespace:
    """A network with the gate of each colour open for it alone, its images and their paths."""
    network = DecoupledNetwork(Colours()).eval()
    (controller,) = network.controllers
    controller.squeeze = nn.Linear(3, 3)
    controller.excite = nn.Linear(3, 9)
    with torch.no_grad():
        controller.squeeze.weight.copy_(torch.eye(3))
        controller.squeeze.bias.zero_()
        controller.excite.weight.zero_()
        controller.excite.weight[:3] = 2 * torch.eye(3)
        controller.excite.bias.fill_(1.0)
        controller.excite.bias[:3] = -1.0
    labels = np.arange(120) % 3
    pixels = np.zeros((120, 4, 4, 3), dtype=np.uint8)
    pixels[np.arange(120), :, :, labels] = 255
    source = ArraySource(pixels, labels, COLOURS)
    splits = Splits.divide(source, source, preprocessing=PLAIN)
    images = splits.test
    with torch.inference_mode():
        output = network(PLAIN(images.read(range(120), PLAIN)))
    return SimpleNamespace(
        network=network,
        splits=splits,
        sample=PathSample(
            split=SplitName.TEST,
            layout=network.layout,
            class_names=COLOURS,
            image_ids=np.arange(120),
            bits=output.path.bits.numpy(),
            logits=output.path.logits.numpy().astype(np.float16),
            labels=labels,
            predictions=output.class_logits.argmax(dim=1).numpy(),
        ),
    )
