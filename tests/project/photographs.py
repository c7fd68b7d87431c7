"""A data set like that of the guide: two kinds of fruit, told apart by colour, in folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.models import resnet18

from detector.preprocessing import IMAGENET_PREPROCESSING

COLOURS = {"apple": (190, 60, 60), "plum": (70, 60, 170)}
COUNTS = {"train": 40, "fit": 30, "calibration": 64, "test": 4}
SIDES = (24, 40)
"""Photographs come in several sizes, some smaller than what the network reads."""


def write_photographs(folder: Path) -> None:
    """One folder a class in each of train, fit, calibration and test."""
    generator = np.random.default_rng(0)
    for split, count in COUNTS.items():
        for name, colour in COLOURS.items():
            (folder / split / name).mkdir(parents=True)
            for index in range(count):
                side = SIDES[index % len(SIDES)]
                pixels = _photograph(generator, colour, (side, side + 4))
                Image.fromarray(pixels).save(folder / split / name / f"{index:04d}.png")


def trained_resnet18(side: int = 32) -> nn.Module:
    """A ResNet-18 that tells the fruit apart, as somebody's own training would leave it."""
    torch.manual_seed(0)
    network = resnet18(num_classes=len(COLOURS))
    optimiser = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.3  # few steps have to do for the running statistics as well
    for step in range(12):
        images, labels = _batch(step, side)
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()
        optimiser.step()
    return network.eval()


def _batch(step: int, side: int) -> tuple[Tensor, Tensor]:
    generator = np.random.default_rng(1000 + step)
    labels = np.arange(32) % len(COLOURS)
    colours = list(COLOURS.values())
    pixels = np.stack([_photograph(generator, colours[label], (side, side)) for label in labels])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    return IMAGENET_PREPROCESSING(images), torch.from_numpy(labels)


def _photograph(
    generator: np.random.Generator, colour: tuple[int, int, int], size: tuple[int, int]
) -> np.ndarray:
    light = generator.uniform(0.8, 1.2)
    noise = generator.normal(0, 25, (*size, 3))
    return np.clip(light * np.array(colour) + noise, 0, 255).astype(np.uint8)
