"""Concepts that users give, and what is wrong with them, told by file and line."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from detector.data import CIFAR10_CLASSES
from detector.errors import DataError, InvalidInputError
from detector.jobs.interpretation.concept_file import read_concepts
from detector.jobs.interpretation.concepts import concepts_of_classes, group
from detector.path_table import PathTable, SplitName

SPLITS = (SplitName.TRAIN, SplitName.CALIBRATION)
GOOD = """split,image,concept
train,3,striped
train,3,indoors
train,4,
calibration,7, striped
calibration,8,indoors

train,5,indoors
"""


@pytest.fixture
def table(make_table, tmp_path) -> PathTable:
    return PathTable(make_table(tmp_path / "table"))


def written(tmp_path, text: str):
    path = tmp_path / "concepts.csv"
    path.write_text(text, "utf-8")
    return path


def test_an_image_has_the_concepts_of_its_lines_and_none_of_the_others(
    table, tmp_path, make_sample
) -> None:
    striped, indoors = read_concepts(written(tmp_path, GOOD), table, SPLITS)
    assert (striped.name, indoors.name) == ("striped", "indoors")
    marks = striped.marks(make_sample(10))
    assert np.flatnonzero(marks.known).tolist() == [3, 4, 5]
    assert np.flatnonzero(marks.members).tolist() == [3]
    assert np.flatnonzero(indoors.marks(make_sample(10)).members).tolist() == [3, 5]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("image,concept\n", "line 1: the header should be split,image,concept"),
        ("", "line 1"),
        ("split,image,concept\n", "header alone"),
        ("split,image,concept\ntrain,4,\n", "at least one concept"),
        (f"{GOOD}test,1,striped\n", "line 9.*train or calibration.*'test'"),
        (f"{GOOD}train,-1,striped\n", "line 9.*index of an image.*'-1'"),
        (f"{GOOD}train,1\n", "line 9.*'train,1'"),
        (f"{GOOD}train,300,striped\n", "line 9.*train image.*'300'"),
        (f"{GOOD}train,9,rare\n", "line 9: 'rare' should have calibration images.*without it"),
        (f"{GOOD}train,9,all\ntrain,3,all\ntrain,4,all\ntrain,5,all\n", "line 9.*that have it"),
        ('split,image,concept\ntrain,1,"x', "readable CSV"),
    ],
)
def test_what_is_wrong_in_a_file_is_told_with_its_line(table, tmp_path, text, told) -> None:
    path = written(tmp_path, text)
    with pytest.raises(DataError, match=told) as raised:
        read_concepts(path, table, SPLITS)
    assert str(path) in str(raised.value)


def test_a_missing_file_is_told(table, tmp_path) -> None:
    with pytest.raises(DataError, match=r"none\.csv.*No such file"):
        read_concepts(tmp_path / "none.csv", table, SPLITS)


def test_a_group_is_a_name_and_some_classes(make_sample) -> None:
    pair = group("first = a, b", ("a", "b", "c", "d"))
    assert (pair.name, pair.classes) == ("first", (0, 1))
    assert pair.marks(make_sample(8)).members.tolist() == [True, True, False, False] * 2


@pytest.mark.parametrize("text", ["pet", "pet=", "=a", "pet=a,x", "pet=a,b,c,d"])
def test_a_group_of_unknown_no_or_all_classes_is_refused(text) -> None:
    with pytest.raises(InvalidInputError, match="pet=cat,dog"):
        group(text, ("a", "b", "c", "d"))


def test_each_class_is_a_concept_and_for_cifar_animals_too(make_sample) -> None:
    assert [each.name for each in concepts_of_classes(("a", "b"))] == ["a", "b"]
    *_, animals = concepts_of_classes(CIFAR10_CLASSES)
    sample = make_sample(10)
    sample = dataclasses.replace(sample, class_names=CIFAR10_CLASSES, labels=np.arange(10))
    names = np.array(CIFAR10_CLASSES)[animals.marks(sample).members]
    assert names.tolist() == ["bird", "cat", "deer", "dog", "frog", "horse"]
