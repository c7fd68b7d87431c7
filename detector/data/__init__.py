"""Images, and the four splits that must never meet: train, fit, calibration, test."""

from detector.data.loading import CIFAR10_CLASSES, load_splits
from detector.data.sources import ArraySource, FolderSource, ImageSource
from detector.data.splits import (
    CalibrationImages,
    FitImages,
    Images,
    Splits,
    TestImages,
    TrainImages,
)

__all__ = [
    "CIFAR10_CLASSES",
    "ArraySource",
    "CalibrationImages",
    "FitImages",
    "FolderSource",
    "ImageSource",
    "Images",
    "Splits",
    "TestImages",
    "TrainImages",
    "load_splits",
]
