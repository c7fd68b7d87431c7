"""A whole network is interpreted: everything belongs together, is written, and comes back."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from detector.data import ArraySource, Splits
from detector.decoupling import DecoupledNetwork
from detector.errors import DataError, InvalidInputError
from detector.jobs.interpretation import Interpretation, InterpretOptions, interpret
from detector.jobs.interpretation.sample import read_sample
from detector.path_table import PathTable, SplitName

OPTIONS = InterpretOptions(most_gates=3, points=12, closed_images=4, draws=2, quiet=True)


@pytest.fixture
def table(make_table, tmp_path) -> PathTable:
    return PathTable(make_table(tmp_path / "table"))


@pytest.fixture
def splits(network_info) -> Splits:
    generator = np.random.default_rng(0)
    source = ArraySource(
        generator.integers(0, 256, (300, 8, 8, 3), dtype=np.uint8),
        np.arange(300) % 3,
        network_info.class_names,
    )
    return Splits.divide(source, source, preprocessing=network_info.preprocessing)


def test_a_network_is_interpreted_and_the_file_holds_all_of_it(
    table, resnet20: DecoupledNetwork, splits, tmp_path
) -> None:
    options = dataclasses.replace(OPTIONS, groups=("pet=cat,dog",))
    found = interpret(table, resnet20, options, splits=splits)
    layers = resnet20.layout.names
    assert tuple(each.layer for each in found.gates) == layers
    assert tuple(each.layer for each in found.probes.layers) == layers
    assert tuple(each.layer for each in found.distances[1:]) == layers
    assert tuple(each.layer for each in found.embedding.layers) == layers
    assert [each.concept for each in found.combinations] == ["cat", "dog", "frog", "pet"]
    assert found.closings
    assert {each.concept for each in found.closings} <= {"cat", "dog", "frog", "pet"}
    assert (found.learn_images, found.check_images, found.rate_images) == (300, 200, 300)
    # Each class of these paths has its own means: all layers together tell them apart.
    assert found.probes.path.accuracy.low > found.probes.chance
    found.write(tmp_path / "found.json")
    assert Interpretation.read(tmp_path / "found.json") == found
    without = interpret(table, resnet20, options)
    # What gates cause is known from images alone, and stands in combinations.
    assert dataclasses.replace(found, closings=(), combinations=without.combinations) == without


def test_masks_are_dissected_and_come_back_with_the_rest(
    table, resnet20: DecoupledNetwork, splits, tmp_path
) -> None:
    mask = np.zeros((8, 8), dtype=np.uint8)
    mask[2:6, 2:6] = 255
    Image.fromarray(mask).save(tmp_path / "middle.png")
    rows = [f"{index},middle.png,middle" for index in splits.calibration.ids[:6]]
    masks = tmp_path / "masks.csv"
    masks.write_text("\n".join(["image,mask,concept", *rows, ""]))
    options = dataclasses.replace(OPTIONS, masks=masks)
    found = interpret(table, resnet20, options, splits=splits)
    (place,) = found.dissections
    assert (place.concept, place.learn_images, place.check_images) == ("middle", 3, 3)
    assert len(place.combination.filters) <= options.most_gates
    found.write(tmp_path / "found.json")
    assert Interpretation.read(tmp_path / "found.json") == found


def test_masks_without_data_are_refused(table, resnet20, tmp_path) -> None:
    options = dataclasses.replace(OPTIONS, masks=tmp_path / "masks.csv")
    with pytest.raises(InvalidInputError, match="Masks should come with the data"):
        interpret(table, resnet20, options)


def test_some_layers_are_looked_at_alone(table, resnet20: DecoupledNetwork, splits) -> None:
    last = resnet20.layout.names[-2:]
    options = dataclasses.replace(OPTIONS, layers=(last[1], last[0]))
    found = interpret(table, resnet20, options, splits=splits)
    assert tuple(each.layer for each in found.probes.layers) == last
    assert found.probes.path.gates == sum(resnet20.layout.sizes[-2:])
    assert tuple(each.layer for each in found.embedding.layers) == last
    used = {gate.layer for each in found.combinations for gate in each.combination.gates}
    assert used <= set(last)
    whole = interpret(table, resnet20, dataclasses.replace(OPTIONS, points=0))
    assert found.probes.layers == whole.probes.layers[-2:]
    assert found.distances == whole.distances


def test_a_layer_that_does_not_exist_is_named_before_anything_is_read(table, resnet20) -> None:
    options = dataclasses.replace(OPTIONS, layers=("layer9.conv1",))
    with pytest.raises(InvalidInputError, match=r"layer3\.2\.conv2\. Found 'layer9\.conv1'"):
        interpret(table, resnet20, options)


def test_another_networks_table_is_refused(table, tiny_network) -> None:
    with pytest.raises(DataError, match="Found another one's table"):
        interpret(table, tiny_network, OPTIONS)


def test_a_split_that_the_table_lacks_is_named(table, resnet20) -> None:
    with pytest.raises(DataError, match="should hold test images"):
        interpret(table, resnet20, dataclasses.replace(OPTIONS, check=SplitName.TEST))


def test_a_group_with_the_name_of_a_class_is_refused(table, resnet20) -> None:
    with pytest.raises(InvalidInputError, match="'cat' twice"):
        interpret(table, resnet20, dataclasses.replace(OPTIONS, groups=("cat=cat,dog",)))


@pytest.mark.parametrize(
    "change", [{"limit": 0}, {"draws": 1}, {"points": -1}, {"check": SplitName.TRAIN}]
)
def test_options_that_make_no_sense_are_refused(change) -> None:
    with pytest.raises(InvalidInputError, match="should be"):
        dataclasses.replace(OPTIONS, **change)


def test_no_more_images_than_the_limit_are_kept_and_they_are_of_the_table(table) -> None:
    sample = read_sample(table, SplitName.TRAIN, limit=50, seed=0)
    rows = table.read(SplitName.TRAIN)
    assert len(sample) == 50
    assert (sample.bits == rows.path.bits[sample.image_ids].numpy()).all()
    assert (sample.labels == rows.labels[sample.image_ids].numpy()).all()
    other = read_sample(table, SplitName.TRAIN, limit=50, seed=1)
    assert other.image_ids.tolist() != sample.image_ids.tolist()


@pytest.mark.parametrize("text", ["", "{}", '{"schema_version": 9}'])
def test_a_file_that_is_no_interpretation_is_refused(tmp_path, text) -> None:
    path = tmp_path / "found.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"found\.json should be"):
        Interpretation.read(path)


def test_a_file_of_another_version_is_refused(table, resnet20, tmp_path) -> None:
    path = tmp_path / "found.json"
    interpret(table, resnet20, dataclasses.replace(OPTIONS, points=0)).write(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 2}))
    with pytest.raises(DataError, match=r"schema version 1\. Found 2"):
        Interpretation.read(path)
