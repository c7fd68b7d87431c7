"""`offpath calibrate`: a thin door to the job."""

# ruff: noqa: PLC0415  # commands import late: help and errors should not wait for torch

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.engine_option import EngineName, EngineOption, chosen_engine
from service.offline_options import OutputOption, choice, local_path

if TYPE_CHECKING:
    from detector.jobs.copy_agreement import CopyAgreement

__all__ = ["calibrate"]

_CLASSIFIERS = "random-forest, adaboost, gradient-boosting"


def calibrate(
    *,
    table: Annotated[
        str, typer.Option(help="The path table, as extract writes it.", metavar="DIR|URI")
    ],
    network: Annotated[
        Path, typer.Option(help="The network that it was extracted with.", metavar="FILE")
    ],
    output: OutputOption,
    alpha: Annotated[float, typer.Option(help="False-alarm budget in (0, 1).")] = 0.05,
    confidence: Annotated[
        float, typer.Option(help="Probability in (0, 1) that the promise holds.")
    ] = 0.95,
    guarantee: Annotated[
        str,
        typer.Option(
            help="pac: this calibration keeps alpha, with the confidence. plain: the "
            "average one does."
        ),
    ] = "pac",
    fusion: Annotated[
        str,
        typer.Option(
            help="How statistics become one score. one-class: without any attack. learnt: by trees "
            "fitted on the table's attacks."
        ),
    ] = "one-class",
    classifier: Annotated[
        str, typer.Option(help=f"Which trees, where the fusion is learnt: {_CLASSIFIERS}.")
    ] = "gradient-boosting",
    level: Annotated[
        str | None,
        typer.Option(
            help="What a verdict may cost where the caller does not say: fast, standard, thorough. "
            "Default: standard where the table has copies (extract --copy)."
        ),
    ] = None,
    copy: Annotated[
        list[str] | None,
        typer.Option(
            help="Copy that levels look at, the standard level's first; may be repeated. Default: "
            "all that the table has."
        ),
    ] = None,
    folds: Annotated[
        int, typer.Option(min=0, help="Folds of the reported cross-validation; 0 for none.")
    ] = 3,
    seed: Annotated[int, typer.Option(help="Fixes classifier and folds.")] = 0,
    engine: EngineOption = EngineName.LOCAL,
    report: Annotated[
        Path | None,
        typer.Option(
            help="Folder, outside of the bundle, for a page that shows what the calibration is "
            "worth; see `offpath report`.",
            metavar="DIR",
            callback=local_path,
        ),
    ] = None,
) -> None:
    """Fit the detector on a path table, calibrate it, and write the bundle.

    The first of the table's copies serves the standard level, all of them the thorough one; those
    that do not leave clean predictions alone are dropped.
    """
    from detector.conformal import Guarantee
    from detector.copies import parse_copy
    from detector.jobs.calibrate import CalibrateOptions
    from detector.jobs.calibrate import calibrate as run
    from detector.jobs.calibration_report import ReportOptions, make_report, write_report
    from detector.path_table import place_of
    from detector.pipeline import LevelName
    from detector.scoring import FusionName
    from detector.scoring.classifiers import ClassifierName

    reported = None  # refused, if at all, before the long work
    if report is not None:
        reported = ReportOptions(table=place_of(table), output=report, bundle=output, seed=seed)
    result = run(
        CalibrateOptions(
            table=place_of(table),
            network=network,
            output=output,
            alpha=alpha,
            confidence=confidence,
            guarantee=choice(Guarantee, guarantee, "guarantee"),
            fusion=choice(FusionName, fusion, "fusion"),
            classifier=choice(ClassifierName, classifier, "classifier"),
            default_level=None if level is None else choice(LevelName, level, "level"),
            copies=None if copy is None else tuple(parse_copy(text).name for text in copy),
            folds=folds,
            seed=seed,
        ),
        engine=chosen_engine(engine, "cpu")[0],
    )
    for attack in result.attacks:
        typer.echo(
            f"{attack.attack}: {attack.images} images, AUROC {_figure(attack.auroc)}, "
            f"{_figure(attack.auroc_unseen)} if it is never seen in fitting"
        )
    for dropped in result.dropped:
        typer.echo(f"{dropped.copy}: dropped, {_why(dropped)}")
    for info in result.manifest.levels:
        looked_at = ", ".join(info.copies) or "no copies"
        passes = f"{1 + len(info.copies)} passes" if info.copies else "1 pass"
        typer.echo(f"{info.name}: {passes} ({looked_at})")
    typer.echo(f"Calibrated: {result.bundle} (digest {result.manifest.digest})")
    if reported is not None:
        typer.echo(f"Reported: {write_report(make_report(reported), reported.output)}")


def _why(dropped: CopyAgreement) -> str:
    """Why a copy is dropped: it does harm, or nobody knows that it does none."""
    from detector.jobs.copy_agreement import LEAST_AGREEMENT

    if dropped.share < LEAST_AGREEMENT:
        return f"as only {dropped.share:.1%} of clean images keep their class"
    return (
        f"as {dropped.agreeing} of {dropped.images} clean images keep their class, which are too "
        "few to tell; extract more fit images"
    )


def _figure(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"
