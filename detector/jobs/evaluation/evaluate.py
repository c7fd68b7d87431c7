"""Evaluate: a bundle under a plan, resumable, with controls that can fail the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from detector.bundle import Bundle, load_bundle
from detector.data import Splits
from detector.errors import DataError
from detector.fingerprints import network_digest
from detector.jobs.evaluation.adaptive import adaptive_figures
from detector.jobs.evaluation.attacked_rows import NULL_ATTACK, RowsWanted, extract_rows
from detector.jobs.evaluation.bootstrap import Resamples
from detector.jobs.evaluation.contenders import Contender
from detector.jobs.evaluation.controls import (
    ControlResult,
    identity_control,
    noise_control,
    null_control,
    require_controls,
    shuffle_control,
    shuffled,
)
from detector.jobs.evaluation.costs import level_cost
from detector.jobs.evaluation.estimates import Share
from detector.jobs.evaluation.false_alarms import FalseAlarms, false_alarms
from detector.jobs.evaluation.fewer import calibration_sizes, few_shot
from detector.jobs.evaluation.figures import ScoreFigures, ShareAtBudget
from detector.jobs.evaluation.left_out import left_out_cells
from detector.jobs.evaluation.measure import AttackedImages, measure_score
from detector.jobs.evaluation.measured_images import MeasuredImages, measure_images
from detector.jobs.evaluation.plan import EvaluationPlan
from detector.jobs.evaluation.plots import write_plots
from detector.jobs.evaluation.release_gate import require_promotion
from detector.jobs.evaluation.report import EvaluationReport
from detector.jobs.evaluation.report_sections import (
    AdaptiveFigures,
    FewShotPoint,
    LevelFigures,
    ShiftFigures,
)
from detector.jobs.evaluation.subject import Subject
from detector.jobs.evaluation.tables import write_tables
from detector.jobs.provenance import provenance
from detector.path_table import CLEAN, PathTable, SplitName
from detector.pipeline import LevelName, Pipeline
from detector.scoring import FusionName

__all__ = ["EvaluateOptions", "evaluate"]

_COST_BATCH = 32
_FEW_SHOT_ATTACK = "pgd:8/255"


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateOptions:
    """What is evaluated, and where to.

    Args:
        plan: The plan, frozen.
        table: Path table that the bundle was calibrated with: train, fit and calibration images,
            attacks on fit images.
        output: Folder for the rows, the report, its tables and its plots.
        bundle: Folder of the bundle; the one that comes with the package by default.
        released: Report of the last released bundle: where it is given, figures that fell against
            it fail the run.
        adaptive: Whether attackers who know the detector are let loose on it as well.
        device: Where the network runs, as torch names it.
    """

    plan: EvaluationPlan
    table: Path
    output: Path
    bundle: Path | None = None
    released: Path | None = None
    adaptive: bool = False
    device: str = "cpu"


def evaluate(splits: Splits, options: EvaluateOptions) -> EvaluationReport:
    """Measure a bundle under a plan and write ``report.json``, ``report.md`` and plots.

    Nothing is chosen on the test split: the plan is frozen, its digest stands in the report, and
    thresholds come from calibration images alone. Attacked rows that an earlier run left are used.

    Args:
        splits: The data set.
        options: What is evaluated.

    Raises:
        DataError: If table, data set and bundle do not belong together.
        InvalidInputError: If the plan names what does not exist.
        BundleError: If the bundle cannot be loaded.
        StorageError: If something cannot be written.
        ControlError: If a control broke; the report is written by then.
        GateError: If a figure fell against the released report; likewise.
    """
    bundle = load_bundle(options.bundle, device=options.device)
    released = None if options.released is None else EvaluationReport.read(options.released)
    report = _Evaluation(bundle, splits, options).report()
    report.write(options.output / "report.json")
    write_tables(report, options.output / "report.md")
    write_plots(report, options.output / "plots")
    require_controls(report.controls)
    if released is not None:
        require_promotion(released, report)
    return report


class _Evaluation:
    """One run."""

    def __init__(self, bundle: Bundle, splits: Splits, options: EvaluateOptions) -> None:
        self._bundle = bundle
        self._pipeline: Pipeline = bundle.pipeline
        self._splits = splits
        self._options = options
        self._plan = options.plan
        self._table = PathTable(options.table)
        if self._table.info.network != network_digest(self._pipeline.network):
            raise DataError(
                f"{options.table} should have been extracted with the bundle's network. "
                "Found another network. Give the table that the bundle was calibrated with."
            )
        self._levels = {
            LevelName(name): self._pipeline.level(name).copies for name in self._plan.levels
        }
        self._shipped = {info.name: info.fusion for info in bundle.manifest.levels}
        self._subject = Subject.of(
            self._table,
            self._levels,
            self._plan,
            fusions=[FusionName(name) for name in self._plan.fusions],
            promise=self._pipeline.conformal.promise,
        )
        self._check_same_detector()

    def report(self) -> EvaluationReport:
        """All figures."""
        plan, subject = self._plan, self._subject
        default = self._pipeline.level(None).copies
        wanted = RowsWanted(plan=plan, copies=subject.copies, shift_copies=default)
        rows = extract_rows(
            self._pipeline.network,
            self._splits,
            wanted,
            self._options.output / "paths",
            device=self._options.device,
        )
        clean = subject.measure(rows, CLEAN)
        null = subject.measure(rows, NULL_ATTACK)
        attacked = [subject.measure(rows, label) for label in plan.attacks]
        noisy = [subject.measure(rows, label) for label in plan.noise]
        others = clean.rows(~np.isin(clean.image_ids, null.image_ids))
        resamples = Resamples(
            negatives=len(others), images=len(null), replicates=plan.bootstrap, seed=plan.seed
        )
        return EvaluationReport(
            plan_name=plan.name,
            plan_digest=plan.digest,
            plan=plan.as_json(),
            bundle_digest=self._bundle.manifest.digest,
            provenance=provenance(table=self._table.digest()),
            accuracy=_share(clean.predicted == clean.labels),
            levels=tuple(
                self._level(level, clean, others, attacked, resamples) for level in self._levels
            ),
            controls=self._controls(clean, others, null, attacked, noisy),
            baselines=tuple(
                measure_score(
                    name,
                    calibration=subject.ground.calibration.baselines[name],
                    negatives=others.baselines[name],
                    attacked=[_attacked(each, each.baselines[name]) for each in attacked],
                    resamples=resamples,
                    budgets=plan.budgets,
                    confidence=plan.confidence,
                )
                for name in plan.baselines
            ),
            left_out=left_out_cells(subject, plan, others, attacked, resamples),
            few_shot=self._few_shot(others, attacked),
            calibration_sizes=calibration_sizes(
                self._default_contender(),
                clean,
                sizes=plan.calibration_sizes,
                budgets=plan.budgets,
                seed=plan.seed,
            ),
            shifts=self._shifts(rows, noisy),
            adaptive=self._adaptive(),
        )

    def _level(
        self,
        level: LevelName,
        clean: MeasuredImages,
        others: MeasuredImages,
        attacked: Sequence[MeasuredImages],
        resamples: Resamples,
    ) -> LevelFigures:
        images = self._splits.test.read(range(_COST_BATCH), self._pipeline.preprocessing)
        return LevelFigures(
            level=level.value,
            copies=self._levels[level],
            cost=level_cost(self._pipeline, level, images),
            fusions=tuple(
                self._fusion(contender, clean, others, attacked, resamples)
                for contender in self._subject.contenders
                if contender.level.name is level
            ),
        )

    def _fusion(
        self,
        contender: Contender,
        clean: MeasuredImages,
        others: MeasuredImages,
        attacked: Sequence[MeasuredImages],
        resamples: Resamples,
    ) -> ScoreFigures:
        budgets = self._plan.budgets
        return measure_score(
            contender.fusion.value,
            calibration=contender.scores(self._subject.ground.calibration),
            negatives=contender.scores(others),
            attacked=[
                _attacked(each, contender.scores(each), contender.flags(each, budgets))
                for each in attacked
            ],
            resamples=resamples,
            budgets=budgets,
            false_alarms=[
                self._false_alarms(clean, flags, budget)
                for budget, flags in contender.flags(clean, budgets).items()
            ],
            confidence=self._plan.confidence,
        )

    def _false_alarms(
        self, clean: MeasuredImages, flags: NDArray[np.bool_], budget: float
    ) -> FalseAlarms:
        return false_alarms(
            flags=flags,
            predicted=clean.predicted,
            labels=clean.labels,
            class_names=self._pipeline.class_names,
            budget=budget,
            confidence=self._plan.confidence,
        )

    def _controls(
        self,
        clean: MeasuredImages,
        others: MeasuredImages,
        null: MeasuredImages,
        attacked: Sequence[MeasuredImages],
        noisy: Sequence[MeasuredImages],
    ) -> tuple[ControlResult, ...]:
        seed = self._plan.seed
        budget = self._plan.budgets[0]
        place = {image: row for row, image in enumerate(clean.image_ids.tolist())}
        same = np.array([place[image] for image in null.image_ids.tolist()])
        results: list[ControlResult] = []
        for contender in self._subject.contenders:
            before, after = contender.scores(clean)[same], contender.scores(null)
            negatives = contender.scores(others)
            found = np.concatenate([contender.scores(each)[each.success] for each in attacked])
            scores = np.concatenate([negatives, found])
            truth = np.arange(len(scores)) >= len(negatives)
            called = shuffled(truth, seed=seed)
            flagged = {
                each.attack: _share(contender.flags(each, [budget])[budget])
                for each in noisy
                if budget in contender.flags(each, [budget])
            }
            results += [
                null_control(negatives, after, subject=contender.name, seed=seed),
                identity_control(before, after, subject=contender.name),
                shuffle_control(scores, called, subject=contender.name, seed=seed),
                *noise_control(flagged, subject=contender.name),
            ]
        return tuple(results)

    def _few_shot(
        self, others: MeasuredImages, attacked: Sequence[MeasuredImages]
    ) -> tuple[FewShotPoint, ...]:
        labels = [part.attack for part in self._table.parts if part.split is SplitName.FIT]
        tested = {each.attack: each for each in attacked}
        if not self._plan.few_shot or not {*labels} & {*tested} & {_FEW_SHOT_ATTACK}:
            return ()
        bare = type(self._subject.ground.widest)(self._subject.ground.widest.path_scores)
        return few_shot(
            clean=measure_images(self._table, SplitName.FIT, statistics=bare),
            attacked=measure_images(self._table, SplitName.FIT, _FEW_SHOT_ATTACK, statistics=bare),
            test_clean=others,
            test_attacked=tested[_FEW_SHOT_ATTACK],
            counts=self._plan.few_shot,
            seeds=self._plan.seeds,
        )

    def _shifts(self, rows: PathTable, noisy: Sequence[MeasuredImages]) -> tuple[ShiftFigures, ...]:
        contender = self._default_contender()
        found = [self._shift(contender, each, each.attack, None) for each in noisy]
        for spec in self._plan.corruption_specs:
            measured = self._at_default_level(rows, spec.label)
            name, _, severity = spec.label.partition(":")
            found.append(self._shift(contender, measured, name, int(severity)))
        return tuple(found)

    def _at_default_level(self, rows: PathTable, label: str) -> MeasuredImages:
        """Corrupted images come with the copies of the default level alone."""
        contender = self._default_contender()
        narrow = type(self._subject.ground.widest)(
            self._subject.ground.widest.path_scores, contender.level.copies
        )
        measured = measure_images(rows, SplitName.TEST, label, statistics=narrow)
        wide = torch.full((len(measured), len(self._subject.ground.widest.names)), torch.nan)
        wide[:, contender.columns] = measured.statistics
        return measured.with_statistics(wide)

    def _shift(
        self, contender: Contender, measured: MeasuredImages, name: str, severity: int | None
    ) -> ShiftFigures:
        return ShiftFigures(
            name=name,
            severity=severity,
            level=contender.level.name.value,
            fusion=contender.fusion.value,
            accuracy=_share(measured.predicted == measured.labels),
            flagged=tuple(
                ShareAtBudget(budget=budget, share=_share(flags))
                for budget, flags in contender.flags(measured, self._plan.budgets).items()
            ),
        )

    def _adaptive(self) -> AdaptiveFigures | None:
        if not self._options.adaptive:
            return None
        return adaptive_figures(
            self._pipeline, self._splits.test, self._plan.adaptive, seed=self._plan.seed
        )

    def _default_contender(self) -> Contender:
        """The score that ships where a caller names no level."""
        level = self._pipeline.default_level
        fusion = self._shipped[level]
        for contender in self._subject.contenders:
            if (contender.level.name, contender.fusion) == (level, fusion):
                return contender
        raise DataError(
            f"The plan should evaluate what the bundle ships, {fusion} at {level}. "
            f"Found {', '.join(each.name for each in self._subject.contenders)}. "
            "Add it to the plan's levels and fusions."
        )

    def _check_same_detector(self) -> None:
        """What is evaluated has to be what ships, to the last calibration score."""
        for contender in self._subject.contenders:
            if contender.fusion is not self._shipped[contender.level.name]:
                continue
            shipped = self._pipeline.levels[contender.level.name].conformal.scores
            found = torch.from_numpy(contender.scores(self._subject.ground.calibration)).float()
            if len(shipped) != len(found) or not torch.allclose(
                shipped, found, rtol=1e-3, atol=1e-3
            ):
                raise DataError(
                    f"{self._options.table} should be the table that the bundle was calibrated "
                    f"with. Found other calibration scores at {contender.level.name}. "
                    "Give that table, and the training images that calibration used."
                )


def _attacked(
    measured: MeasuredImages,
    scores: NDArray[np.float64],
    flags: dict[float, NDArray[np.bool_]] | None = None,
) -> AttackedImages:
    return AttackedImages(
        attack=measured.attack,
        scores=scores,
        right_before=measured.right_before,
        success=measured.success,
        flags=flags or {},
    )


def _share(hits: NDArray[np.bool_]) -> Share:
    return Share.of(int(hits.sum()), len(hits))
