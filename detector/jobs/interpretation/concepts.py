"""Concepts: what some images have and others have not."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from detector.data import CIFAR10_CLASSES
from detector.errors import InvalidInputError
from detector.jobs.interpretation.sample import PathSample
from detector.path_table import SplitName

__all__ = ["ClassConcept", "Concept", "LabelledConcept", "Marks", "concepts_of_classes", "group"]

_ANIMALS = ("bird", "cat", "deer", "dog", "frog", "horse")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Marks:
    """Which images have a concept.

    Args:
        known: Of which images that is known, bool of shape (N,).
        members: Which have it, bool of shape (N,); False where it is not known.
    """

    known: NDArray[np.bool_]
    members: NDArray[np.bool_]


class Concept(ABC):
    """What some images have and others have not.

    Args:
        name: What it is called.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def marks(self, sample: PathSample) -> Marks:
        """Which images of a sample have it."""


class ClassConcept(Concept):
    """The images of one class or of several.

    Args:
        name: What it is called.
        classes: Indices of the classes, at least one.
    """

    def __init__(self, name: str, classes: Sequence[int]) -> None:
        super().__init__(name)
        self.classes = tuple(classes)

    @override
    def marks(self, sample: PathSample) -> Marks:
        return Marks(
            known=np.ones(len(sample), dtype=np.bool_),
            members=np.isin(sample.labels, self.classes),
        )


class LabelledConcept(Concept):
    """What somebody has looked for in each of some images.

    Args:
        name: What it is called.
        images: By split and index within its source, whether an image has it. Of images that are
            not here, nothing is known.
    """

    def __init__(self, name: str, images: Mapping[tuple[SplitName, int], bool]) -> None:
        super().__init__(name)
        self.images = images

    @override
    def marks(self, sample: PathSample) -> Marks:
        found = [self.images.get((sample.split, index)) for index in sample.image_ids.tolist()]
        return Marks(
            known=np.array([each is not None for each in found], dtype=np.bool_),
            members=np.array([each is True for each in found], dtype=np.bool_),
        )


def concepts_of_classes(class_names: Sequence[str]) -> tuple[ClassConcept, ...]:
    """Each class; and for CIFAR-10 animals, the rest of which are vehicles."""
    single = tuple(ClassConcept(name, [index]) for index, name in enumerate(class_names))
    if tuple(class_names) != CIFAR10_CLASSES:
        return single
    return (*single, ClassConcept("animal", [class_names.index(name) for name in _ANIMALS]))


def group(text: str, class_names: Sequence[str]) -> ClassConcept:
    """The concept that ``pet=cat,dog`` describes.

    Args:
        text: Its name, and the names of its classes.
        class_names: Name of each class.

    Raises:
        InvalidInputError: If it is not of this form, a class is unknown, or none or all belong to
            it.
    """
    name, equals, rest = text.partition("=")
    members = [each.strip() for each in rest.split(",") if each.strip()]
    unknown = [each for each in members if each not in class_names]
    if not (name.strip() and equals and members) or unknown or set(members) == set(class_names):
        wrong = f"unknown classes {', '.join(unknown)}" if unknown else repr(text)
        raise InvalidInputError(
            "A group should be a name and some of the classes, as pet=cat,dog, but not all. "
            f"Found {wrong}. The classes are {', '.join(class_names)}.",
            field="group",
        )
    return ClassConcept(name.strip(), [class_names.index(each) for each in members])
