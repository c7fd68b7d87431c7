"""Measures one network of a sweep: what it sees, what it spares, and what it still finds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from detector.conformal import Promise
from detector.data import Splits
from detector.decoupling import DecoupledNetwork, MacCount
from detector.fingerprints import network_digest
from detector.jobs.cost_report import Spread
from detector.jobs.evaluation.bootstrap import Resamples
from detector.jobs.evaluation.estimates import Share
from detector.jobs.evaluation.figures import ScoreFigures
from detector.jobs.evaluation.measure import AttackedImages, measure_score
from detector.jobs.evaluation.measured_images import MeasuredImages, measure_images
from detector.jobs.extract import ExtractOptions, extract
from detector.jobs.fit_levels import fit_level, measure
from detector.jobs.fit_scores import fit_path_scores
from detector.jobs.fusions import OneClassFit
from detector.jobs.image_order import ImageOrder
from detector.jobs.sparsity_sweep.options import MeasurePlan
from detector.jobs.sparsity_sweep.report import NetworkFigures
from detector.jobs.sparsity_sweep.timing import measure_times, skip_where_it_pays
from detector.path_table import PathTable, SplitName
from detector.pipeline import Level, LevelName, Pipeline
from detector.scoring import Statistics
from detector.weights import load_network, load_plain

__all__ = ["measure_network"]

_BUDGET = 0.05


def measure_network(
    folder: Path, open_share: float, splits: Splits, plan: MeasurePlan, *, device: str
) -> NetworkFigures:
    """All figures of a network; the rows behind them stay in a path table beside it.

    Fitting and calibration see train, fit and calibration images, figures are of test images.

    Args:
        folder: Where the network was trained.
        open_share: Target share of open gates that it was trained for.
        splits: The data set; its images are prepared as the network says.
        plan: What is measured.
        device: Where images are attacked and looked at, as torch names it.

    Raises:
        DataError: If data set and network do not fit, or the path table is of another network.
        CalibrationError: If the network gets all images of a class wrong.
        InvalidInputError: If all test images are attacked, so that none is left to compare with.
        StorageError: If the path table cannot be written.
        AttackError: If an attack broke a property that it has to keep.
    """
    network, info = load_network(folder / "network.safetensors")
    prepared = replace(splits, preprocessing=info.preprocessing)
    table = _rows(network, prepared, folder / "paths", plan, device)
    level = _level(table, plan)
    clean = measure_images(table, SplitName.TEST, statistics=level.suspicion.statistics)
    network = network.cpu()
    pipeline = Pipeline(
        network=network,
        levels=[level],
        preprocessing=info.preprocessing,
        class_names=info.class_names,
        alpha=_BUDGET,
    )
    plain, _ = load_plain(folder / "plain.safetensors")
    timed = ImageOrder.of(prepared, SplitName.TEST, plan.timed)
    images = timed.images.read(timed.order[: timed.asked].tolist(), info.preprocessing)
    skip_where_it_pays(pipeline, images)
    macs = MacCount.of(network, height=info.preprocessing.height, width=info.preprocessing.width)
    kept = macs.total(torch.from_numpy(clean.bits)).numpy() / macs.plain
    return NetworkFigures(
        open_share=open_share,
        network=network_digest(network),
        accuracy=Share.of(int((clean.predicted == clean.labels).sum()), len(clean)),
        open_gates=Spread.of(clean.bits.mean(axis=1)),
        kept=Spread.of(kept),
        modules=macs.modules.total / macs.plain,
        times=measure_times(pipeline, plain, images, replicates=plan.replicates, seed=plan.seed),
        detection=_detection(table, level, clean, plan),
    )


def _rows(
    network: DecoupledNetwork, splits: Splits, folder: Path, plan: MeasurePlan, device: str
) -> PathTable:
    """Everything that fitting and figures read; what an earlier run left is used."""
    standard = ExtractOptions(
        output=folder,
        splits=(SplitName.FIT, SplitName.CALIBRATION, SplitName.TEST),
        device=device,
        seed=plan.seed,
    )
    extract(network, splits, replace(standard, splits=(SplitName.TRAIN,), limit=plan.train_images))
    extract(network, splits, standard)
    attacked = replace(standard, splits=(SplitName.TEST,), attacks=plan.specs, limit=plan.attacked)
    return extract(network, splits, attacked)


def _level(table: PathTable, plan: MeasurePlan) -> Level:
    """The level ``fast``: one pass, and a fusion that has seen no attack."""
    measured = measure(table, Statistics(fit_path_scores(table), ()))
    return fit_level(LevelName.FAST, measured, OneClassFit(), promise=Promise(), seed=plan.seed)


def _detection(
    table: PathTable, level: Level, clean: MeasuredImages, plan: MeasurePlan
) -> ScoreFigures:
    statistics = level.suspicion.statistics
    attacked = [
        measure_images(table, SplitName.TEST, label, statistics=statistics, limit=plan.attacked)
        for label in (spec.label for spec in plan.specs)
    ]
    others = clean.rows(~np.isin(clean.image_ids, attacked[0].image_ids))
    calibration = measure_images(table, SplitName.CALIBRATION, statistics=statistics)
    return measure_score(
        str(level.name),
        calibration=_scores(level, calibration),
        negatives=_scores(level, others),
        attacked=[
            AttackedImages(
                attack=each.attack,
                scores=_scores(level, each),
                right_before=each.right_before,
                success=each.success,
            )
            for each in attacked
        ],
        resamples=Resamples(
            negatives=len(others),
            images=len(attacked[0]),
            replicates=plan.replicates,
            seed=plan.seed,
        ),
        budgets=(_BUDGET,),
    )


@torch.inference_mode()
def _scores(level: Level, images: MeasuredImages) -> NDArray[np.float64]:
    scores: NDArray[np.float64] = level.suspicion.fusion(images.statistics).double().numpy()
    return scores
