"""Calibrate: from a path table to a bundle."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from detector.bundle import BundleManifest, save_bundle
from detector.conformal import ConformalTable, Guarantee, Promise
from detector.decoupling import DecoupledNetwork
from detector.errors import CalibrationError, DataError, InvalidInputError
from detector.fingerprints import network_digest
from detector.jobs.copy_agreement import CopyAgreement, copy_agreements, unsuitable_copies
from detector.jobs.cross_validation import AttackReport, cross_validate
from detector.jobs.fit_rows import FitRows, read_fit_rows
from detector.jobs.fusions import FusionFit, fusion_fit
from detector.jobs.provenance import provenance
from detector.path_table import CLEAN, PathTable, SplitName
from detector.pipeline import Level, LevelName, Pipeline
from detector.scoring import (
    CleanImages,
    FusionName,
    Observation,
    PathScores,
    PathStatistics,
    Statistics,
    Suspicion,
)
from detector.scoring.classifiers import ClassifierName
from detector.weights import NetworkInfo, load_network

__all__ = ["CalibrateOptions", "CalibrationResult", "calibrate", "fit_path_scores"]

_SAMPLE_PER_CLASS = 300
"""Clean images of each class that are kept one by one, for scores that sums do not serve."""


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
    fusion: FusionName = FusionName.ONE_CLASS
    classifier: ClassifierName = ClassifierName.GRADIENT_BOOSTING
    default_level: LevelName | None = None
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
    copies, dropped = _suitable_copies(table)
    plan = _level_copies(copies, options.default_level)
    scores = fit_path_scores(table)
    widest = Statistics(scores, copies)
    rows = read_fit_rows(table, widest)
    calibration = _read_calibration(table, widest)
    fit = fusion_fit(options.fusion, options.classifier)
    levels = [
        _level(name, Statistics(scores, used), (widest, rows, calibration), fit, options)
        for name, used in plan.items()
    ]
    levels[0].conformal.require(options.alpha, info.class_names)
    pipeline = Pipeline(
        network=network,
        levels=levels,
        preprocessing=info.preprocessing,
        class_names=info.class_names,
        alpha=options.alpha,
    )
    attacks: tuple[AttackReport, ...] = ()
    if options.folds:
        default = levels[0].suspicion.statistics
        attacks = cross_validate(
            rows.columns(_columns(widest, default)),
            fit,
            default,
            folds=options.folds,
            seed=options.seed,
        )
    facts = provenance(
        seed=options.seed,
        fusion=options.fusion.value,
        **({"classifier": options.classifier.value} if fit.learns_attacks else {}),
        paths_of=_clean_split(table).value,
        fit_images=_images_by_part(rows),
        dropped_copies=[asdict(found) for found in dropped],
        data=_data(table),
        cross_validation=[asdict(report) for report in attacks],
    )
    manifest = save_bundle(options.output, pipeline, info, provenance=facts)
    return CalibrationResult(
        bundle=options.output, manifest=manifest, attacks=attacks, dropped=dropped
    )


def fit_path_scores(table: PathTable) -> PathScores:
    """Scores of a table's clean paths.

    They are fitted on the train split where the table has it, and on the fit split else. Images
    that the network gets wrong are left out: their paths belong to no class.

    Args:
        table: The path table.

    Raises:
        CalibrationError: If a class has no image.
        DataError: If the table cannot be read.
    """
    names = table.info.class_names
    split = _clean_split(table)
    statistics: PathStatistics | None = None
    sample: list[tuple[Observation, Tensor]] = []
    room = torch.full((len(names),), _SAMPLE_PER_CLASS)
    for rows in table.batches(split):
        right = rows.predictions == rows.labels
        part = PathStatistics.of(rows.path[right], rows.labels[right], len(names))
        statistics = part if statistics is None else statistics + part
        kept = torch.nonzero(right & _first_of_each_class(rows.labels, right, room)).flatten()
        room -= torch.bincount(rows.labels[kept], minlength=len(names))
        sample.append((rows.seen[kept], rows.labels[kept]))
    counts = [0] * len(names) if statistics is None else statistics.counts.tolist()
    empty = [name for name, count in zip(names, counts, strict=True) if not count]
    if statistics is None or empty:
        raise CalibrationError(
            f"Each class should have at least one {split} image that the network gets right. "
            f"Found none of {', '.join(empty)}. Extract more images or train the network longer."
        )
    clean = CleanImages(
        statistics=statistics,
        sample=Observation.concatenate([seen for seen, _ in sample]),
        labels=torch.cat([labels for _, labels in sample]),
    )
    return PathScores(table.info.layout, len(names)).fit(clean).eval()


def _first_of_each_class(labels: Tensor, right: Tensor, room: Tensor) -> Tensor:
    """Which rows are among the first of their class that there is room for, bool of shape (B,)."""
    member = functional.one_hot(labels, len(room)) * right.unsqueeze(1)  # (B, K)
    place = (member.cumsum(dim=0) * member).sum(dim=1)  # 1 for the first of its class
    return place <= room[labels]


def _suitable_copies(
    table: PathTable,
) -> tuple[tuple[str, ...], tuple[CopyAgreement, ...]]:
    """Copies that both held-out splits have and that leave clean predictions alone; the others."""
    held = [set(table.part(split).copies) for split in (SplitName.FIT, SplitName.CALIBRATION)]
    shared = [name for name in table.part(SplitName.FIT).copies if all(name in h for h in held)]
    if not shared:
        return (), ()
    dropped = unsuitable_copies(found for found in copy_agreements(table) if found.copy in shared)
    unfit = {found.copy for found in dropped}
    return tuple(name for name in shared if name not in unfit), dropped


def _level_copies(
    copies: tuple[str, ...], default: LevelName | None
) -> dict[LevelName, tuple[str, ...]]:
    """What each level looks at, the default level first."""
    plan: dict[LevelName, tuple[str, ...]] = {LevelName.FAST: ()}
    if copies:
        plan[LevelName.STANDARD] = copies[:1]
    if len(copies) > 1:
        plan[LevelName.THOROUGH] = copies
    chosen = default or (LevelName.STANDARD if copies else LevelName.FAST)
    if chosen not in plan:
        raise InvalidInputError(
            f"The default level should be one of {', '.join(plan)}, for which the table has the "
            f"copies. Found {chosen}. Run `offpath extract` with --copy flip and others.",
            field="default_level",
        )
    return {chosen: plan[chosen], **plan}


def _columns(widest: Statistics, narrow: Statistics) -> Tensor:
    place = {name: index for index, name in enumerate(widest.names)}
    return torch.tensor([place[name] for name in narrow.names])


@torch.inference_mode()
def _read_calibration(table: PathTable, widest: Statistics) -> tuple[Tensor, Tensor]:
    """Statistics and predicted classes of the calibration images."""
    values, predicted = [], []
    for rows in table.calibration(widest.copies):
        values.append(widest(rows.seen))
        predicted.append(rows.original.predictions)
    return torch.cat(values), torch.cat(predicted)


def _level(
    name: LevelName,
    statistics: Statistics,
    measured: tuple[Statistics, FitRows, tuple[Tensor, Tensor]],
    fit: FusionFit,
    options: CalibrateOptions,
) -> Level:
    widest, rows, (values, predicted) = measured
    columns = _columns(widest, statistics)
    fusion = fit.fit(rows.columns(columns), statistics, seed=options.seed)
    suspicion = Suspicion(statistics, fusion).eval()
    with torch.inference_mode():
        scores: Tensor = fusion(values[:, columns])
    classes = suspicion.classes
    return Level(
        name=name,
        suspicion=suspicion,
        conformal=ConformalTable(scores, predicted, classes, promise=options.promise),
    )


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
        counts += torch.bincount(rows.original.predictions, minlength=len(names))
    predicted = torch.repeat_interleave(torch.arange(len(names)), counts)
    scores = torch.zeros(len(predicted))
    ConformalTable(scores, predicted, len(names), promise=options.promise).require(
        options.alpha, names
    )
