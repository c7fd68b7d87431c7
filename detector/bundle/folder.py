"""The folder of a bundle: which files belong into it, and how one takes the place of another."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from detector.errors import BundleMissingError, BundleTamperedError, StorageError

__all__ = [
    "DETECTOR",
    "GOLDEN",
    "MANIFEST",
    "MODEL_CARD",
    "NETWORK",
    "TENSOR_FILES",
    "check_nothing_else",
    "check_replaceable",
    "replace_folder",
]

MANIFEST = "manifest.json"
"""What the bundle is, with the digests of the files below."""

MODEL_CARD = "MODEL_CARD.md"
"""For people: nothing reads it, no digest covers it, and it may be written later."""

NETWORK = "network.safetensors"
DETECTOR = "detector.safetensors"
GOLDEN = "golden.safetensors"
TENSOR_FILES = (NETWORK, DETECTOR, GOLDEN)
"""The files whose digests the manifest holds."""

_KNOWN = frozenset({MANIFEST, MODEL_CARD, *TENSOR_FILES})
_SHOWN = 3


def check_nothing_else(folder: Path) -> None:
    """Refuse a bundle with a file that is not covered by its digest, other than its model card.

    Nothing would read such a file. Whoever copies, signs or looks through the bundle would take it
    for a part of it all the same.

    Args:
        folder: Folder of the bundle.

    Raises:
        BundleMissingError: If the folder cannot be listed.
        BundleTamperedError: If it holds anything else.
    """
    try:
        strange = _strange(folder)
    except OSError as error:
        raise BundleMissingError(
            f"{folder} should be a folder whose files can be listed. Found: {error.strerror}. "
            "Change its permissions, or give another folder."
        ) from error
    if strange:
        raise BundleTamperedError(
            f"{folder} should hold {', '.join(sorted(_KNOWN))} and nothing else. "
            f"Found {_listed(strange)} in it. Take it away, or copy the bundle again from where "
            "it was made."
        )


def check_replaceable(folder: Path) -> None:
    """Refuse to replace a folder of anything else than a bundle, or to write where nobody may.

    Args:
        folder: Where a bundle is to be written.

    Raises:
        StorageError: If it is no folder, holds something else, or cannot be made.
    """
    try:
        around = next(each for each in folder.absolute().parents if each.exists())
        strange = _strange(folder) if folder.exists() else []
    except OSError as error:
        raise StorageError(
            f"{folder} should be a folder. Found: {error.strerror}. Choose another."
        ) from error
    if not around.is_dir() or not os.access(around, os.W_OK):
        raise StorageError(
            f"{folder} should be in a folder that can be written. Found that {around} "
            f"{'cannot' if around.is_dir() else 'is a file'}. Choose another."
        )
    if strange:
        raise StorageError(
            f"{folder} should be new, empty or a bundle. Found {_listed(strange)} in it. "
            "Choose another folder."
        )


def replace_folder(new: Path, folder: Path) -> None:
    """Put a folder in the place of another; the old one comes back if that fails.

    Args:
        new: What takes the place; it lies beside the other.
        folder: The place.
    """
    old = new.with_suffix(".old")
    if folder.exists():
        folder.rename(old)
    try:
        new.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _strange(folder: Path) -> list[str]:
    return sorted({path.name for path in folder.iterdir()} - _KNOWN)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN])
