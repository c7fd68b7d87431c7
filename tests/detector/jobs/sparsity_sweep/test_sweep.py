"""A sweep trains and measures one network for each share, and continues where it was stopped."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from detector.data import Splits
from detector.decoupling import MacCount
from detector.decoupling.recipes import Recipe
from detector.errors import CheckpointError, DataError, StorageError
from detector.jobs.evaluation.estimates import Share
from detector.jobs.sparsity_sweep import SweepOptions, SweepReport, sweep
from detector.jobs.sparsity_sweep.documents import sweep_markdown
from detector.jobs.train import TrainingOptions, TrainingResult, train
from detector.jobs.train_phase import PhaseRun
from detector.storage import sole_writer
from detector.weights import load_network, load_plain
from tests.detector.jobs.sparsity_sweep.conftest import PLAN, colours

OptionsMaker = Callable[..., SweepOptions]


def seen(splits: Splits, folder: Path) -> tuple[np.ndarray, torch.Tensor]:
    """What the network in a folder predicts for all test images, and its paths."""
    network, info = load_network(folder / "network.safetensors")
    images = splits.test.read(range(len(splits.test)), info.preprocessing)
    with torch.inference_mode():
        output = network(info.preprocessing(images))
    return output.class_logits.argmax(dim=1).numpy(), output.path.bits


def test_figures_are_those_of_the_networks_on_all_test_images(
    splits: Splits, recipe: Recipe, options: OptionsMaker
) -> None:
    chosen = options(0.4, 1.0)
    report = sweep(splits, recipe, chosen)
    assert [each.open_share for each in report.networks] == [1.0, 0.4]
    assert report.reference is report.networks[0]
    for figures in report.networks:
        folder = chosen.folder(figures.open_share)
        predicted, bits = seen(splits, folder)
        network, _ = load_network(folder / "network.safetensors")
        macs = MacCount.of(network, height=8, width=8)
        kept = macs.total(bits).double() / macs.plain
        right = int((predicted == splits.test.labels).sum())
        assert figures.accuracy == Share.of(right, 36)
        assert figures.kept.mean == pytest.approx(float(kept.mean()))
        assert figures.open_gates.mean == pytest.approx(float(bits.double().mean()))
        assert figures.modules == macs.modules.total / macs.plain
        assert figures.times.images == PLAN.timed
        assert min(figures.times.plain_ms.low, figures.times.verdict.low) > 0


def test_each_network_is_trained_by_the_recipe_with_its_share_into_a_folder_of_its_own(
    splits: Splits, recipe: Recipe, options: OptionsMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Recipe, TrainingOptions]] = []

    def observed(images: Splits, wanted: Recipe, how: TrainingOptions) -> TrainingResult:
        asked.append((wanted, how))
        return train(images, wanted, how)

    # By its module's name: the package shows the function of the same name instead.
    monkeypatch.setattr(sys.modules[sweep.__module__], "train", observed)
    chosen = options(0.4, 1.0, seed=3)
    sweep(splits, recipe, chosen)
    assert [wanted for wanted, _ in asked] == [
        recipe.with_open_share(0.4),
        recipe.with_open_share(1.0),
    ]
    assert [how.output for _, how in asked] == [chosen.folder(0.4), chosen.folder(1.0)]
    assert {how.seed for _, how in asked} == {3}


def test_an_attack_that_never_succeeds_has_no_area_and_the_mean_is_of_the_others(
    splits: Splits, recipe: Recipe, options: OptionsMaker
) -> None:
    (figures,) = sweep(splits, recipe, options(0.5)).networks
    strong, weak = figures.detection.attacks
    assert strong.success is not None
    assert strong.success.hits > 0
    assert weak.success is not None
    assert weak.success.hits == 0
    areas = figures.areas
    assert areas["fgsm:0.0001"] is None
    assert areas[strong.attack] is not None
    assert figures.detection.mean_auroc is not None
    assert figures.detection.mean_auroc.value == areas[strong.attack].value
    assert 0 <= areas[strong.attack].low <= areas[strong.attack].high <= 1


def test_what_is_written_is_what_is_returned_and_what_people_look_at_stands_beside_it(
    splits: Splits, recipe: Recipe, options: OptionsMaker
) -> None:
    chosen = options()
    report = sweep(splits, recipe, chosen)
    assert SweepReport.read(chosen.training.output / "sweep.json") == report
    page = (chosen.training.output / "sweep.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert (chosen.training.output / "sweep.md").read_text("utf-8") == sweep_markdown(report)
    assert (chosen.training.output / "sweep.svg").stat().st_size > 0
    assert report.provenance["recipe"] == repr(recipe)
    predicted = _plain_right(splits, chosen.folder(1.0) / "plain.safetensors")
    assert report.plain_accuracy == Share.of(predicted, 36)


def _plain_right(splits: Splits, path: Path) -> int:
    network, info = load_plain(path)
    images = splits.test.read(range(len(splits.test)), info.preprocessing)
    with torch.inference_mode():
        predicted = network(info.preprocessing(images)).argmax(dim=1)
    return int((predicted.numpy() == splits.test.labels).sum())


def test_what_was_trained_and_measured_is_not_done_again(
    splits: Splits,
    recipe: Recipe,
    options: OptionsMaker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = sweep(splits, recipe, options())
    steps: list[int] = []
    step = PhaseRun._step
    monkeypatch.setattr(PhaseRun, "_step", lambda self, *args: steps.append(1) or step(self, *args))
    again = sweep(splits, recipe, options())
    assert (steps, again.networks) == ([], before.networks)
    wider = sweep(splits, recipe, options(1.0, 0.4, 0.2))
    assert wider.networks[:2] == before.networks
    assert steps != []


def test_stopped_in_the_second_training_it_ends_in_the_same_networks(
    splits: Splits,
    recipe: Recipe,
    options: OptionsMaker,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    through = replace(options().training, output=tmp_path / "through")
    whole = sweep(splits, recipe, replace(options(), training=through))
    step, taken = PhaseRun._step, []

    def interrupted(self: PhaseRun, *args: object) -> float:
        taken.append(self.title)
        if taken.count("decoupled") == 14:  # 12 steps are the whole phase of one network
            raise KeyboardInterrupt
        return step(self, *args)

    monkeypatch.setattr(PhaseRun, "_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sweep(splits, recipe, options())
    monkeypatch.setattr(PhaseRun, "_step", step)
    stopped = sweep(splits, recipe, options())
    assert [each.network for each in stopped.networks] == [each.network for each in whole.networks]
    assert [each.accuracy for each in stopped.networks] == [
        each.accuracy for each in whole.networks
    ]


def test_all_networks_start_from_the_plain_one_that_the_first_has_trained(
    splits: Splits, recipe: Recipe, options: OptionsMaker
) -> None:
    chosen = options(0.4, 1.0)
    sweep(splits, recipe, chosen)
    first, second = (load_file(chosen.folder(share) / "plain.safetensors") for share in (0.4, 1.0))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert (chosen.folder(0.4) / "plain.checkpoint").exists()
    assert not (chosen.folder(1.0) / "plain.checkpoint").exists()


def test_given_weights_are_what_all_start_from(
    splits: Splits, recipe: Recipe, options: OptionsMaker
) -> None:
    sweep(splits, recipe, options(1.0))
    given = load_file(options().folder(1.0) / "plain.safetensors")
    sweep(splits, recipe, options(0.7, initial_weights=given))
    assert not (options().folder(0.7) / "plain.checkpoint").exists()
    found = load_file(options().folder(0.7) / "plain.safetensors")
    assert all(torch.equal(found[name], given[name]) for name in given)


def test_a_folder_of_another_training_is_refused(
    splits: Splits, recipe: Recipe, options: OptionsMaker
) -> None:
    sweep(splits, recipe, options(1.0))
    with pytest.raises(CheckpointError, match=r"open-1\.0.*should belong to this recipe, seed"):
        sweep(splits, recipe, options(1.0, seed=1))


def test_figures_of_another_plan_or_of_other_images_are_refused(
    splits: Splits, recipe: Recipe, options: OptionsMaker
) -> None:
    sweep(splits, recipe, options(1.0))
    with pytest.raises(DataError, match=r"figures\.json should hold .* Found another plan"):
        sweep(splits, recipe, options(1.0, plan=replace(PLAN, attacked=11)))
    others = replace(splits, test=colours(seed=1).test)
    with pytest.raises(DataError, match="Found another set of test images"):
        sweep(others, recipe, options(1.0))


def test_figures_of_another_network_are_refused(
    splits: Splits, recipe: Recipe, options: OptionsMaker
) -> None:
    sweep(splits, recipe, options())
    known = options().folder(0.4) / "figures.json"
    known.write_bytes((options().folder(1.0) / "figures.json").read_bytes())
    with pytest.raises(DataError, match=r"open-0\.4/figures\.json .* Found another network"):
        sweep(splits, recipe, options())


def test_two_sweeps_do_not_write_to_one_folder(
    splits: Splits, recipe: Recipe, options: OptionsMaker
) -> None:
    chosen = options()
    with (
        sole_writer(chosen.training.output),
        pytest.raises(StorageError, match="one job at a time"),
    ):
        sweep(splits, recipe, chosen)
