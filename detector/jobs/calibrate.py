"""Calibrate: from a path table to a bundle."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from detector.bundle import BundleManifest, save_bundle
from detector.conformal import ConformalTable, Guarantee, Promise
from detector.decoupling import DecoupledNetwork
from detector.errors import CalibrationError, DataError, InvalidInputError
from detector.fingerprints import network_digest
from detector.jobs.cross_validation import AttackReport, cross_validate
from detector.jobs.fit_rows import FitRows, read_fit_rows
from detector.jobs.provenance import provenance
from detector.path_table import CLEAN, CalibrationRows, PathTable, SplitName
from detector.pipeline import Pipeline
from detector.scoring import PathFeatures, PathStatistics, Suspicion, SuspicionScores
from detector.scoring.classifiers import ClassifierName, classifier_of
from detector.weights import NetworkInfo, load_network

__all__ = ["CalibrateOptions", "CalibrationResult", "calibrate", "fit_features"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrateOptions:
    """What to calibrate, and what to promise.

    Args:
        table: Folder of the path table: clean images of the calibration and fit splits, best also
            of the train split, and attacks (and noise) on the fit split.
        network: File of the network that the table was extracted with.
        output: Folder of the bundle.
        alpha: False-alarm budget in (0, 1).
        confidence: Share of calibrations that keep the budget under the PAC guarantee, in (0, 1).
        guarantee: What is promised.
        classifier: What turns the layers' scores into one.
        folds: Folds of the cross-validation that is reported; 0 leaves it out.
        seed: Seed of the classifier and of the folds.

    Raises:
        InvalidInputError: If one of them is out of range.
    """

    table: Path
    network: Path
    output: Path
    alpha: float = 0.05
    confidence: float = 0.95
    guarantee: Guarantee = Guarantee.PAC
    classifier: ClassifierName = ClassifierName.GRADIENT_BOOSTING
    folds: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        self.promise.minimum_images(self.alpha)
        if self.folds < 0 or self.folds == 1:
            raise InvalidInputError(
                f"folds should be 0 or at least 2. Found {self.folds}.", field="folds"
            )

    @property
    def promise(self) -> Promise:
        """The promise by itself."""
        return Promise(guarantee=self.guarantee, confidence=self.confidence)


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationResult:
    """What came out.

    Args:
        bundle: Folder of the bundle.
        manifest: What the bundle is.
        attacks: How well the classifier tells each attack on images that it was not fitted on.
    """

    bundle: Path
    manifest: BundleManifest
    attacks: tuple[AttackReport, ...]


def calibrate(options: CalibrateOptions) -> CalibrationResult:
    """Fit the detector, calibrate it, and write the bundle.

    Memory is that of the fit split's features; the other rows are read a few at a time.

    Args:
        options: What to calibrate, and what to promise.

    Raises:
        CalibrationError: If there are too few images for the promise; nothing is written then.
        DataError: If table or network cannot be used, or do not belong together.
        StorageError: If the bundle cannot be written.
    """
    network, info = load_network(options.network)
    table = PathTable(options.table)
    _check_same_network(table, network, info, options)
    _check_enough(table, options)
    features = fit_features(table)
    rows = read_fit_rows(table, features)
    classifier = classifier_of(options.classifier)
    trees = classifier.fit(rows.features, rows.attacked, weights=rows.weights, seed=options.seed)
    suspicion = Suspicion(features, trees)
    conformal = _conformal(table.calibration(), suspicion, options.promise)
    conformal.require(options.alpha, info.class_names)
    pipeline = Pipeline(
        network=network,
        suspicion=suspicion,
        conformal=conformal,
        preprocessing=info.preprocessing,
        class_names=info.class_names,
        alpha=options.alpha,
    )
    attacks: tuple[AttackReport, ...] = ()
    if options.folds:
        attacks = cross_validate(rows, classifier, folds=options.folds, seed=options.seed)
    facts = provenance(
        seed=options.seed,
        classifier=options.classifier.value,
        paths_of=_clean_split(table).value,
        fit_images=_images_by_part(rows),
        data=_data(table),
        cross_validation=[asdict(report) for report in attacks],
    )
    manifest = save_bundle(options.output, pipeline, info, provenance=facts)
    return CalibrationResult(bundle=options.output, manifest=manifest, attacks=attacks)


def fit_features(table: PathTable) -> PathFeatures:
    """Path distributions of a table's clean images, and the scores made of them.

    The distributions come from the train split where the table has it, and from the fit split
    else. Images that the network gets wrong are left out: their paths belong to no class.

    Args:
        table: The path table.

    Raises:
        CalibrationError: If a class has no image.
        DataError: If the table cannot be read.
    """
    names = table.info.class_names
    split = _clean_split(table)
    statistics: PathStatistics | None = None
    for rows in table.batches(split):
        right = rows.predictions == rows.labels
        part = PathStatistics.of(rows.path[right], rows.labels[right], len(names))
        statistics = part if statistics is None else statistics + part
    counts = [0] * len(names) if statistics is None else statistics.counts.tolist()
    empty = [name for name, count in zip(names, counts, strict=True) if not count]
    if statistics is None or empty:
        raise CalibrationError(
            f"Each class should have at least one {split} image that the network gets right. "
            f"Found none of {', '.join(empty)}. Extract more images or train the network longer."
        )
    features = PathFeatures(table.info.layout, len(names)).fit(statistics)
    measured = [
        features.measure(rows.path, rows.class_logits, rows.predictions)
        for rows in table.batches(SplitName.FIT)
    ]
    features.standardise(torch.cat(measured))
    return features


def _conformal(
    calibration: Iterable[CalibrationRows], suspicion: Suspicion, promise: Promise
) -> ConformalTable:
    scores, predicted = [], []
    with torch.inference_mode():
        for rows in calibration:
            found: SuspicionScores = suspicion(rows.path, rows.class_logits, rows.predictions)
            scores.append(found.scores)
            predicted.append(rows.predictions)
    classes = suspicion.features.classes
    return ConformalTable(torch.cat(scores), torch.cat(predicted), classes, promise=promise)


def _clean_split(table: PathTable) -> SplitName:
    """Where the path distributions come from."""
    held = {part.split for part in table.parts if part.attack == CLEAN}
    return SplitName.TRAIN if SplitName.TRAIN in held else SplitName.FIT


def _data(table: PathTable) -> dict[str, str]:
    """What was calibrated with: the table as it is, and which images its clean rows are of."""
    found = {"table": table.digest()}
    for split in dict.fromkeys((_clean_split(table), SplitName.FIT, SplitName.CALIBRATION)):
        digest = hashlib.sha256()
        for rows in table.batches(split):
            pairs = torch.stack([rows.image_ids, rows.labels], dim=1)
            digest.update(pairs.numpy().astype("<i8").tobytes())
        found[split.value] = digest.hexdigest()
    return found


def _images_by_part(rows: FitRows) -> dict[str, int]:
    return {label: int(rows.of(part).sum()) for part, label in enumerate(rows.labels)}


def _check_same_network(
    table: PathTable, network: DecoupledNetwork, info: NetworkInfo, options: CalibrateOptions
) -> None:
    pairs = (
        ("network", table.info.network, network_digest(network)),
        ("class names", table.info.class_names, info.class_names),
        ("preprocessing", table.info.preprocessing, info.preprocessing),
    )
    for name, found, expected in pairs:
        if found != expected:
            raise DataError(
                f"{options.table} should have been extracted with {options.network}. "
                f"Found another {name}. Extract the table again with this network."
            )


def _check_enough(table: PathTable, options: CalibrateOptions) -> None:
    """Refuse a hopeless budget before the long work, by the images' predicted classes alone."""
    table.part(SplitName.FIT)
    names = table.info.class_names
    counts = torch.zeros(len(names), dtype=torch.int64)
    for rows in table.calibration():
        counts += torch.bincount(rows.predictions, minlength=len(names))
    predicted = torch.repeat_interleave(torch.arange(len(names)), counts)
    scores = torch.zeros(len(predicted))
    ConformalTable(scores, predicted, len(names), promise=options.promise).require(
        options.alpha, names
    )
