"""`offpath evaluate`: a thin door to the job."""

# ruff: noqa: PLC0415  # commands import late: help and errors should not wait for torch

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from detector.errors import InvalidInputError
from service.engine_option import EngineName, EngineOption, chosen_engine
from service.offline_options import DataOption, OutputOption

__all__ = ["evaluate"]


def evaluate(
    *,
    data: DataOption,
    table: Annotated[
        str,
        typer.Option(help="The path table that the bundle was calibrated with.", metavar="DIR|URI"),
    ],
    output: OutputOption,
    bundle: Annotated[
        Path | None, typer.Option(help="Folder of the bundle. Default: the bundled one.")
    ] = None,
    plan: Annotated[
        Path | None,
        typer.Option(
            help="What is evaluated, a TOML file. Default: the plan of the bundled default's model "
            "card.",
            metavar="FILE",
        ),
    ] = None,
    plain_network: Annotated[
        Path | None,
        typer.Option(
            help="The network before decoupling, as train writes it: measure the same scores on it "
            "too, under attacks of its own. Needs --plain-table.",
            metavar="FILE",
        ),
    ] = None,
    plain_table: Annotated[
        str | None,
        typer.Option(
            help="Path table extracted with it, of the same images and copies as --table; attacks "
            "are not needed.",
            metavar="DIR|URI",
        ),
    ] = None,
    attack_through: Annotated[
        list[Path] | None,
        typer.Option(
            help="Another network's file, plain or decoupled: the plan's transfer attacks are made "
            "on it and judged on the bundle's network; repeat for more.",
            metavar="FILE",
        ),
    ] = None,
    adaptive: Annotated[
        bool,
        typer.Option("--adaptive", help="Let attackers loose on it who know the detector. Slow."),
    ] = False,
    released: Annotated[
        Path | None,
        typer.Option(
            help="report.json of the last released bundle: fail where a figure fell against it.",
            metavar="FILE",
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(help="Where the network runs: cpu, cuda, cuda:1, or auto.")
    ] = "auto",
    engine: EngineOption = EngineName.LOCAL,
) -> None:
    """Measure a bundle on test images: attacks, baselines, false alarms, natural shift, controls.

    The report is JSON, with tables (report.md) and plots made from it. A control that breaks fails
    the run, and so do attackers who know the detector where none passes the checks of its health.
    Stopped at any point, the same command continues.
    """
    from detector.data import load_splits
    from detector.jobs.evaluation import DEFAULT_PLAN, EvaluateOptions, EvaluationPlan, PlainTwin
    from detector.jobs.evaluation import evaluate as run
    from detector.path_table import place_of

    plain = None
    if plain_network is not None and plain_table is not None:
        plain = PlainTwin(network=plain_network, table=place_of(plain_table))
    elif plain_network is not None or plain_table is not None:
        raise InvalidInputError(
            "--plain-network and --plain-table should be given together. Found one of them. "
            "Give both, or neither.",
            field="plain-network",
        )
    runs_on, here = chosen_engine(engine, device)
    options = EvaluateOptions(
        plan=EvaluationPlan.read(plan or DEFAULT_PLAN),
        table=place_of(table),
        output=output,
        bundle=bundle,
        plain=plain,
        through=tuple(attack_through or ()),
        released=released,
        adaptive=adaptive,
        device=here,
    )
    report = run(load_splits(data), options, engine=runs_on)
    for level in report.levels:
        for fusion in level.fusions:
            worst, mean = fusion.worst, fusion.mean_auroc
            if worst is not None and mean is not None:
                typer.echo(
                    f"{level.level}, {fusion.name}: AUROC {mean.value:.3f} on average, "
                    f"{worst.auroc.value:.3f} at worst ({worst.attack})"
                )
    for check in report.adaptive.failed if report.adaptive else ():
        typer.echo(f"Warning, attack not believed: {check.name}: {check.finding}", err=True)
    typer.echo(f"Evaluated: {output / 'report.md'}")
