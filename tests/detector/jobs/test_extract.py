"""Extraction: what a path table holds, whatever the number of images."""

from __future__ import annotations

import gc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from detector.attacks import AttackSpec
from detector.copies import Flip
from detector.data import ArraySource, load_splits
from detector.decoupling import always_open
from detector.fingerprints import network_digest
from detector.jobs.extract import extract
from detector.path_table import PathTable, SplitName

PGD = AttackSpec.parse("pgd:8/255,steps=2")
NOISE = AttackSpec.parse("noise-sign:8/255")


def test_clean_rows_are_what_the_network_says(tiny_network, tiny_splits, tmp_path, options) -> None:
    rows = extract(tiny_network, tiny_splits, options(tmp_path, attacks=())).read(SplitName.TEST)
    assert sorted(rows.image_ids.tolist()) == list(range(50))
    pixels = tiny_splits.test.read(rows.image_ids.tolist(), tiny_splits.preprocessing)
    with torch.no_grad():
        output = tiny_network(tiny_splits.preprocessing(pixels))
    torch.testing.assert_close(rows.class_logits, output.class_logits, rtol=0, atol=1e-5)
    torch.testing.assert_close(rows.path.logits, output.path.logits, rtol=0, atol=1e-5)
    torch.testing.assert_close(rows.path.activations, output.path.activations, rtol=0, atol=1e-5)
    assert torch.equal(rows.path.bits, rows.path.logits > 0)
    assert torch.equal(rows.predictions, rows.class_logits.argmax(dim=1))
    assert torch.equal(rows.original_predictions, rows.predictions)
    assert torch.equal(
        rows.labels, torch.from_numpy(tiny_splits.test.source.labels)[rows.image_ids]
    )
    assert not rows.success.any()
    assert set(rows.ways) == {""}


def test_attacked_rows_stand_beside_their_clean_ones(
    tiny_network, tiny_splits, tmp_path, options
) -> None:
    table = extract(tiny_network, tiny_splits, options(tmp_path))
    clean, attacked = table.read(SplitName.TEST), table.read(SplitName.TEST, PGD.label)
    assert torch.equal(clean.image_ids, attacked.image_ids)
    assert torch.equal(clean.predictions, attacked.original_predictions)
    right = clean.predictions == clean.labels
    assert torch.equal(attacked.success, right & (attacked.predictions != attacked.labels))
    assert attacked.success.any()
    assert set(attacked.ways) <= {"straight-through-1", "relaxed-1", "frozen"}


def test_a_plain_network_is_extracted_with_all_its_gates_open(
    tiny_network, tiny_splits, tmp_path, options
) -> None:
    network = always_open(tiny_network.detach_hooks())
    table = extract(network, tiny_splits, options(tmp_path))
    assert table.info.network == network_digest(network)
    clean, attacked = table.read(SplitName.TEST), table.read(SplitName.TEST, PGD.label)
    pixels = tiny_splits.test.read(clean.image_ids.tolist(), tiny_splits.preprocessing)
    with torch.no_grad():
        logits = tiny_network.backbone(tiny_splits.preprocessing(pixels))
    torch.testing.assert_close(clean.class_logits, logits, rtol=0, atol=1e-5)
    assert bool(clean.path.bits.all())
    assert bool(attacked.path.bits.all())
    assert attacked.success.any()
    assert set(attacked.ways) == {"frozen"}


def test_corrupted_rows_come_the_attacks_way_and_not_through_gradients(
    tiny_network, tiny_splits, tmp_path, options
) -> None:
    fog = AttackSpec.parse("fog:severity=3")
    table = extract(tiny_network, tiny_splits, options(tmp_path, attacks=(fog,)))
    clean, foggy = table.read(SplitName.TEST), table.read(SplitName.TEST, "fog:3")
    assert torch.equal(clean.image_ids, foggy.image_ids)
    assert torch.equal(clean.predictions, foggy.original_predictions)
    assert not torch.equal(clean.path.logits, foggy.path.logits)
    assert set(foggy.ways) == {"frozen"}


def test_success_is_that_of_8_bit_images(tiny_network, tiny_splits, tmp_path, options) -> None:
    """An epsilon below half of an 8-bit step leaves the images, and so the paths, as they were."""
    spec = AttackSpec.parse("pgd:0.001,steps=2")
    table = extract(tiny_network, tiny_splits, options(tmp_path, attacks=(spec,)))
    clean, attacked = table.read(SplitName.TEST), table.read(SplitName.TEST, spec.label)
    assert torch.equal(clean.path.logits, attacked.path.logits)
    assert not attacked.success.any()


def test_each_shard_is_plain_parquet_with_the_promised_columns(
    tiny_network, tiny_splits, tmp_path, options
) -> None:
    extract(tiny_network, tiny_splits, options(tmp_path))
    table = pq.read_table(tmp_path / "test--pgd-8-255-steps-2--00000.parquet")
    gates, classes = tiny_network.layout.gates, 4
    expected = {
        "image_id": pa.int64(),
        "split": pa.string(),
        "copy": pa.string(),
        "attack": pa.string(),
        "epsilon": pa.float64(),
        "label": pa.int32(),
        "original_prediction": pa.int32(),
        "prediction": pa.int32(),
        "success": pa.bool_(),
        "way": pa.string(),
        "bits": pa.binary((gates + 7) // 8),
        "gate_logits": pa.list_(pa.float32(), gates),
        "activations": pa.list_(pa.float32(), gates),
        "class_logits": pa.list_(pa.float32(), classes),
    }
    assert {field.name: field.type for field in table.schema} == expected
    first = table.slice(0, 1).to_pylist()[0]
    assert (first["split"], first["copy"], first["attack"]) == ("test", "original", PGD.label)
    assert first["epsilon"] == 8 / 255
    bits = np.unpackbits(np.frombuffer(first["bits"], dtype=np.uint8), count=gates)
    assert np.array_equal(bits == 1, np.array(first["gate_logits"]) > 0)


def test_shards_hold_a_fixed_number_of_images(tiny_network, tiny_splits, tmp_path, options) -> None:
    extract(tiny_network, tiny_splits, options(tmp_path, attacks=()))
    sizes = [pq.read_metadata(path).num_rows for path in sorted(tmp_path.glob("*.parquet"))]
    assert sizes == [20, 20, 10]


def test_all_splits_can_share_a_table(tiny_network, tiny_splits, tmp_path, options) -> None:
    table = extract(
        tiny_network, tiny_splits, options(tmp_path, splits=tuple(SplitName), attacks=(NOISE,))
    )
    assert len(table.parts) == 8
    ids = [set(table.read(name, NOISE.label).image_ids.tolist()) for name in SplitName]
    assert [len(part) for part in ids] == [len(getattr(tiny_splits, name)) for name in SplitName]
    train, fit, calibration, _ = ids
    assert len(train | fit | calibration) == len(train) + len(fit) + len(calibration)


def test_the_network_is_left_in_its_mode(tiny_network, tiny_splits, tmp_path, options) -> None:
    tiny_network.train()
    before = {name: tensor.clone() for name, tensor in tiny_network.state_dict().items()}
    extract(tiny_network, tiny_splits, options(tmp_path))
    assert all(module.training for module in tiny_network.modules())
    assert all(torch.equal(t, before[n]) for n, t in tiny_network.state_dict().items())


def test_parts_can_be_added_to_a_table(
    tiny_network, tiny_splits, tmp_path, options, contents
) -> None:
    extract(tiny_network, tiny_splits, options(tmp_path, attacks=(NOISE,)))
    before = {name: data for name, data in contents(tmp_path).items() if name != "table.json"}
    table = extract(tiny_network, tiny_splits, options(tmp_path, attacks=(PGD,)))
    assert before.items() <= contents(tmp_path).items()
    assert len(table.read(SplitName.TEST, NOISE.label)) == 50
    assert len(table.read(SplitName.TEST, PGD.label)) == 50


def test_a_larger_limit_adds_whole_shards(tiny_network, tiny_splits, tmp_path, options) -> None:
    small = extract(tiny_network, tiny_splits, options(tmp_path, limit=20)).read(SplitName.TEST)
    large = extract(tiny_network, tiny_splits, options(tmp_path, limit=40)).read(SplitName.TEST)
    assert len(large) == 40
    assert torch.equal(large.image_ids[:20], small.image_ids)


def test_a_larger_limit_makes_a_last_shard_that_was_not_full_again(
    tiny_network, tiny_splits, tmp_path, options, contents
) -> None:
    extract(tiny_network, tiny_splits, options(tmp_path / "grown", limit=30))
    first = contents(tmp_path / "grown")["test--clean--00000.parquet"]
    extract(tiny_network, tiny_splits, options(tmp_path / "grown", limit=44))
    extract(tiny_network, tiny_splits, options(tmp_path / "at once", limit=44))
    assert contents(tmp_path / "grown") == contents(tmp_path / "at once")
    assert contents(tmp_path / "grown")["test--clean--00000.parquet"] == first


def test_a_smaller_limit_takes_nothing_away(
    tiny_network, tiny_splits, tmp_path, options, contents
) -> None:
    extract(tiny_network, tiny_splits, options(tmp_path, limit=44))
    before = contents(tmp_path)
    for limit in (5, 20, 30):
        extract(tiny_network, tiny_splits, options(tmp_path, limit=limit))
        assert contents(tmp_path) == before


def test_a_smaller_limit_makes_of_a_larger_table_what_it_asks_for(
    tiny_network, tiny_splits, tmp_path, options, contents
) -> None:
    extract(tiny_network, tiny_splits, options(tmp_path, limit=50, attacks=()))
    whole = contents(tmp_path)
    for path in tmp_path.glob("*.parquet"):
        path.unlink()
    extract(tiny_network, tiny_splits, options(tmp_path, limit=30, attacks=()))
    names = ("table.json", "test--clean--00000.parquet", "test--clean--00001.parquet")
    assert contents(tmp_path) == {name: whole[name] for name in names}


def test_a_limit_draws_from_all_classes_of_a_folder(
    tiny_network, tmp_path, options, tiny_splits
) -> None:
    """Folders list their images class by class; the first 8 would be of one class."""
    data = np.random.default_rng(0)
    for split, count in (("train", 6), ("test", 20)):
        for name in "abcd":
            (tmp_path / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = data.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / split / name / f"{index}.png")
    splits = load_splits(tmp_path, preprocessing=tiny_splits.preprocessing)
    table = extract(tiny_network, splits, options(tmp_path / "table", attacks=(), limit=16))
    assert len(table.read(SplitName.TEST).labels.unique()) > 1


def test_memory_does_not_grow_with_the_number_of_images(
    tiny_network, tiny_splits, tmp_path, monkeypatch, options
) -> None:
    """The most values that tensors and Arrow hold at once, whenever images are read."""
    peaks = []
    read = ArraySource.read

    def measured(self, indices, preprocessing):
        gc.collect()
        tensors = sum(item.numel() for item in gc.get_objects() if type(item) is torch.Tensor)
        peaks[-1] = max(peaks[-1], tensors + pa.total_allocated_bytes())
        return read(self, indices, preprocessing)

    monkeypatch.setattr(ArraySource, "read", measured)
    gc.freeze()  # what was there before does not count, and need not be walked through
    try:
        for limit in (20, 50):
            peaks.append(0)
            changes = {"limit": limit, "shard_size": 10, "attacks": (NOISE,), "copies": (Flip(),)}
            extract(tiny_network, tiny_splits, options(tmp_path / str(limit), **changes))
    finally:
        gc.unfreeze()
    assert peaks[1] <= 1.02 * peaks[0]


def test_a_table_can_be_read_in_the_order_of_extraction(
    tiny_network, tiny_splits, tmp_path, options
) -> None:
    extract(tiny_network, tiny_splits, options(tmp_path, attacks=()))
    table = PathTable(tmp_path)
    whole = table.read(SplitName.TEST)
    batches = list(table.batches(SplitName.TEST, batch_size=7))
    assert max(len(batch) for batch in batches) == 7
    assert torch.equal(torch.cat([batch.image_ids for batch in batches]), whole.image_ids)
    assert torch.equal(torch.cat([batch.path.bits for batch in batches]), whole.path.bits)
