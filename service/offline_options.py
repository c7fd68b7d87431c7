"""Options that several offline commands have."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from detector.errors import InvalidInputError

__all__ = [
    "PRESETS",
    "BatchSizeOption",
    "Bf16Option",
    "CompileOption",
    "DataOption",
    "DecoupledEpochsOption",
    "OutputOption",
    "PresetOption",
    "SettledEpochsOption",
    "TrainingSeedOption",
    "choice",
]

PRESETS = (
    "resnet20-cifar10, resnet20-cifar10-robust, wide-resnet8-cifar10, resnet56-cifar10, "
    "vgg-cifar10, googlenet-cifar10, resnet18-imagenet, vgg16-imagenet"
)
"""Names of all recipes, for helps, which should not wait for torch."""

E = TypeVar("E", bound=StrEnum)

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/")


def local_path(option: typer.CallbackParam, value: Path | None) -> Path | None:
    """Refuse an address: as a path, s3://bucket/paths would be the folder s3: right here."""
    if _ADDRESS.match(str(value)):
        kind, that = ("file", "one in it") if "FILE" in str(option.metavar) else ("folder", "that")
        raise InvalidInputError(
            f"{option.opts[0]} should be a {kind}. Found an address, {value}. Mount the bucket as "
            f"a folder (on a cluster: at the same place on each machine), and give {that}.",
            field=str(option.name),
        )
    return value


DataOption = Annotated[
    Path,
    typer.Option(
        help="The images: an .npz file, torchvision's CIFAR-10 folder, or a folder with train/ "
        "and test/ of one folder a class.",
        metavar="PATH",
    ),
]
OutputOption = Annotated[
    Path, typer.Option(help="Folder for what is written.", metavar="DIR", callback=local_path)
]
PresetOption = Annotated[str, typer.Option(help=f"Recipe: {PRESETS}.")]
BatchSizeOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Images a step; learning rates grow with it. 512 keeps a GPU busy. Default: the "
        "recipe's.",
    ),
]
DecoupledEpochsOption = Annotated[
    int | None,
    typer.Option(min=1, help="Epochs of each decoupled network. Default: the recipe's."),
]
SettledEpochsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Epochs at the end with the gates of evaluation, for recipes that have some. "
        "Default: the recipe's.",
    ),
]
TrainingSeedOption = Annotated[int, typer.Option(help="Fixes all that is random.")]
Bf16Option = Annotated[bool, typer.Option("--bf16", help="Train in bfloat16 where that is safe.")]
CompileOption = Annotated[
    bool, typer.Option("--compile", help="Train with torch.compile: slow start, fast run.")
]


def choice(kind: type[E], value: str, option: str) -> E:
    """The member that an option names.

    Raises:
        InvalidInputError: If it names none.
    """
    try:
        return kind(value)
    except ValueError as error:
        raise InvalidInputError(
            f"--{option} should be one of {', '.join(kind)}. Found {value!r}.", field=option
        ) from error
