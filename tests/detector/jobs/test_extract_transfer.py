"""Attacks made on another network: the table names it, and keeps its rows apart."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from detector.attacks import AttackSpec
from detector.decoupling import Backbone, DecoupledNetwork, always_open, build_backbone
from detector.decoupling.backbones import CifarResNet
from detector.errors import DataError, InvalidInputError
from detector.fingerprints import network_digest
from detector.jobs.extract import extract
from detector.jobs.surrogate import Surrogate
from detector.path_table import CLEAN, PathTable, SplitName, read_shard_info
from detector.weights import NetworkInfo, build_network, save_weights

PGD = AttackSpec.parse("pgd:16/255,steps=3")


def surrogate_of(splits, *, seed: int = 1, plain: bool = True, **changes) -> Surrogate:
    torch.manual_seed(seed)
    network = CifarResNet(1, 4, widths=(8, 8, 8))
    return Surrogate(
        **{
            "network": network if plain else DecoupledNetwork(network),
            "class_names": splits.class_names,
            "preprocessing": splits.preprocessing,
            **changes,
        }
    )


@pytest.fixture
def transfer(tiny_network, tiny_splits, tmp_path, options):
    """Extracts ten test images into one folder, through a surrogate or not."""

    def run(surrogate=None, **changes) -> PathTable:
        changes = {"attacks": (PGD,), "limit": 10, **changes}
        return extract(tiny_network, tiny_splits, options(tmp_path, **changes), surrogate=surrogate)

    return run


@pytest.mark.parametrize("plain", [True, False])
def test_the_network_judges_images_that_the_surrogate_made(plain, transfer, tiny_splits) -> None:
    surrogate = surrogate_of(tiny_splits, plain=plain)
    table = transfer(surrogate)
    clean = table.read(SplitName.TEST)
    rows = table.read(SplitName.TEST, f"{PGD.label}@{surrogate.digest[:12]}")
    assert torch.equal(rows.image_ids, clean.image_ids)
    assert torch.equal(rows.original_predictions, clean.predictions)
    assert torch.equal(rows.predictions, rows.class_logits.argmax(dim=1))
    right = clean.predictions == clean.labels
    assert torch.equal(rows.success, right & (rows.predictions != rows.labels))
    assert not torch.equal(rows.path.logits, clean.path.logits)
    assert set(rows.ways) <= (
        {"frozen"} if plain else {"straight-through-1", "relaxed-1", "frozen"}
    )


def test_attacks_on_the_network_itself_and_through_others_share_a_table_unmixed(
    transfer, tiny_splits, tmp_path, contents
) -> None:
    one, two = (surrogate_of(tiny_splits, seed=seed) for seed in (1, 2))
    transfer()
    before = {name: data for name, data in contents(tmp_path).items() if name != "table.json"}
    transfer(one)
    table = transfer(two)
    assert before.items() <= contents(tmp_path).items()
    surrogates = {part.attack: part.surrogate for part in table.parts}
    assert surrogates == {
        CLEAN: None,
        PGD.label: None,
        f"{PGD.label}@{one.label}": one.digest,
        f"{PGD.label}@{two.label}": two.digest,
    }
    paths = [table.read(SplitName.TEST, label).path.logits for label in surrogates]
    for row, first in enumerate(paths):
        assert not any(torch.equal(first, other) for other in paths[row + 1 :])


def test_shards_say_which_network_the_images_were_made_on(
    transfer, tiny_splits, tiny_network, tmp_path
) -> None:
    surrogate = surrogate_of(tiny_splits)
    table = transfer(surrogate)
    part = table.part(SplitName.TEST, f"{PGD.label}@{surrogate.label}")
    facts = read_shard_info(tmp_path / f"{part.stem}--00000.parquet")
    assert facts["surrogate"] == surrogate.digest == network_digest(surrogate.network)
    assert facts["network"] == network_digest(tiny_network)


def test_a_shard_made_through_another_network_is_refused(transfer, tiny_splits, tmp_path) -> None:
    surrogate = surrogate_of(tiny_splits)
    table = transfer(surrogate)
    plan = tmp_path / "table.json"
    label = f"{PGD.label}@{surrogate.label}"
    plan.write_text(plan.read_text().replace(surrogate.digest, "f" * 64))
    with pytest.raises(DataError, match="should have been made with surrogate ffff"):
        PathTable(tmp_path).read(SplitName.TEST, label)
    assert len(table.read(SplitName.TEST, label)) == 10  # the plan that it was made by


def test_a_run_that_was_stopped_continues_to_the_same_bytes(
    transfer, tiny_splits, tmp_path, contents
) -> None:
    surrogate = surrogate_of(tiny_splits)
    transfer(surrogate, shard_size=5)
    whole = contents(tmp_path)
    (shard,) = tmp_path.glob(f"*{surrogate.label}--00001.parquet")
    shard.unlink()
    transfer(surrogate, shard_size=5)
    assert contents(tmp_path) == whole


def test_what_does_not_fit_is_refused_and_nothing_written(
    transfer, tiny_splits, tiny_network, tmp_path
) -> None:
    wider = dataclasses.replace(tiny_splits.preprocessing, width=9, shorter_side=9)
    cases = [
        (
            surrogate_of(tiny_splits, class_names=("a", "b", "c", "z")),
            "have the classes .* a, b, c, z",
        ),
        (surrogate_of(tiny_splits, preprocessing=wider), "have the input size .* 8 x 9 pixels"),
        (surrogate_of(tiny_splits, network=tiny_network), "another one than the network"),
    ]
    for surrogate, message in cases:
        with pytest.raises(DataError, match=message):
            transfer(surrogate)
    with pytest.raises(InvalidInputError, match="Give at least one"):
        transfer(surrogate_of(tiny_splits), attacks=())
    with pytest.raises(InvalidInputError, match="--attack-through"):
        transfer(attacks=(dataclasses.replace(PGD, through="0123456789ab"),))
    assert not list(tmp_path.iterdir())


def test_another_normalisation_of_the_surrogate_is_its_own(transfer, tiny_splits) -> None:
    other = dataclasses.replace(tiny_splits.preprocessing, mean=(0.4, 0.4, 0.4))
    surrogate = surrogate_of(tiny_splits, preprocessing=other)
    table = transfer(surrogate)
    assert table.info.preprocessing == tiny_splits.preprocessing


@pytest.mark.parametrize("plain", [True, False])
def test_a_file_of_either_kind_becomes_a_surrogate(plain, tiny_splits, tmp_path) -> None:
    info = NetworkInfo(
        backbone=Backbone.CIFAR_RESNET20,
        class_names=tiny_splits.class_names,
        preprocessing=tiny_splits.preprocessing,
        provenance={"seed": 1},
    )
    network = build_backbone(info.backbone, 4) if plain else build_network(info)
    save_weights(tmp_path / "network.safetensors", network, info)
    loaded = Surrogate.load(tmp_path / "network.safetensors")
    assert isinstance(loaded.network, DecoupledNetwork) != plain
    assert loaded.digest == network_digest(network)
    assert loaded.class_names == info.class_names
    kind = "plain" if plain else "decoupled"
    assert loaded.name == f"network (cifar-resnet20, {kind}, seed 1)"  # and no folder


def test_a_plain_network_is_no_other_one_than_itself_with_open_gates(
    tiny_splits, tiny_network
) -> None:
    surrogate = surrogate_of(tiny_splits)
    with pytest.raises(DataError, match="another one than the network"):
        surrogate.check_fits(always_open(surrogate.network), tiny_splits)
    surrogate.check_fits(always_open(surrogate_of(tiny_splits, seed=2).network), tiny_splits)
    surrogate.check_fits(DecoupledNetwork(surrogate.network), tiny_splits)


def test_a_file_of_neither_kind_is_refused(tmp_path) -> None:
    (tmp_path / "text.safetensors").write_text("no weights")
    with pytest.raises(DataError, match="should be a network written by `offpath train`"):
        Surrogate.load(tmp_path / "text.safetensors")
