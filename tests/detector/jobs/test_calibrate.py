"""From a path table to a bundle that loads."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from detector.bundle import load_bundle
from detector.conformal import Guarantee
from detector.errors import CalibrationError, DataError, InvalidInputError
from detector.fingerprints import network_digest
from detector.jobs.calibrate import CalibrateOptions, calibrate, fit_features
from detector.jobs.cross_validation import cross_validate
from detector.jobs.fit_rows import FitRows, Kind, read_fit_rows
from detector.path_table import (
    CLEAN,
    SCHEMA_VERSION,
    Part,
    PathRows,
    PathTable,
    SplitName,
    TableInfo,
    batch_from_rows,
    read_shard_info,
    shard_digest,
    write_shard,
)
from detector.pipeline import Pipeline
from detector.scoring.classifiers import ClassifierName, GradientBoosting
from detector.weights import NetworkInfo, save_weights

CLASSES = 3
PARTS = {
    (SplitName.TRAIN, CLEAN): 300,
    (SplitName.FIT, CLEAN): 120,
    (SplitName.FIT, "noise-sign:8/255"): 120,
    (SplitName.FIT, "fgsm:8/255"): 120,
    (SplitName.FIT, "pgd:8/255"): 120,
    (SplitName.CALIBRATION, CLEAN): 200,
}
STRANGENESS = {CLEAN: 0.0, "noise-sign:8/255": 0.1, "fgsm:8/255": 1.0, "pgd:8/255": 2.0}


@pytest.fixture
def make_table(make_paths, resnet20, network_info) -> Callable[..., Path]:
    """A table of synthetic paths; attacked ones are stranger."""

    def rows_of(index: int, attack: str, count: int, predictions: Tensor) -> PathRows:
        attacked = not (attack == CLEAN or attack.startswith("noise"))
        labels = (predictions + attacked) % CLASSES
        generator = torch.Generator().manual_seed(100 + index)
        noise = torch.randn(count, CLASSES, generator=generator)
        return PathRows(
            image_ids=torch.arange(count),
            path=make_paths(
                predictions, resnet20.layout, seed=index, strangeness=STRANGENESS.get(attack, 1.0)
            ),
            class_logits=noise.clamp(-1, 1) + 5 * functional.one_hot(predictions, CLASSES),
            labels=labels,
            original_predictions=labels,
            predictions=predictions,
            success=torch.full((count,), attacked) & (torch.arange(count) % 10 > 0),
            ways=("",) * count,
        )

    def make(
        folder: Path,
        *,
        leave_out: tuple = (),
        calibration: Tensor | None = None,
        more: dict | None = None,
    ) -> Path:
        counts = {part: n for part, n in PARTS.items() if part not in leave_out} | (more or {})
        if calibration is not None:
            counts[SplitName.CALIBRATION, CLEAN] = len(calibration)
        parts = tuple(Part(split=s, attack=a, rows=n) for (s, a), n in counts.items())
        info = TableInfo(
            network=network_digest(resnet20),
            preprocessing=network_info.preprocessing,
            layout=resnet20.layout,
            class_names=network_info.class_names,
            shard_size=500,
            parts=parts,
        )
        info.write(folder)
        for index, part in enumerate(parts):
            predictions = torch.arange(part.rows) % CLASSES
            if part.split is SplitName.CALIBRATION and calibration is not None:
                predictions = calibration
            rows = rows_of(index, part.attack, part.rows, predictions)
            batch = batch_from_rows(rows, split=part.split, attack=part.attack, epsilon=None)
            facts = {
                "schema_version": SCHEMA_VERSION,
                "network": info.network,
                "preprocessing": info.preprocessing.to_json(),
                "split": part.split.value,
                "attack": part.attack,
                "rows": part.rows,
            }
            ((name, _),) = info.shards_of(part)
            write_shard(folder / name, pa.Table.from_batches([batch]), facts)
        return folder

    return make


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


def fresh(path_maker, pipeline: Pipeline, *, strangeness: float):
    """What the pipeline finds about new images."""
    predictions = torch.arange(90) % CLASSES
    path = path_maker(predictions, pipeline.layout, seed=77, strangeness=strangeness)
    return pipeline.judge(path, 5 * functional.one_hot(predictions, CLASSES).float())


def test_a_calibrated_bundle_tells_attacked_from_clean(options, make_paths):
    result = calibrate(options)
    pipeline = load_bundle(result.bundle).pipeline
    flagged = {}
    for strangeness in (0.0, 2.0):
        found = fresh(make_paths, pipeline, strangeness=strangeness)
        flags = pipeline.conformal.flags(found.scores, found.predicted, 0.05)
        flagged[strangeness] = float(flags.float().mean())
    assert flagged[2.0] > 0.9
    # Expected about .03; with 90 images more than .15 would be further off than by chance.
    assert flagged[0.0] < 0.15


def test_the_bundle_says_what_it_was_made_from(options):
    result = calibrate(dataclasses.replace(options, seed=4))
    assert result.manifest == load_bundle(options.output).manifest
    assert result.manifest.calibration_counts == (67, 67, 66)
    assert result.attacks == ()
    facts = result.manifest.provenance["calibration"]
    assert facts["seed"] == 4
    assert facts["classifier"] == "adaboost"
    assert facts["paths_of"] == "train"
    assert facts["fit_images"] == {
        "clean": 120,
        "noise-sign:8/255": 120,
        "fgsm:8/255": 108,
        "pgd:8/255": 108,
    }


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


def test_the_same_seed_gives_the_same_detector(options, tmp_path):
    again = dataclasses.replace(options, output=tmp_path / "again")
    first, second = calibrate(options).manifest, calibrate(again).manifest
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


def test_a_plain_promise_takes_fewer_images(options, make_table, tmp_path):
    calibration = torch.repeat_interleave(torch.arange(CLASSES), 19)
    table = make_table(tmp_path / "few", calibration=calibration)
    result = calibrate(dataclasses.replace(options, table=table, guarantee=Guarantee.PLAIN))
    assert result.manifest.guarantee == "plain"


def test_a_table_without_attacks_is_refused(options, make_table, tmp_path):
    attacks = tuple(part for part in PARTS if part[1] in {"fgsm:8/255", "pgd:8/255"})
    table = make_table(tmp_path / "calm", leave_out=attacks)
    with pytest.raises(CalibrationError, match="should hold attacks on fit images"):
        calibrate(dataclasses.replace(options, table=table))


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


def test_corruptions_are_fitted_as_noise_and_attacks_without_gradients_are_not(
    make_table, tmp_path
):
    more = {(SplitName.FIT, "square:8/255"): 120, (SplitName.FIT, "fog:3"): 120}
    table = PathTable(make_table(tmp_path / "table", more=more))
    rows = read_fit_rows(table, fit_features(table))
    kinds = dict(zip(rows.labels, rows.kinds, strict=True))
    assert kinds["square:8/255"] is Kind.ATTACK
    assert kinds["noise-sign:8/255"] is Kind.NOISE
    assert kinds["fog:3"] is Kind.NOISE
    assert kinds[CLEAN] is Kind.CLEAN


def test_the_report_measures_each_attack_also_unseen(options):
    table = PathTable(options.table)
    rows = read_fit_rows(table, fit_features(table))
    reports = cross_validate(rows, GradientBoosting(trees=10), folds=2, seed=0)
    assert [report.attack for report in reports] == ["noise-sign:8/255", "fgsm:8/255", "pgd:8/255"]
    noise, *attacks = reports
    assert noise.auroc is not None
    assert noise.auroc_unseen is None
    for report in attacks:
        assert report.images == 108
        assert report.auroc > 0.9
        assert report.auroc_unseen > 0.8


def some_fit_rows(*, features: Tensor, parts: Tensor) -> FitRows:
    return FitRows(
        features=features,
        image_ids=torch.arange(len(parts)) % 40,
        parts=parts,
        labels=(CLEAN, "noise-sign:8/255", "fgsm:8/255", "pgd:8/255"),
        kinds=(Kind.CLEAN, Kind.NOISE, Kind.ATTACK, Kind.ATTACK),
    )


def test_labels_that_mean_nothing_give_an_auroc_of_one_half():
    parts = torch.arange(4).repeat_interleave(400)
    noise = torch.randn(1600, 5, generator=torch.Generator().manual_seed(0))
    rows = some_fit_rows(features=noise, parts=parts)
    for report in cross_validate(rows, GradientBoosting(trees=10), folds=2, seed=0):
        # Two folds of 200 against 200: standard error sqrt(401 / (12 * 200 * 200 * 2)), times 5.
        assert report.auroc == pytest.approx(0.5, abs=5 * 0.0205)


def test_an_image_that_was_fitted_on_is_never_measured():
    """Features name the image: who has seen its attacked copy would know its clean one."""
    parts = torch.tensor([0, 2]).repeat_interleave(40)
    identity = torch.arange(40).repeat(2).float().unsqueeze(1)
    rows = some_fit_rows(features=identity, parts=parts)
    fgsm = cross_validate(rows, GradientBoosting(trees=5), folds=4, seed=0)[1]
    assert fgsm.auroc == 0.5
    assert fgsm.auroc_unseen is None


def test_weights_balance_clean_noise_and_each_attack():
    parts = torch.tensor([0] * 10 + [1] * 30 + [2] * 5 + [3] * 50)
    rows = some_fit_rows(features=torch.zeros(95, 1), parts=parts)
    sums = torch.stack([rows.weights[rows.of(part)].sum() for part in range(4)])
    torch.testing.assert_close(sums / sums.sum(), torch.full((4,), 0.25, dtype=torch.float64))
    assert float(rows.weights.mean()) == pytest.approx(1)


def test_copies_in_the_table_change_nothing_in_the_bundle(options, make_paths):
    """They are stranger than any attack: one of them taken for an original would show."""
    without = calibrate(options)
    folder, info = options.table, TableInfo.read(options.table)
    with_copies = dataclasses.replace(
        info, parts=tuple(dataclasses.replace(part, copies=("flip",)) for part in info.parts)
    )
    with_copies.write(folder)
    for part in with_copies.parts:
        ((original, _),) = info.shards_of(part)
        ((name, _),) = with_copies.shards_of(part, "flip")
        rows = PathTable(folder).read(part.split, part.attack)
        path = make_paths(rows.labels, info.layout, seed=5, strangeness=9.0)
        strange = dataclasses.replace(rows, path=path, class_logits=-rows.class_logits)
        batch = batch_from_rows(
            strange, split=part.split, attack=part.attack, epsilon=None, copy="flip"
        )
        facts = read_shard_info(folder / original)
        facts |= {"copy": "flip", "original": shard_digest(folder / original)}
        write_shard(folder / name, pa.Table.from_batches([batch]), facts)
    assert len(list(PathTable(folder).with_copies(SplitName.FIT))) == 1
    result = calibrate(dataclasses.replace(options, output=options.output.parent / "second"))
    found, expected = (each.manifest.provenance["calibration"] for each in (result, without))
    assert {**found, "created": ""} == {**expected, "created": ""}
    for path in without.bundle.glob("*.safetensors"):
        assert (result.bundle / path.name).read_bytes() == path.read_bytes()
