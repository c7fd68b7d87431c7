"""Calibrate: from a path table to a bundle."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from detector.bundle import BundleManifest, save_bundle
from detector.bundle.folder import check_replaceable
from detector.conformal import ConformalTable, Guarantee, Promise
from detector.decoupling import DecoupledNetwork
from detector.errors import DataError, InvalidInputError
from detector.fingerprints import network_digest
from detector.jobs.copy_agreement import CopyAgreement
from detector.jobs.cross_validation import AttackReport, cross_validate
from detector.jobs.engines import Engine
from detector.jobs.fit_levels import Measured, fit_level, measure
from detector.jobs.fit_scores import clean_split, fit_path_scores
from detector.jobs.fusions import FusionFit, fusion_fit
from detector.jobs.level_plan import plan_levels
from detector.jobs.provenance import provenance
from detector.path_table import PathTable, Place, SplitName
from detector.pipeline import LevelName, Pipeline
from detector.scoring import FusionName, Statistics
from detector.scoring.classifiers import ClassifierName
from detector.weights import NetworkInfo, load_network

__all__ = ["CalibrateOptions", "CalibrationResult", "calibrate"]


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
        fusion: How statistics become one score.
        classifier: Which trees, where the fusion is learnt.
        default_level: Which level is meant where none is named; by default the standard one where
            the table has copies.
        copies: Names of the copies that levels look at, the standard level's first; by default all
            that the table has.
        folds: Folds of the cross-validation that is reported; 0 leaves it out.
        seed: Seed of the classifier and of the folds.

    Raises:
        InvalidInputError: If one of them is out of range.
    """

    table: Place
    network: Path
    output: Path
    alpha: float = 0.05
    confidence: float = 0.95
    guarantee: Guarantee = Guarantee.PAC
    fusion: FusionName = FusionName.ONE_CLASS
    classifier: ClassifierName = ClassifierName.GRADIENT_BOOSTING
    default_level: LevelName | None = None
    copies: tuple[str, ...] | None = None
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
        attacks: How well the default level tells each attack on images that nothing was fitted on.
        dropped: Copies that the table has and that do not leave clean predictions alone.
    """

    bundle: Path
    manifest: BundleManifest
    dropped: tuple[CopyAgreement, ...]
    attacks: tuple[AttackReport, ...]


def calibrate(options: CalibrateOptions, *, engine: Engine | None = None) -> CalibrationResult:
    """Fit the detector, calibrate it, and write the bundle.

    Memory is that of the fit split's features; the other rows are read a few at a time.

    Args:
        options: What to calibrate, and what to promise.
        engine: Where rows of the table are summed and measured; here by default. The bundle is the
            same.

    Raises:
        CalibrationError: If there are too few images for the promise; nothing is written then.
        EngineError: If the engine is lost.
        DataError: If table or network cannot be used, or do not belong together.
        StorageError: If the bundle cannot be written; as far as that can be told beforehand, before
            the long work.
    """
    check_replaceable(options.output)
    network, info = load_network(options.network)
    table = PathTable(options.table)
    _check_same_network(table, network, info, options)
    _check_enough(table, options)
    plan = plan_levels(table, options.default_level, wanted=options.copies)
    measured = measure(table, Statistics(fit_path_scores(table, engine), plan.widest), engine)
    fit = fusion_fit(options.fusion, options.classifier)
    levels = [
        fit_level(name, measured.of(copies), fit, promise=options.promise, seed=options.seed)
        for name, copies in plan.copies.items()
    ]
    pipeline = Pipeline(
        network=network,
        levels=levels,
        preprocessing=info.preprocessing,
        class_names=info.class_names,
        alpha=options.alpha,
    )
    attacks = _cross_validated(measured.of(levels[0].copies), fit, options)
    facts = provenance(
        **_how(options),
        **_of_what(table, measured),
        dropped_copies=[asdict(found) for found in plan.dropped],
        cross_validation=[asdict(report) for report in attacks],
    )
    manifest = save_bundle(options.output, pipeline, info, provenance=facts)
    return CalibrationResult(
        bundle=options.output, manifest=manifest, attacks=attacks, dropped=plan.dropped
    )


def _cross_validated(
    measured: Measured, fit: FusionFit, options: CalibrateOptions
) -> tuple[AttackReport, ...]:
    if not options.folds:
        return ()
    return cross_validate(
        measured.fit, fit, measured.statistics, folds=options.folds, seed=options.seed
    )


def _how(options: CalibrateOptions) -> dict[str, Any]:
    facts: dict[str, Any] = {"seed": options.seed, "fusion": options.fusion.value}
    if options.fusion is FusionName.LEARNT:
        facts["classifier"] = options.classifier.value
    return facts


def _of_what(table: PathTable, measured: Measured) -> dict[str, Any]:
    return {
        "paths_of": clean_split(table).value,
        "fit_images": measured.fit.images_by_part,
        "data": _data(table),
    }


def _data(table: PathTable) -> dict[str, str]:
    """What was calibrated with: the table as it is, and which images its clean rows are of."""
    found = {"table": table.digest()}
    for split in dict.fromkeys((clean_split(table), SplitName.FIT, SplitName.CALIBRATION)):
        digest = hashlib.sha256()
        for rows in table.batches(split):
            pairs = torch.stack([rows.image_ids, rows.labels], dim=1)
            digest.update(pairs.numpy().astype("<i8").tobytes())
        found[split.value] = digest.hexdigest()
    return found


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
        counts += torch.bincount(rows.original.predictions, minlength=len(names))
    predicted = torch.repeat_interleave(torch.arange(len(names)), counts)
    scores = torch.zeros(len(predicted))
    ConformalTable(scores, predicted, len(names), promise=options.promise).require(
        options.alpha, names
    )
