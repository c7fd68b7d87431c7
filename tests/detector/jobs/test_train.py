import errno
import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState, GradientState
from safetensors import safe_open
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from detector.data import ArraySource, Splits
from detector.decoupling import DecoupledNetwork, DecouplingLoss
from detector.decoupling.backbones import CifarResNet
from detector.decoupling.recipes import Preset, recipe_of
from detector.errors import CheckpointError, DataError, StorageError
from detector.jobs import train as module
from detector.jobs.objectives import DecoupledObjective
from detector.jobs.train import TrainingOptions, train
from detector.jobs.train_phase import PhaseRun
from detector.preprocessing import Preprocessing
from detector.storage import sole_writer

RECIPE = replace(
    recipe_of(Preset.RESNET20_CIFAR10).shortened(plain_epochs=1, decoupled_epochs=2),
    batch_size=16,
    settled=None,
)
SETTLED = replace(
    RECIPE,
    decoupled=replace(RECIPE.decoupled, epochs=1, hard_share=0.5),
    settled=recipe_of(Preset.RESNET20_CIFAR10).shortened(settled_epochs=1).settled,
)
STEPS = 6  # two batches an epoch
LAYERS = [f"layer{stage}.0.conv{index}" for stage in (1, 2, 3) for index in (1, 2)]


def tiny_backbone(_name, classes):
    """As ResNet-20 but small, and with dropout, whose random numbers also have to come back."""
    network = CifarResNet(1, classes, widths=(4, 4, 8))
    network.fc = torch.nn.Sequential(torch.nn.Dropout(0.3), network.fc)
    return network


def divided(count=40, seed=0):
    generator = np.random.default_rng(seed)
    train_source, test_source = (
        ArraySource(
            generator.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8), np.arange(n) % 4, "abcd"
        )
        for n in (count, 8)
    )
    preprocessing = Preprocessing(
        height=8, width=8, shorter_side=8, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)
    )
    return Splits.divide(train_source, test_source, preprocessing=preprocessing)


def forget_accelerator():
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    monkeypatch.setattr(module, "build_backbone", tiny_backbone)
    yield
    forget_accelerator()


@pytest.fixture(scope="module")
def splits():
    return divided()


@pytest.fixture(scope="module")
def straight(tmp_path_factory, splits):
    """A run that went through, to compare with."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "build_backbone", tiny_backbone)
        result = train(splits, RECIPE, TrainingOptions(output=tmp_path_factory.mktemp("straight")))
    forget_accelerator()
    assert result.finished
    return result


def log(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def same_weights(first, second):
    one, other = load_file(first), load_file(second)
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_stopped_anywhere_and_continued_it_ends_in_the_same_weights(
    tmp_path, splits, straight, steps
):
    options = TrainingOptions(output=tmp_path, stop_after_steps=steps)
    runs = 1
    while not (result := train(splits, RECIPE, options)).finished:
        assert not result.network.exists()
        torch.manual_seed(runs)  # whatever happens in between
        runs += 1
    assert runs == -(-STEPS // steps)
    assert same_weights(result.plain, straight.plain)
    assert same_weights(result.network, straight.network)


@pytest.mark.parametrize("failing_call", [1, 3])
def test_interrupted_in_a_step_it_goes_on_from_the_last_checkpoint(
    tmp_path, splits, straight, monkeypatch, failing_call
):
    forward, calls = DecoupledObjective.forward, []

    def interrupted(self, *args):
        calls.append(1)
        if len(calls) == failing_call:
            raise KeyboardInterrupt
        return forward(self, *args)

    monkeypatch.setattr(DecoupledObjective, "forward", interrupted)
    options = TrainingOptions(output=tmp_path, checkpoint_every_s=-1.0)  # after every step
    with pytest.raises(KeyboardInterrupt):
        train(splits, RECIPE, options)
    calls.clear()
    calls.extend([0] * 100)
    result = train(splits, RECIPE, options)
    assert len(calls) - 100 == 4 - (failing_call - 1)
    assert same_weights(result.network, straight.network)


def test_a_full_disk_keeps_the_last_checkpoint_and_the_run_goes_on_from_it(
    tmp_path, splits, straight, monkeypatch
):
    sync, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    options = TrainingOptions(output=tmp_path, checkpoint_every_s=-1.0)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="No space left on device"):
            train(splits, RECIPE, options)
    assert (tmp_path / "plain.checkpoint").exists()
    assert not list(tmp_path.glob(".*"))
    assert same_weights(train(splits, RECIPE, options).network, straight.network)


def test_a_folder_that_another_run_writes_to_is_refused(tmp_path, splits):
    with sole_writer(tmp_path), pytest.raises(StorageError, match="one job at a time"):
        train(splits, RECIPE, TrainingOptions(output=tmp_path))
    assert not list(tmp_path.iterdir())


def test_another_input_size_is_another_run(tmp_path, splits):
    stopped = TrainingOptions(output=tmp_path, stop_after_steps=1)
    assert not train(splits, RECIPE, stopped).finished
    with pytest.raises(CheckpointError, match="should belong to this recipe"):
        train(splits, RECIPE, replace(stopped, input_size=12))
    train(splits, RECIPE, replace(stopped, input_size=8))  # as it is anyway


def test_the_network_says_which_size_it_reads(tmp_path, splits):
    result = train(splits, RECIPE, TrainingOptions(output=tmp_path, input_size=12))
    with safe_open(result.network, framework="pt") as file:
        size = json.loads(file.metadata()["offpath"])["preprocessing"]
    assert (size["height"], size["width"], size["shorter_side"]) == (12, 12, 12)


def test_a_finished_run_started_again_changes_nothing(tmp_path, splits, straight):
    options = TrainingOptions(output=tmp_path)
    train(splits, RECIPE, options)
    rows = log(tmp_path)
    again = train(splits, RECIPE, replace(options, stop_after_steps=0))
    assert again.finished
    assert same_weights(again.network, straight.network)
    assert log(tmp_path) == rows


def test_the_seed_decides_the_weights(tmp_path, splits, straight):
    result = train(splits, RECIPE, TrainingOptions(output=tmp_path, seed=1))
    assert not same_weights(result.network, straight.network)


def test_reading_ahead_in_processes_does_not_change_the_weights(tmp_path, splits, straight):
    result = train(splits, RECIPE, TrainingOptions(output=tmp_path, workers=1))
    assert same_weights(result.network, straight.network)


def test_training_changes_the_weights_of_backbone_and_controllers(straight):
    plain, network = load_file(straight.plain), load_file(straight.network)
    assert {name.removeprefix("backbone.") for name in network if "controllers" not in name} == set(
        plain
    )
    assert not torch.equal(network["backbone.conv1.weight"], plain["conv1.weight"])
    assert not network["controllers.0.squeeze.bias"].eq(1).all()


# ---- the log


def test_each_epoch_is_logged_with_its_accuracy_and_the_gates_of_every_layer(straight):
    rows = log(straight.network.parent)
    assert [(row["phase"], row["epoch"]) for row in rows] == [
        ("plain", 1), ("decoupled", 1), ("decoupled", 2),
    ]  # fmt: skip
    assert all(0 <= row["accuracy"] <= 1 for row in rows)
    assert rows[0]["layers"] == []
    for row in rows[1:]:
        assert [layer["name"] for layer in row["layers"]] == LAYERS
        for layer in row["layers"]:
            assert 0 <= layer["open_share"] <= 1
            assert 0 <= layer["diversity"] <= 0.5
            assert layer["information"] >= 0
        shares = [layer["open_share"] for layer in row["layers"]]
        assert row["open_share"] == pytest.approx(sum(shares) / len(shares))


def test_each_epoch_is_logged_with_its_mean_losses(straight):
    terms = ["classification", "alignment", "information", "sparsity"]
    plain, *decoupled = log(straight.network.parent)
    assert plain["loss"] > 0
    assert not set(terms) & set(plain)
    for row in decoupled:
        weights = RECIPE.weights
        parts = zip(
            (1, weights.alignment, weights.information, weights.sparsity), terms, strict=True
        )
        assert row["loss"] == pytest.approx(sum(w * row[name] for w, name in parts), rel=1e-4)


@pytest.mark.parametrize("failing_call", range(1, 6))
def test_however_it_was_stopped_the_log_is_that_of_a_run_that_went_through(
    tmp_path, splits, straight, monkeypatch, failing_call
):
    """Checkpoints are far apart, so that rows were written that the next run writes again."""
    advance, calls = PhaseRun._step, []

    def interrupted(self, *args):
        calls.append(1)
        if len(calls) == failing_call:
            raise KeyboardInterrupt
        return advance(self, *args)

    options = TrainingOptions(output=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(PhaseRun, "_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(splits, RECIPE, options)
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"phase": "decoup')  # a row that was cut off
    assert train(splits, RECIPE, options).finished
    assert log(tmp_path) == log(straight.network.parent)


def test_the_weights_say_which_images_they_were_learnt_from(splits, straight):
    with safe_open(straight.plain, framework="pt") as file:
        info = json.loads(file.metadata()["offpath"])["provenance"]
    assert info["data"] == splits.train.digest()
    assert info["data"] != divided(seed=1).train.digest()


def test_the_weights_say_which_weights_they_were_trained_from(tmp_path, splits, straight):
    def start_of(weights, *, further):
        result = train(
            splits,
            RECIPE,
            TrainingOptions(
                output=tmp_path / f"{len(list(tmp_path.iterdir()))}",
                initial_weights=weights,
                train_further=further,
                stop_after_steps=None if further else 1,
            ),
        )
        with safe_open(result.plain, framework="pt") as file:
            return json.loads(file.metadata()["offpath"])["provenance"]

    weights = tiny_backbone("", 4).state_dict()
    kept, further = (start_of(weights, further=further) for further in (False, True))
    other = start_of({name: tensor + 1 for name, tensor in weights.items()}, further=False)
    assert kept["initial_weights"] == further["initial_weights"] != other["initial_weights"]
    assert (kept["trained_further"], further["trained_further"]) == (False, True)
    with safe_open(straight.plain, framework="pt") as file:
        assert "initial_weights" not in json.loads(file.metadata()["offpath"])["provenance"]


def test_tensorboard_shows_the_same(straight):
    events = EventAccumulator(str(straight.network.parent / "tensorboard")).Reload()
    tags = set(events.Tags()["scalars"])
    assert {"plain/accuracy", "decoupled/accuracy", "decoupled/open_share"} < tags
    assert {"plain/loss", "decoupled/loss", "decoupled/alignment"} < tags
    assert {f"decoupled/diversity/{name}" for name in LAYERS} < tags
    last = log(straight.network.parent)[-1]
    found = events.Scalars("decoupled/accuracy")[-1]
    assert (found.step, found.value) == (2, pytest.approx(last["accuracy"]))


# ---- a phase that settles the network


def test_a_network_that_settles_is_trained_with_all_gates_hard_at_the_end(
    tmp_path, splits, monkeypatch
):
    forward, hard = DecoupledObjective.forward, []

    def observed(self, images, targets, noise):
        hard.append(noise.hard.float().mean().item())
        return forward(self, images, targets, noise)

    monkeypatch.setattr(DecoupledObjective, "forward", observed)
    result = train(splits, SETTLED, TrainingOptions(output=tmp_path))
    assert result.finished
    assert hard == [0.5, 0.5, 1.0, 1.0]
    assert [row["phase"] for row in log(tmp_path)] == ["plain", "decoupled", "settled"]


@pytest.mark.parametrize("steps", [1, 5])
def test_a_network_that_settles_ends_in_the_same_weights_wherever_it_was_stopped(
    tmp_path, splits, steps
):
    through = train(splits, SETTLED, TrainingOptions(output=tmp_path / "through"))
    options = TrainingOptions(output=tmp_path / "stopped", stop_after_steps=steps)
    while not (result := train(splits, SETTLED, options)).finished:
        assert not result.network.exists()
    assert same_weights(result.network, through.network)


def test_a_finished_network_can_still_settle(tmp_path, splits):
    before = replace(SETTLED, settled=None)
    first = train(splits, before, TrainingOptions(output=tmp_path))
    kept = first.network.read_bytes()
    assert train(splits, SETTLED, TrainingOptions(output=tmp_path)).finished
    assert first.network.read_bytes() != kept


# ---- a plain network that teaches


def test_the_plain_network_teaches_and_stays_as_it_was(tmp_path, splits, straight, monkeypatch):
    forward, taught = DecouplingLoss.forward, []

    def observed(self, output, targets, logits=None):
        taught.append(logits)
        return forward(self, output, targets, logits)

    monkeypatch.setattr(DecouplingLoss, "forward", observed)
    result = train(splits, RECIPE, TrainingOptions(output=tmp_path))
    assert all(each is not None and not each.requires_grad for each in taught)
    assert same_weights(result.plain, straight.plain)


def test_a_teacher_is_never_in_training_mode():
    network, teacher = DecoupledNetwork(tiny_backbone("", 4)), tiny_backbone("", 4)
    loss = DecouplingLoss(network.layout, 4, weights=RECIPE.weights, alignment=RECIPE.alignment)
    objective = DecoupledObjective(network, loss, teacher).train()
    assert objective.network.training
    assert not any(module.training for module in teacher.modules())
    assert not any(each.requires_grad for each in teacher.parameters())


def test_a_network_without_a_teacher_learns_otherwise_and_is_another_run(
    tmp_path, splits, straight
):
    alone = replace(RECIPE, distillation=None)
    result = train(splits, alone, TrainingOptions(output=tmp_path))
    assert same_weights(result.plain, straight.plain)
    assert not same_weights(result.network, straight.network)
    with pytest.raises(CheckpointError, match="another run"):
        train(splits, RECIPE, TrainingOptions(output=tmp_path))


# ---- given weights


def test_given_weights_stand_in_for_the_plain_phase(tmp_path, splits):
    torch.manual_seed(5)
    weights = tiny_backbone("", 4).state_dict()
    result = train(splits, RECIPE, TrainingOptions(output=tmp_path, initial_weights=weights))
    assert result.finished
    assert {row["phase"] for row in log(tmp_path)} == {"decoupled"}
    assert not (tmp_path / "plain.checkpoint").exists()
    plain = load_file(result.plain)
    assert all(torch.equal(plain[name], weights[name]) for name in weights)


def test_given_weights_are_trained_further_where_that_is_asked_for(tmp_path, splits):
    torch.manual_seed(5)
    weights = tiny_backbone("", 4).state_dict()
    kept = TrainingOptions(output=tmp_path / "kept", initial_weights=weights, stop_after_steps=1)
    train(splits, RECIPE, kept)
    further = replace(kept, output=tmp_path / "further", train_further=True, stop_after_steps=None)
    result = train(splits, RECIPE, further)
    assert {row["phase"] for row in log(further.output)} == {"plain", "decoupled"}
    assert any(
        not torch.equal(tensor, weights[name]) for name, tensor in load_file(result.plain).items()
    )
    with pytest.raises(CheckpointError, match="another run"):
        train(splits, RECIPE, replace(further, output=kept.output))
    train(splits, RECIPE, kept)  # what was begun without it goes on without it


def test_given_weights_of_another_network_are_refused(tmp_path, splits):
    weights = CifarResNet(1, 4, widths=(8, 8, 8)).state_dict()
    with pytest.raises(DataError, match="state dict of the recipe's backbone"):
        train(splits, RECIPE, TrainingOptions(output=tmp_path, initial_weights=weights))


@pytest.mark.parametrize("further", [True, False])
def test_given_weights_of_other_classes_need_a_last_layer_that_is_trained(
    tmp_path, splits, further
):
    options = TrainingOptions(
        output=tmp_path,
        initial_weights=tiny_backbone("", 5).state_dict(),
        train_further=further,
    )
    if further:
        assert train(splits, RECIPE, options).finished
    else:
        with pytest.raises(DataError, match=r"for the 4 classes of the data set\. Found 5"):
            train(splits, RECIPE, options)


def test_a_run_from_other_given_weights_is_another_run(tmp_path, splits):
    weights = tiny_backbone("", 4).state_dict()
    options = TrainingOptions(output=tmp_path, initial_weights=weights, stop_after_steps=1)
    train(splits, RECIPE, options)
    train(splits, RECIPE, options)  # the same ones go on
    other = {name: tensor + 1 for name, tensor in weights.items()}
    with pytest.raises(CheckpointError, match="another run"):
        train(splits, RECIPE, replace(options, initial_weights=other))


# ---- what cannot be continued or written


@pytest.mark.parametrize(
    ("count", "recipe", "seed"),
    [
        (40, RECIPE, 1),
        (40, replace(RECIPE, batch_size=8), 0),
        (40, RECIPE.shortened(plain_epochs=2, decoupled_epochs=None), 0),
        (44, RECIPE, 0),
    ],
    ids=["seed", "batch size", "epochs", "images"],
)
def test_the_checkpoint_of_another_run_is_refused(tmp_path, splits, count, recipe, seed):
    train(splits, RECIPE, TrainingOptions(output=tmp_path, stop_after_steps=1))
    with pytest.raises(CheckpointError, match=r"another run\. Choose another --output"):
        train(divided(count), recipe, TrainingOptions(output=tmp_path, seed=seed))


def test_the_second_phase_may_be_planned_anew_until_it_has_begun(tmp_path, splits):
    longer = RECIPE.shortened(plain_epochs=None, decoupled_epochs=3)
    options = TrainingOptions(output=tmp_path, stop_after_steps=1)
    train(splits, RECIPE, options)
    train(splits, longer, options)
    train(splits, longer, options)
    with pytest.raises(CheckpointError, match="another run"):
        train(splits, RECIPE, options)


def test_a_damaged_checkpoint_is_refused(tmp_path, splits):
    options = TrainingOptions(output=tmp_path, stop_after_steps=1)
    train(splits, RECIPE, options)
    checkpoint = tmp_path / "plain.checkpoint"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="Remove it to start this phase again"):
        train(splits, RECIPE, options)


def test_an_output_that_is_a_file_is_refused(tmp_path, splits):
    (tmp_path / "file").write_text("here")
    with pytest.raises(StorageError, match="should be writable"):
        train(splits, RECIPE, TrainingOptions(output=tmp_path / "file"))


def test_a_log_that_cannot_be_written_is_reported(tmp_path, splits):
    (tmp_path / "log.jsonl").mkdir()
    with pytest.raises(StorageError, match="finished checkpoints are kept"):
        train(splits, RECIPE, TrainingOptions(output=tmp_path))


def test_fewer_images_than_a_batch_are_one_batch(tmp_path):
    result = train(divided(12), RECIPE, TrainingOptions(output=tmp_path))  # 4 to train on
    assert result.finished
