import hashlib
import pickle
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.datasets import CIFAR10

from detector.data import (
    CIFAR10_CLASSES,
    ArraySource,
    CalibrationImages,
    FitImages,
    Splits,
    TestImages,
    TrainImages,
    load_splits,
)
from detector.errors import DataError
from detector.preprocessing import (
    CIFAR10_PREPROCESSING,
    Preprocessing,
)

TINY = Preprocessing(height=4, width=4, shorter_side=4, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def arrays(per_class=5, classes=3, side=4, seed=0):
    """Images that all differ, with their labels."""
    count = per_class * classes
    images = np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    return images, np.arange(count) % classes


def source(per_class=5, classes=3):
    return ArraySource(*arrays(per_class, classes), [f"class{index}" for index in range(classes)])


def npz(path, **changes):
    train_images, train_labels = arrays()
    test_images, test_labels = arrays(per_class=2, seed=1)
    content = {
        "train_images": train_images,
        "train_labels": train_labels,
        "test_images": test_images,
        "test_labels": test_labels,
    } | changes
    np.savez(path, **{key: value for key, value in content.items() if value is not None})
    return path


# ---- the four splits


@settings(deadline=None, max_examples=40)
@given(st.integers(3, 60), st.integers(2, 6), st.integers(0, 2**31))
def test_splits_are_disjoint_cover_everything_and_hold_every_class(per_class, classes, seed):
    images, labels = arrays(per_class, classes)
    labels = np.random.default_rng(seed).permutation(labels)
    train = ArraySource(images, labels, [str(index) for index in range(classes)])
    splits = Splits.divide(train, train, preprocessing=TINY)
    held = [splits.train, splits.fit, splits.calibration]
    ids = np.concatenate([part.ids for part in held])
    assert sorted(ids) == list(range(len(labels)))
    for part in held:
        counts = np.bincount(part.labels, minlength=classes)
        assert counts.min() == counts.max() >= 1  # stratified: as many of each class
        assert np.array_equal(part.labels, labels[part.ids])


def test_splits_of_cifar10_s_size_leave_45_000_for_training_and_350_a_class_for_calibration():
    labels = np.arange(50_000) % 10
    pixels = np.zeros((50_000, 1, 1, 3), dtype=np.uint8)
    train = ArraySource(pixels, labels, CIFAR10_CLASSES)
    splits = Splits.divide(train, train, preprocessing=TINY)
    assert [len(part) for part in (splits.train, splits.fit, splits.calibration)] == [
        45_000, 1_500, 3_500,
    ]  # fmt: skip
    assert np.bincount(splits.calibration.labels).tolist() == [350] * 10


def test_the_division_is_the_same_each_time():
    first, second = (Splits.divide(source(20), source(), preprocessing=TINY) for _ in range(2))
    for name in ("train", "fit", "calibration", "test"):
        assert np.array_equal(getattr(first, name).ids, getattr(second, name).ids)


def test_the_division_does_not_hang_on_what_the_images_show():
    train = source(20)
    other = ArraySource(arrays(20, seed=9)[0], train.labels, train.class_names)
    first, second = (Splits.divide(s, source(), preprocessing=TINY) for s in (train, other))
    assert np.array_equal(first.calibration.ids, second.calibration.ids)


def test_each_split_has_a_type_of_its_own():
    splits = Splits.divide(source(), source(2), preprocessing=TINY)
    found = [type(part) for part in (splits.train, splits.fit, splits.calibration, splits.test)]
    assert found == [TrainImages, FitImages, CalibrationImages, TestImages]
    assert not any(issubclass(a, b) for a in found for b in found if a is not b)


def test_test_images_are_used_as_they_are():
    splits = Splits.divide(source(), source(2), preprocessing=TINY)
    assert splits.test.ids.tolist() == list(range(6))
    assert splits.class_names == ("class0", "class1", "class2")


def test_a_class_with_too_few_images_for_every_split_is_named():
    with pytest.raises(DataError, match=r"at least 3 training images.*Found 2 of class0"):
        Splits.divide(source(2), source(), preprocessing=TINY)


@pytest.mark.parametrize("name", ["test", "fit", "calibration"])
@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("class0", "class1"), r"Found none of class2\."),
        (("class0", "class1", "class2", "dog"), r"Found besides dog\."),
        (("class0", "class1", "dog"), r"Found none of class2 and besides dog\."),
        (("class1", "class0", "class2"), r"Found another order\."),
    ],
)
def test_classes_of_other_images_have_to_be_those_of_training(name, names, found):
    images, labels = arrays(classes=len(names))
    others = {"test": source(), name: ArraySource(images, labels, names)}
    with pytest.raises(DataError, match=rf"The {name} images should have the 3 classes.*{found}"):
        Splits.divide(source(), others.pop("test"), **others, preprocessing=TINY)


def test_a_single_class_is_refused():
    with pytest.raises(DataError, match=r"at least two classes.*Found one, class0"):
        Splits.divide(source(classes=1), source(classes=1), preprocessing=TINY)


@pytest.mark.parametrize("own", [("fit",), ("calibration",), ("fit", "calibration")])
def test_splits_of_their_own_are_used_as_they_are_and_training_gives_none_for_them(own):
    given = {name: source(6) for name in own}
    splits = Splits.divide(source(100), source(), **given, preprocessing=TINY)
    for name, images in given.items():
        part = getattr(splits, name)
        assert part.source is images
        assert part.ids.tolist() == list(range(18))
    held = {"fit": 9, "calibration": 21}
    assert len(splits.train) == 300 - sum(held[name] for name in held.keys() - set(own))
    assert type(splits.fit) is FitImages
    assert type(splits.calibration) is CalibrationImages


def test_with_splits_of_their_own_one_training_image_a_class_is_enough():
    splits = Splits.divide(
        source(1), source(), fit=source(), calibration=source(), preprocessing=TINY
    )
    assert len(splits.train) == 3


def test_a_split_reads_its_own_images():
    images, _ = arrays()
    splits = Splits.divide(source(), source(), preprocessing=TINY)
    rows = [1, 0]
    expected = torch.from_numpy(images[splits.train.ids[rows]]).permute(0, 3, 1, 2)
    assert torch.equal(splits.train.read(rows, TINY), expected)


def test_the_digest_tells_other_pixels_labels_and_classes_from_these():
    pixels, labels = arrays(per_class=20)

    def digest(pixels=pixels, labels=labels, names="abc"):
        source = ArraySource(pixels, labels, names)
        return Splits.divide(source, source, preprocessing=TINY).train.digest()

    changed = pixels.copy()
    changed[Splits.divide(source(20), source(), preprocessing=TINY).train.ids[-1], 3, 3, 2] ^= 1
    found = {digest(), digest(pixels=changed), digest(labels=2 - labels), digest(names="abd")}
    assert len(found) == 4
    assert digest(labels=labels.astype(np.int32)) == digest()


# ---- arrays


def test_images_of_another_size_are_fitted():
    larger = Preprocessing(height=6, width=5, shorter_side=7, mean=(0, 0, 0), std=(1, 1, 1))
    assert source().read([0, 3], larger).shape == (2, 3, 6, 5)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_labels_of_any_whole_type_are_taken(dtype):
    images, labels = arrays()
    found = ArraySource(images, labels.astype(dtype), "abc").labels
    assert found.dtype == np.int64
    assert np.array_equal(found, labels)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((3, 4, 4, 3), np.float32), np.arange(3), "uint8 array of shape"),
        (np.zeros((3, 3, 4, 4), np.uint8), np.arange(3), "uint8 array of shape"),
        (np.zeros((3, 4, 4), np.uint8), np.arange(3), "uint8 array of shape"),
        (np.zeros((3, 4, 4, 3), np.uint8), np.arange(4), "one for each image"),
        (np.zeros((3, 4, 4, 3), np.uint8), np.arange(3)[:, None], "one for each image"),
        (np.zeros((3, 4, 4, 3), np.uint8), np.array([0.0, 1.0, 2.0]), "whole numbers"),
        (np.zeros((3, 4, 4, 3), np.uint8), np.array(["a", "b", "c"]), "whole numbers"),
        (np.zeros((3, 4, 4, 3), np.uint8), np.array([0, 1, 3]), r"lie in 0\.\.2"),
        (np.zeros((3, 4, 4, 3), np.uint8), np.array([0, 1, -1]), r"lie in 0\.\.2"),
        (np.zeros((3, 4, 4, 3), np.uint8), np.array([0, 1, 1]), "Found none for c"),
        (np.zeros((0, 4, 4, 3), np.uint8), np.zeros(0, int), "at least one image"),
    ],
)
def test_arrays_of_wrong_shape_type_or_range_are_refused(images, labels, message):
    with pytest.raises(DataError, match=message):
        ArraySource(images, labels, "abc")


# ---- .npz


def test_an_npz_is_read_with_cifar10_s_preprocessing(tmp_path):
    path = npz(tmp_path / "data.npz")
    splits = load_splits(path)
    assert splits.preprocessing == CIFAR10_PREPROCESSING
    assert splits.class_names == ("0", "1", "2")
    assert len(splits.test) == 6
    assert len(splits.train) + len(splits.fit) + len(splits.calibration) == 15
    assert load_splits(path, preprocessing=TINY).preprocessing == TINY


def test_an_npz_may_name_its_classes(tmp_path):
    path = npz(tmp_path / "data.npz", class_names=np.array(["cat", "dog", "owl"]))
    assert load_splits(path).class_names == ("cat", "dog", "owl")


def test_an_npz_of_ten_classes_without_names_is_taken_for_cifar10(tmp_path):
    train_images, train_labels = arrays(classes=10)
    path = npz(
        tmp_path / "data.npz",
        train_images=train_images,
        train_labels=train_labels,
        test_images=train_images,
        test_labels=train_labels,
    )
    assert load_splits(path).class_names == CIFAR10_CLASSES


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test_labels": None}, "Found no test_labels"),
        ({"train_images": np.zeros((15, 4, 4, 3))}, "uint8 array"),
        ({"train_labels": np.zeros(15)}, "whole numbers"),
        ({"test_labels": np.zeros(6)}, "whole numbers"),
        ({"train_labels": np.zeros(15, int)}, r"lie in 0\.\.0"),
        ({"train_labels": np.arange(15) % 2 * 2}, "Found none for 1"),
        ({"train_labels": np.array(["a"] * 15, dtype=object)}, "readable .npz"),
        (
            {"train_images": np.zeros((0, 4, 4, 3), np.uint8), "train_labels": np.zeros(0, int)},
            "at least one class",
        ),
    ],
)
def test_an_npz_with_missing_or_wrong_arrays_is_refused(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        load_splits(npz(tmp_path / "data.npz", **changes))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.999])
def test_a_truncated_npz_is_refused(tmp_path, share):
    path = npz(tmp_path / "data.npz")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match=r"should be a readable \.npz file"):
        load_splits(path)


def test_an_altered_npz_is_refused(tmp_path):
    path = npz(tmp_path / "data.npz")
    content = bytearray(path.read_bytes())
    content[300] ^= 1  # a pixel: the archive's checksum finds it
    path.write_bytes(content)
    with pytest.raises(DataError, match="Bad CRC"):
        load_splits(path)


def test_files_that_only_call_themselves_npz_are_refused(tmp_path):
    path = tmp_path / "data.npz"
    path.write_text("labels: 3")
    with pytest.raises(DataError, match=r"readable \.npz"):
        load_splits(path)
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(DataError, match=r"readable \.npz"):
        load_splits(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(DataError, match="Found no train_images"):
        load_splits(path)


def test_a_missing_npz_is_refused(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        load_splits(tmp_path / "missing.npz")


# ---- torchvision's own CIFAR-10


@pytest.fixture
def cifar10(tmp_path, monkeypatch):
    """Files as torchvision's download leaves them, with 30 images in each batch."""
    folder = tmp_path / CIFAR10.base_folder
    folder.mkdir()

    def write(name, content):
        data = pickle.dumps(content)
        (folder / name).write_bytes(data)
        return [name, hashlib.md5(data).hexdigest()]

    def batch(name, seed):
        images, labels = arrays(per_class=3, classes=10, side=32, seed=seed)
        rows = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
        return write(name, {"data": rows, "labels": labels.tolist()})

    train = [batch(f"data_batch_{index}", seed=index) for index in range(1, 6)]
    test = [batch("test_batch", seed=6)]
    _, digest = write("batches.meta", {"label_names": list(CIFAR10_CLASSES)})
    monkeypatch.setattr(CIFAR10, "train_list", train)
    monkeypatch.setattr(CIFAR10, "test_list", test)
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": digest})
    return tmp_path


def test_torchvision_s_own_files_are_read(cifar10):
    splits = load_splits(cifar10)
    assert splits.class_names == CIFAR10_CLASSES
    assert len(splits.train) + len(splits.fit) + len(splits.calibration) == 150
    assert len(splits.test) == 30
    expected, _ = arrays(per_class=3, classes=10, side=32, seed=6)
    found = splits.test.read([4], CIFAR10_PREPROCESSING)[0]
    assert torch.equal(found, torch.from_numpy(expected[4]).permute(2, 0, 1))


@pytest.mark.parametrize("name", ["data_batch_3", "batches.meta"])
def test_torchvision_s_files_with_one_missing_are_refused(cifar10, name):
    (cifar10 / CIFAR10.base_folder / name).unlink()
    with pytest.raises(DataError, match="torchvision's complete CIFAR-10"):
        load_splits(cifar10)


def test_torchvision_s_files_with_one_altered_are_refused(cifar10):
    file = cifar10 / CIFAR10.base_folder / "test_batch"
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(DataError, match="torchvision's complete CIFAR-10"):
        load_splits(cifar10)


# ---- anything else


@pytest.mark.parametrize("name", ["missing", "empty", "file.txt", "half"])
def test_a_path_without_a_data_set_is_refused_with_the_three_forms(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_text("hello")
    (tmp_path / "half" / "train").mkdir(parents=True)
    with pytest.raises(DataError, match=r"an \.npz file.*torchvision's CIFAR-10.*train/ and test/"):
        load_splits(tmp_path / name)
