"""Evaluate: a bundle under a plan, resumable, with controls that can fail the run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from detector.bundle import Bundle, load_bundle
from detector.data import Splits
from detector.errors import InvalidInputError
from detector.jobs.engines import Engine
from detector.jobs.evaluation.adaptive import adaptive_figures
from detector.jobs.evaluation.adaptive_belief import require_believable
from detector.jobs.evaluation.attacked_rows import RowsWanted, extract_rows
from detector.jobs.evaluation.control_run import run_controls
from detector.jobs.evaluation.controls import ControlResult, require_controls
from detector.jobs.evaluation.costs import level_cost
from detector.jobs.evaluation.estimates import Share
from detector.jobs.evaluation.fewer import calibration_sizes, few_shot_on
from detector.jobs.evaluation.left_out import left_out_cells
from detector.jobs.evaluation.measured_rows import MeasuredRows
from detector.jobs.evaluation.plain_network import PlainNetwork, PlainTwin
from detector.jobs.evaluation.plan import EvaluationPlan
from detector.jobs.evaluation.plots import write_plots
from detector.jobs.evaluation.release_gate import require_promotion
from detector.jobs.evaluation.report import EvaluationReport
from detector.jobs.evaluation.report_sections import (
    AdaptiveFigures,
    LevelFigures,
    PlainNetworkFigures,
)
from detector.jobs.evaluation.scored import baseline_figures, contender_figures
from detector.jobs.evaluation.shifts import shift_figures
from detector.jobs.evaluation.shipped import (
    recipe_of,
    require_same_classes,
    require_same_detector,
    require_same_network,
    shipped_contender,
)
from detector.jobs.evaluation.subject import Subject
from detector.jobs.evaluation.tables import write_tables
from detector.jobs.evaluation.transfer import load_surrogates, transfer_figures
from detector.jobs.provenance import provenance
from detector.path_table import PathTable, Place, SplitName
from detector.pipeline import LevelName

__all__ = ["EvaluateOptions", "evaluate"]

_COST_IMAGES = 320


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateOptions:
    """What is evaluated, and where to.

    Args:
        plan: The plan, frozen.
        table: Path table that the bundle was calibrated with: train, fit and calibration images,
            attacks on fit images.
        output: Folder for the rows, the report, its tables and its plots.
        bundle: Folder of the bundle; the one that comes with the package by default.
        plain: The network before decoupling, to be measured beside it; none by default.
        through: Files of other networks, plain or decoupled, on which the plan's transfer attacks
            are made; none by default, which leaves them out.
        released: Report of the last released bundle: where it is given, figures that fell against
            it fail the run.
        adaptive: Whether attackers who know the detector are let loose on it as well.
        device: Where the network runs, as torch names it.

    Raises:
        InvalidInputError: If there are such networks and the plan has no attack to make on them.
    """

    plan: EvaluationPlan
    table: Place
    output: Path
    bundle: Path | None = None
    plain: PlainTwin | None = None
    through: tuple[Path, ...] = ()
    released: Path | None = None
    adaptive: bool = False
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.through and not self.plan.transfer:
            raise InvalidInputError(
                f"The plan {self.plan.name} should name attacks that are made on other networks. "
                "Found none in its field transfer. Name some there, or give no network to make "
                "them on (--attack-through).",
                field="transfer",
            )


def evaluate(
    splits: Splits, options: EvaluateOptions, *, engine: Engine | None = None
) -> EvaluationReport:
    """Measure a bundle under a plan and write ``report.json``, ``report.md`` and plots.

    Nothing is chosen on the test split: the plan is frozen, its digest stands in the report, and
    thresholds come from calibration images alone. Attacked rows that an earlier run left are used.

    Args:
        splits: The data set; its images are prepared as the bundle says.
        options: What is evaluated.
        engine: Where images are attacked and looked at; here by default. Attackers who know the
            detector stay here.

    Raises:
        DataError: If table, data set and bundle do not belong together.
        InvalidInputError: If the plan names what does not exist, or leaves out what ships.
        BundleError: If the bundle cannot be loaded.
        StorageError: If something cannot be written.
        AttackError: If attackers find no fit image of some class to imitate.
        ControlError: If a control broke, or no attacker who knows the detector is strong enough to
            be believed; the report is written by then.
        GateError: If a figure fell against the released report; likewise.
    """
    bundle = load_bundle(options.bundle, device=options.device)
    released = None if options.released is None else EvaluationReport.read(options.released)
    prepared = replace(splits, preprocessing=bundle.pipeline.preprocessing)
    report = _Evaluation(bundle, prepared, options, engine).report()
    report.write(options.output / "report.json")
    write_tables(report, options.output / "report.md")
    write_plots(report, options.output / "plots")
    require_controls(report.controls)
    require_believable(report.adaptive)
    if released is not None:
        require_promotion(released, report)
    return report


class _Evaluation:
    """One run."""

    def __init__(
        self, bundle: Bundle, splits: Splits, options: EvaluateOptions, engine: Engine | None
    ) -> None:
        plan = options.plan
        self._bundle = bundle
        self._pipeline = bundle.pipeline
        self._splits = splits
        self._options = options
        self._engine = engine
        self._plan = plan
        self._table = PathTable(options.table)
        require_same_classes(splits, bundle.pipeline.class_names)
        require_same_network(self._table, bundle)
        self._surrogates = load_surrogates(options.through, bundle.pipeline.network, splits)
        if plan.few_shot:
            self._table.part(SplitName.FIT, plan.few_shot_attack)
        self._recipe = recipe_of(bundle, plan)
        self._subject = Subject.of(self._table, self._recipe, plan.baselines)
        require_same_detector(self._subject, bundle, self._table)
        self._shipped = shipped_contender(self._subject, bundle)
        twin = options.plain
        self._plain = None if twin is None else PlainNetwork.of(twin, self._recipe, plan)
        if self._plain is not None:
            require_same_classes(splits, self._plain.info.class_names)

    def report(self) -> EvaluationReport:
        """All figures."""
        plan, subject, shipped = self._plan, self._subject, self._shipped
        rows = self._rows()
        test = MeasuredRows.of(subject, rows, plan)
        plain, plain_controls = self._beside_plain()
        right = test.clean.predicted == test.clean.labels
        return EvaluationReport(
            plan_name=plan.name,
            plan_digest=plan.digest,
            plan=plan.as_json(),
            bundle_digest=self._bundle.manifest.digest,
            provenance=self._provenance(),
            accuracy=Share.of(int(right.sum()), len(right), confidence=plan.confidence),
            levels=tuple(self._level(level, test) for level in self._recipe.levels),
            controls=(*run_controls(subject, test, plan), *plain_controls),
            baselines=tuple(baseline_figures(name, subject, test, plan) for name in plan.baselines),
            left_out=left_out_cells(subject, plan, test),
            few_shot=few_shot_on(self._table, subject.ground.widest.path_scores, test, plan),
            calibration_sizes=calibration_sizes(
                shipped,
                test.clean,
                sizes=plan.calibration_sizes,
                budgets=plan.budgets,
                seed=plan.seed,
            ),
            shifts=tuple(shift_figures(shipped, test, rows, plan)),
            transfer=transfer_figures(self._surrogates, subject, rows, test, plan),
            adaptive=self._adaptive(),
            plain_network=plain,
        )

    def _rows(self) -> PathTable:
        wanted = RowsWanted(
            plan=self._plan,
            copies=self._subject.copies,
            shift_copies=self._shipped.level.copies,
            surrogates=self._surrogates,
        )
        folder = self._options.output / "paths"
        return extract_rows(
            self._pipeline.network,
            self._splits,
            wanted,
            folder,
            device=self._options.device,
            engine=self._engine,
        )

    def _level(self, level: LevelName, test: MeasuredRows) -> LevelFigures:
        shown = range(min(_COST_IMAGES, len(self._splits.test)))
        images = self._splits.test.read(shown, self._pipeline.preprocessing)
        return LevelFigures(
            level=level.value,
            copies=self._recipe.levels[level],
            cost=level_cost(self._pipeline, level, images),
            fusions=tuple(
                contender_figures(each, test, self._plan, self._pipeline.class_names)
                for each in self._subject.contenders
                if each.level.name is level
            ),
        )

    def _beside_plain(self) -> tuple[PlainNetworkFigures | None, tuple[ControlResult, ...]]:
        if self._plain is None:
            return None, ()
        folder = self._options.output / "plain-paths"
        return self._plain.measure(
            self._splits,
            self._plan,
            folder,
            device=self._options.device,
            engine=self._engine,
        )

    def _adaptive(self) -> AdaptiveFigures | None:
        if not self._options.adaptive:
            return None
        return adaptive_figures(
            self._bundle,
            self._splits,
            self._plan.adaptive,
            self._options.output / "adaptive",
            seed=self._plan.seed,
        )

    def _provenance(self) -> dict[str, object]:
        plain = self._options.plain
        tables = {"table": self._table.digest()}
        if plain is not None:
            tables["plain_table"] = PathTable(plain.table).digest()
        return provenance(**tables, device=self._options.device)
