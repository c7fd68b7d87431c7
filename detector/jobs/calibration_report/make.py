"""Makes the report of a calibration from its bundle and its path table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from detector.bundle import DEFAULT_BUNDLE, Bundle, load_bundle
from detector.errors import InvalidInputError
from detector.jobs.calibration_report.bench import bench_of
from detector.jobs.calibration_report.card import model_card
from detector.jobs.calibration_report.curves import few_shot_points, size_points
from detector.jobs.calibration_report.detection import level_report
from detector.jobs.calibration_report.page import page
from detector.jobs.calibration_report.paths import layer_gates, path_maps
from detector.jobs.calibration_report.report import CalibrationReport
from detector.jobs.calibration_report.rows import TableRows
from detector.jobs.evaluation.shipped import require_same_network
from detector.path_table import PathTable, Place
from detector.scoring import Statistics
from detector.storage import atomic_path

__all__ = ["BUDGETS", "HTML_FILE", "JSON_FILE", "ReportOptions", "make_report", "write_report"]

BUDGETS: Final = (0.05, 0.01, 0.001)
"""False-alarm budgets of every report, beside the bundle's own."""

HTML_FILE: Final = "calibration.html"
JSON_FILE: Final = "calibration.json"
_FOLDS: Final = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportOptions:
    """What a report is made from, and where to.

    Args:
        table: Folder of the path table that the bundle was calibrated with; a test split and
            attacks may have been added since.
        output: Folder for the report.
        bundle: Folder of the bundle; by default the one that comes with the package.
        few_shot: Images of each class that classifiers on path bits learn from; none leaves that
            curve out.
        seed: Seed of folds, draws and resamples.

    Raises:
        InvalidInputError: If the report would lie within the bundle, which holds nothing else.
    """

    table: Place
    output: Path
    bundle: Path | None = None
    few_shot: tuple[int, ...] = (1, 2, 5, 10, 20, 50)
    seed: int = 0

    def __post_init__(self) -> None:
        folder = (self.bundle or DEFAULT_BUNDLE).resolve()
        if self.output.resolve().is_relative_to(folder):
            raise InvalidInputError(
                f"The report should lie outside of the bundle {self.bundle or DEFAULT_BUNDLE}, "
                f"which holds nothing that it does not load. Found {self.output}. "
                "Choose a folder beside it.",
                field="report",
            )


def make_report(options: ReportOptions) -> CalibrationReport:
    """Measure what a calibration is worth, as far as its own table can tell.

    Memory is that of statistics and bits of all images but those of the train split.

    Args:
        options: What it is made from.

    Raises:
        BundleError: If the bundle cannot be used.
        CalibrationError: If a fold of the fit split leaves too little to fit a fusion on.
        DataError: If the table cannot be used, or is not that of the bundle.
    """
    bundle = load_bundle(options.bundle)
    table = PathTable(options.table)
    require_same_network(table, bundle)
    rows = TableRows.read(table, _widest(bundle))
    names = bundle.manifest.class_names
    budgets = tuple(sorted({*BUDGETS, bundle.manifest.alpha}, reverse=True))
    benches = {
        name: bench_of(level, rows, bundle, folds=_FOLDS, seed=options.seed)
        for name, level in bundle.pipeline.levels.items()
    }
    calibration, layout = rows.calibration, bundle.manifest.layout
    default = benches[bundle.pipeline.default_level]
    return CalibrationReport(
        card=model_card(options.bundle or DEFAULT_BUNDLE, bundle.manifest, budgets),
        class_names=names,
        sources=rows.sources(_FOLDS),
        budgets=budgets,
        levels=tuple(
            level_report(bench, name.value, names, budgets, seed=options.seed)
            for name, bench in benches.items()
        ),
        gates=layer_gates(calibration.bits, layout),
        paths=path_maps(calibration.bits, calibration.predicted, layout, len(names)),
        few_shot=few_shot_points(rows, options.few_shot, seed=options.seed),
        sizes=size_points(default, bundle.manifest.alpha, seed=options.seed),
    )


def write_report(report: CalibrationReport, folder: Path) -> Path:
    """Write a report as JSON and as a page that needs nothing else.

    Args:
        report: The report.
        folder: Where to; made where it is not there.

    Returns:
        The page.

    Raises:
        StorageError: If a file cannot be written.
    """
    report.write(folder / JSON_FILE)
    with atomic_path(folder / HTML_FILE) as temporary:
        temporary.write_text(page(report), encoding="utf-8")
    return folder / HTML_FILE


def _widest(bundle: Bundle) -> Statistics:
    """Scores of the path and of all copies that some level looks at."""
    levels = bundle.pipeline.levels.values()
    copies = tuple(dict.fromkeys(copy for level in levels for copy in level.copies))
    return Statistics(next(iter(levels)).suspicion.statistics.path_scores, copies)
