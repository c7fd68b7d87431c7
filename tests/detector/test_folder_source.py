"""Folders of images are read as the server reads images, and memory stays flat."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image

from detector.data import FolderSource, load_splits
from detector.errors import DataError
from detector.images import ImageLimits, decode_image
from detector.preprocessing import IMAGENET_PREPROCESSING, Preprocessing

TINY = Preprocessing(height=4, width=4, shorter_side=4, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def encoded(seed, size=(9, 7), kind="PNG"):
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path):
    for part, count in (("train", 4), ("val", 2)):
        for name in ("owl", "cat"):
            for index in range(count):
                file = tmp_path / part / name / "deeper" / f"{index}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(encoded(index))
    return tmp_path


def test_a_folder_is_read_with_imagenet_s_preprocessing_and_sorted_classes(folder):
    splits = load_splits(folder)
    assert splits.class_names == ("cat", "owl")
    assert splits.preprocessing == IMAGENET_PREPROCESSING
    assert [len(part) for part in (splits.train, splits.fit, splits.calibration)] == [4, 2, 2]
    assert splits.test.labels.tolist() == [0, 0, 1, 1]
    assert splits.test.read([0, 3], TINY).shape == (2, 3, 4, 4)


def test_a_test_folder_goes_before_a_val_folder(folder):
    (folder / "val").rename(folder / "test")
    (folder / "val").mkdir()
    assert len(load_splits(folder).test) == 4


def test_fit_and_calibration_folders_are_used_where_they_are_there(folder):
    shutil.copytree(folder / "val", folder / "calibration")
    splits = load_splits(folder)
    assert [len(part) for part in (splits.train, splits.fit, splits.calibration)] == [6, 2, 4]
    shutil.copytree(folder / "train", folder / "fit")
    splits = load_splits(folder)
    assert [len(part) for part in (splits.train, splits.fit, splits.calibration)] == [8, 8, 4]


def test_an_image_of_a_folder_is_loaded_as_it_is_stored(folder):
    stored = np.asarray(Image.open(io.BytesIO(encoded(1))))
    loaded = FolderSource(folder / "train").load(1)
    assert torch.equal(loaded, torch.from_numpy(stored.copy()).permute(2, 0, 1))


def test_files_that_are_no_images_are_left_out(folder):
    (folder / "train" / "cat" / "notes.txt").write_text("hello")
    (folder / "train" / "cat" / "LOUD.JPG").write_bytes(encoded(0, kind="JPEG"))
    assert len(FolderSource(folder / "train")) == 9


def test_a_folder_with_an_empty_class_is_refused_and_named(folder):
    (folder / "train" / "bat").mkdir()
    (folder / "train" / "bat" / "notes.txt").write_text("soon")
    with pytest.raises(DataError, match="bat should hold at least one image"):
        load_splits(folder)


def test_a_folder_without_classes_is_refused(folder):
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match="one folder of images a class"):
        FolderSource(folder / "empty")


@pytest.mark.parametrize("suffix", [".bmp", ".ppm", ".tif", ".gif", ".txt"])
def test_files_of_other_kinds_than_the_server_takes_are_left_out(folder, suffix) -> None:
    (folder / "train" / "cat" / f"extra{suffix}").write_bytes(encoded(0))
    assert len(FolderSource(folder / "train")) == 8


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".webp", ".JPEG"])
def test_an_image_is_decoded_as_the_server_decodes_it_whatever_its_suffix(folder, suffix) -> None:
    data = encoded(5, kind="JPEG")  # as one file of ImageNet, whose suffix is another's
    (folder / "train" / "cat" / f"a{suffix}").write_bytes(data)
    assert torch.equal(FolderSource(folder / "train").load(0), decode_image(data))


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def picture() -> Image.Image:
    return Image.open(io.BytesIO(encoded(0)))


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "no bytes"),
    "text": (lambda: b"no image", "unknown format"),
    "header": (lambda: encoded(0)[:40], "ends too early"),
    "half a png": (lambda: encoded(0)[:120], "ends too early"),
    "half a jpeg": (lambda: encoded(0, kind="JPEG")[:400], "ends too early"),
    "bmp by another name": (lambda: encoded(0, kind="BMP"), "Found BMP"),
    "cmyk": (lambda: saved(picture().convert("CMYK"), "JPEG"), r"Found CMYK\. Convert it to RGB"),
    "palette": (lambda: saved(picture().convert("P")), "palette"),
    "16-bit": (lambda: saved(Image.fromarray(np.ones((8, 8), dtype=np.uint16))), "16 bits"),
    "transparent": (lambda: saved(Image.new("RGBA", (8, 8), (1, 2, 3, 4))), "transparent"),
    "animated": (
        lambda: saved(picture(), save_all=True, append_images=[Image.new("RGB", (7, 9))]),
        "animated PNG",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_server_would_refuse_is_refused_and_its_file_named(folder, case) -> None:
    make, found = REFUSED[case]
    file = next((folder / "train" / "cat").rglob("0.png"))
    file.write_bytes(make())
    source = FolderSource(folder / "train")
    with pytest.raises(DataError, match=rf"0\.png should be .*{found}.*Convert or repair"):
        source.read([0], TINY)


def test_a_file_that_is_gone_is_named(folder) -> None:
    source = FolderSource(folder / "train")
    next((folder / "train" / "cat").rglob("0.png")).unlink()
    with pytest.raises(DataError, match=r"0\.png should be a readable file.*No such file"):
        source.load(0)


def test_the_limits_of_the_sizes_are_the_server_s(folder) -> None:
    limits = ImageLimits(max_pixels=62)
    with pytest.raises(DataError, match="at most 62 pixels"):
        FolderSource(folder / "train", limits=limits).load(0)


def test_the_digest_of_a_folder_tells_names_and_contents(folder) -> None:
    def digest() -> str:
        return load_splits(folder).train.digest()

    before = digest()
    assert digest() == before
    for file in (folder / "train" / "cat").rglob("*.png"):
        file.write_bytes(encoded(77))
    changed = digest()
    assert changed != before
    (folder / "train" / "cat").rename(folder / "train" / "bat")
    (folder / "val" / "cat").rename(folder / "val" / "bat")
    assert digest() not in {before, changed}
