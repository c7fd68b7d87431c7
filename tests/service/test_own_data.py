"""On the way from one's own images to a bundle, each mistake is one sentence and exit code 2."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import resnet34

from detector.jobs.copy_agreement import CopyAgreement
from service import cli
from service.calibrate_command import _why

CLASSES = ("apple", "plum")
TRAIN = ["train", "--data", "photos", "--preset", "resnet18-imagenet", "--input-size", "32"]


def picture(path: Path, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture(autouse=True)
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A few images of two classes, in the working folder."""
    monkeypatch.chdir(tmp_path)
    for split, count in (("train", 4), ("test", 1)):
        for name in CLASSES:
            for index in range(count):
                picture(Path("photos") / split / name / f"{index}.png", index)
    return Path("photos")


def empty_class(photos: Path) -> None:
    (photos / "train" / "pear").mkdir()


def one_class(photos: Path) -> None:
    for split in ("train", "test"):
        shutil.rmtree(photos / split / "plum")


def other_test_classes(photos: Path) -> None:
    (photos / "test" / "plum").rename(photos / "test" / "pear")


def no_test_folder(photos: Path) -> None:
    shutil.rmtree(photos / "test")


def images_without_class_folders(photos: Path) -> None:
    for file in photos.glob("train/*/*.png"):
        file.rename(photos / "train" / f"{file.parent.name}{file.name}")
    for folder in [each for each in photos.glob("train/*") if each.is_dir()]:
        folder.rmdir()


def corrupt(photos: Path) -> None:
    for file in photos.glob("train/*/*.png"):  # whichever is held out
        file.write_bytes(file.read_bytes()[:200])


def palette(photos: Path) -> None:
    for file in photos.glob("train/*/*.png"):
        Image.open(file).convert("P").save(file)


WRONG_IMAGES: dict[Callable[[Path], None], str] = {
    empty_class: r"pear should hold at least one image of its class .* Add some or remove",
    one_class: r"at least two classes to tell apart\. Found one, apple",
    other_test_classes: r"test images should have the 2 classes .* none of plum and besides pear",
    no_test_folder: r"photos should be .* a folder with train/ and test/",
    images_without_class_folders: r"train should hold one folder of images a class",
    corrupt: r"\d\.png should be a readable image .* ends too early or is damaged",
    palette: r"\d\.png should be a readable image .* palette PNG\. Convert it to RGB",
}


@pytest.mark.parametrize("spoil", WRONG_IMAGES, ids=lambda spoil: spoil.__name__)
def test_images_that_cannot_be_used_are_named(spoil, photos, capsys) -> None:
    spoil(photos)
    assert cli.run([*TRAIN, "--output", "net"]) == 2
    assert re.search(WRONG_IMAGES[spoil], sentence(capsys))
    assert not list(Path().glob("net/*.safetensors"))


def test_weights_of_another_network_are_refused_in_one_sentence(capsys) -> None:
    torch.save(resnet34(num_classes=2).state_dict(), "resnet34.pt")
    assert cli.run([*TRAIN, "--weights", "resnet34.pt", "--output", "net"]) == 2
    told = sentence(capsys)
    assert re.search(r"besides layer1\.2\.conv1\.weight.* of \d+\)\. Name the network", told)
    assert len(told) < 500


def test_weights_of_other_classes_are_refused_with_the_way_out(capsys) -> None:
    from torchvision.models import resnet18

    torch.save(resnet18(num_classes=5).state_dict(), "five.pt")
    assert cli.run([*TRAIN, "--weights", "five.pt", "--output", "net"]) == 2
    assert re.search(r"for the 2 classes .* Found 5 .*--plain-epochs", sentence(capsys))


def test_images_that_are_too_small_for_the_network_are_refused(capsys) -> None:
    small = [*TRAIN[:-1], "8", "--backbone", "cifar-vgg19-bn", "--output", "net"]
    assert cli.run(small) == 2
    assert re.search(r"read images of 8 x 8 pixels.*--input-size", sentence(capsys))


@pytest.mark.parametrize(
    ("agreeing", "images", "why"),
    [(10, 30, "only 33.3% of clean images"), (18, 18, "18 of 18 .* too few to tell; extract more")],
)
def test_a_dropped_copy_does_harm_or_is_not_known_to_do_none(agreeing, images, why) -> None:
    assert re.search(why, _why(CopyAgreement.of("flip", agreeing=agreeing, images=images)))


def sentence(capsys: pytest.CaptureFixture[str]) -> str:
    """What went to the user: one line and no traceback."""
    told = capsys.readouterr().err.strip().splitlines()
    assert told[-1].startswith("Error: ")
    assert "Traceback" not in "".join(told)
    return told[-1]
