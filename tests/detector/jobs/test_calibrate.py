"""From a path table to a bundle that loads."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from detector.bundle import load_bundle
from detector.conformal import Guarantee
from detector.errors import CalibrationError, DataError, InvalidInputError, StorageError
from detector.jobs.calibrate import CalibrateOptions, calibrate
from detector.path_table import CLEAN, SplitName
from detector.pipeline import LevelName, Verdict
from detector.scoring import FusionName, Observation
from detector.scoring.classifiers import ClassifierName
from detector.weights import NetworkInfo, save_weights

CLASSES = 3
COPIES = ("flip", "shift:left")
ATTACKS = ((SplitName.FIT, "fgsm:8/255"), (SplitName.FIT, "pgd:8/255"))


@pytest.fixture
def options(tmp_path, make_table, resnet20, network_info) -> CalibrateOptions:
    network = tmp_path / "network.safetensors"
    save_weights(network, resnet20, network_info)
    return CalibrateOptions(
        table=make_table(tmp_path / "table"),
        network=network,
        output=tmp_path / "bundle",
        classifier=ClassifierName.ADABOOST,
        folds=0,
    )


def new_images(make_seen, layout) -> dict[str, Observation]:
    """Clean images, and attacked ones: stranger, and of another class under a copy.

    They are so strange since 67 calibration images of a class leave few that may be flagged.
    """
    predicted = torch.arange(90) % CLASSES
    clean, attacked = (
        make_seen(predicted, layout, copies=COPIES, seed=777, strangeness=strangeness)
        for strangeness in (0.0, 5.0)
    )
    fallen = {
        name: dataclasses.replace(copy, class_logits=copy.class_logits.roll(1, dims=1))
        for name, copy in attacked.copies.items()
    }
    return {"clean": clean, "attacked": dataclasses.replace(attacked, copies=fallen)}


@pytest.mark.parametrize("fusion", FusionName)
def test_a_calibrated_bundle_tells_attacked_from_clean_at_every_level(
    options, make_table, make_seen, tmp_path, fusion
):
    table = make_table(tmp_path / "copied", copies=COPIES)
    plain = dataclasses.replace(options, table=table, fusion=fusion, guarantee=Guarantee.PLAIN)
    result = calibrate(plain)
    pipeline = load_bundle(result.bundle).pipeline
    assert list(pipeline.levels) == [LevelName.STANDARD, LevelName.FAST, LevelName.THOROUGH]
    images = new_images(make_seen, pipeline.layout)
    for level in pipeline.levels:
        flagged = {}
        for name, seen in images.items():
            found = pipeline.judge(seen, level)
            verdicts = [pipeline.detect(found, row).verdict for row in range(90)]
            flagged[name] = sum(verdict is Verdict.OFF_PATH for verdict in verdicts) / 90
        assert flagged["attacked"] > 0.9, level
        # Expected 3 / 68; the standard error of three such shares and 90 images is .026.
        assert flagged["clean"] < 0.15, level


def test_levels_have_the_copies_that_the_table_has(options, make_table, tmp_path):
    table = make_table(tmp_path / "copied", copies=("flip",), disturbed=("bits:5",))
    result = calibrate(dataclasses.replace(options, table=table))
    levels = [(level.name, level.copies) for level in result.manifest.levels]
    assert levels == [("standard", ("flip",)), ("fast", ())]
    facts = result.manifest.provenance["calibration"]
    assert [found.copy for found in result.dropped] == ["bits:5"]
    assert facts["dropped_copies"] == [dataclasses.asdict(found) for found in result.dropped]


def test_a_default_level_that_the_table_has_no_copies_for_is_refused(options):
    with pytest.raises(InvalidInputError, match="should be one of fast, for which"):
        calibrate(dataclasses.replace(options, default_level=LevelName.THOROUGH))
    assert not options.output.exists()


def test_copies_leave_the_fast_level_as_it_is(options, make_table, tmp_path):
    table = make_table(tmp_path / "copied", copies=COPIES)
    both = (
        dataclasses.replace(
            options, table=each, output=tmp_path / each.name[:3], default_level=LevelName.FAST
        )
        for each in (options.table, table)
    )
    without, beside = (calibrate(each) for each in both)
    expected, found = (
        load_file(result.bundle / "detector.safetensors") for result in (without, beside)
    )
    assert set(expected) < set(found)
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
    data = [each.manifest.provenance["calibration"]["data"] for each in (without, beside)]
    assert data[0] == data[1]


def test_one_class_needs_no_attack_and_learnt_refuses_to_do_without(options, make_table, tmp_path):
    table = make_table(tmp_path / "calm", leave_out=ATTACKS)
    calm = dataclasses.replace(options, table=table, folds=2)
    with pytest.raises(CalibrationError, match="should hold attacks on fit images"):
        calibrate(dataclasses.replace(calm, fusion=FusionName.LEARNT))
    assert not options.output.exists()
    result = calibrate(calm)
    assert [report.attack for report in result.attacks] == ["noise-sign:8/255"]
    assert load_bundle(result.bundle).manifest == result.manifest


def test_attacks_teach_a_one_class_detector_nothing(options, make_table, tmp_path):
    table = make_table(tmp_path / "calm", leave_out=ATTACKS)
    calm = dataclasses.replace(options, table=table, output=tmp_path / "calm-bundle")
    # The seeds of the other parts move up when parts before them are left out.
    more = dataclasses.replace(
        options, table=make_table(tmp_path / "more", leave_out=ATTACKS, more={ATTACKS[0]: 60})
    )
    first, second = (
        load_file(calibrate(each).bundle / "detector.safetensors") for each in (calm, more)
    )
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_bundle_says_what_it_was_made_from(options):
    learnt = dataclasses.replace(options, seed=4, fusion=FusionName.LEARNT)
    result = calibrate(learnt)
    assert result.manifest == load_bundle(options.output).manifest
    assert result.manifest.calibration_counts == (67, 67, 66)
    assert result.attacks == ()
    facts = result.manifest.provenance["calibration"]
    assert facts["seed"] == 4
    assert (facts["fusion"], facts["classifier"]) == ("learnt", "adaboost")
    assert [level.fusion for level in result.manifest.levels] == [FusionName.LEARNT]
    assert facts["paths_of"] == "train"
    assert facts["fit_images"] == {
        "clean": 120,
        "noise-sign:8/255": 120,
        "fgsm:8/255": 108,
        "pgd:8/255": 108,
    }


def test_a_one_class_bundle_names_no_classifier(options):
    facts = calibrate(options).manifest.provenance["calibration"]
    assert facts["fusion"] == "one-class"
    assert "classifier" not in facts
    assert facts["dropped_copies"] == facts["cross_validation"] == []


def test_the_bundle_keeps_the_figures_of_the_cross_validation(options):
    result = calibrate(dataclasses.replace(options, folds=2))
    kept = load_bundle(options.output).manifest.provenance["calibration"]["cross_validation"]
    assert kept == [dataclasses.asdict(report) for report in result.attacks]
    assert {"attack", "auroc", "auroc_unseen"} < set(kept[0])


def test_the_bundle_says_which_table_and_images_it_was_calibrated_with(
    options, make_table, tmp_path
):
    def data(table: Path) -> dict[str, str]:
        changed = dataclasses.replace(options, table=table)
        return calibrate(changed).manifest.provenance["calibration"]["data"]

    before = data(options.table)
    assert set(before) == {"table", "train", "fit", "calibration"}
    assert data(make_table(tmp_path / "same")) == before
    other = data(make_table(tmp_path / "other", calibration=torch.arange(210) % CLASSES))
    assert {name for name in before if other[name] != before[name]} == {"table", "calibration"}


def test_without_train_rows_the_fit_rows_give_the_path_distributions(options, make_table, tmp_path):
    table = make_table(tmp_path / "other", leave_out=((SplitName.TRAIN, CLEAN),))
    result = calibrate(dataclasses.replace(options, table=table))
    assert result.manifest.provenance["calibration"]["paths_of"] == "fit"


@pytest.mark.parametrize("fusion", FusionName)
def test_the_same_seed_gives_the_same_detector(options, tmp_path, fusion):
    once = dataclasses.replace(options, fusion=fusion)
    again = dataclasses.replace(once, output=tmp_path / "again")
    first, second = calibrate(once).manifest, calibrate(again).manifest
    assert first.files == second.files


@pytest.mark.parametrize(
    ("guarantee", "counts", "found"),
    [
        (Guarantee.PAC, (80, 58, 61), "at least 59 .* 58 predicted as dog"),
        (Guarantee.PAC, (80, 70, 0), "at least 59 .* 0 predicted as frog"),
        (Guarantee.PLAIN, (18, 70, 61), "at least 19 .* 18 predicted as cat"),
    ],
)
def test_too_few_images_of_a_class_are_refused_and_nothing_is_written(
    options, make_table, tmp_path, guarantee, counts, found
):
    calibration = torch.repeat_interleave(torch.arange(CLASSES), torch.tensor(counts))
    table = make_table(tmp_path / "few", calibration=calibration)
    with pytest.raises(CalibrationError, match=found):
        calibrate(dataclasses.replace(options, table=table, guarantee=guarantee))
    assert not options.output.exists()


@pytest.mark.parametrize("output", ["notes", "file/bundle"])
def test_an_output_that_cannot_become_a_bundle_is_refused_before_the_long_work(
    options, tmp_path, output
):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "thesis.tex").write_text("years of work")
    (tmp_path / "file").write_text("x")
    # A table that is not there is the first thing that the work itself would complain of.
    nothing = dataclasses.replace(options, table=tmp_path / "none", output=tmp_path / output)
    with pytest.raises(StorageError, match=r"thesis\.tex|file is a file"):
        calibrate(nothing)


def test_a_plain_promise_takes_fewer_images(options, make_table, tmp_path):
    calibration = torch.repeat_interleave(torch.arange(CLASSES), 19)
    table = make_table(tmp_path / "few", calibration=calibration)
    result = calibrate(dataclasses.replace(options, table=table, guarantee=Guarantee.PLAIN))
    assert result.manifest.guarantee == "plain"


@pytest.mark.parametrize("split", [SplitName.FIT, SplitName.CALIBRATION])
def test_a_table_without_a_split_is_refused(options, make_table, tmp_path, split):
    table = make_table(tmp_path / "part", leave_out=((split, CLEAN),))
    with pytest.raises(DataError, match=f"should hold {split} images, clean"):
        calibrate(dataclasses.replace(options, table=table))


def test_a_table_of_another_network_is_refused(options, resnet20, network_info: NetworkInfo):
    with torch.no_grad():
        resnet20.backbone.fc.bias += 1
    save_weights(options.network, resnet20, network_info)
    with pytest.raises(DataError, match="Found another network"):
        calibrate(options)


@pytest.mark.parametrize(
    ("name", "value"), [("alpha", 0.0), ("alpha", 1.5), ("confidence", 1.0), ("folds", 1)]
)
def test_options_out_of_range_are_refused(options, name, value):
    with pytest.raises(InvalidInputError) as caught:
        dataclasses.replace(options, **{name: value})
    assert caught.value.field == name
