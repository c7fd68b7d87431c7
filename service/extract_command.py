"""`offpath extract`: a thin door to the job."""

# ruff: noqa: PLC0415  # commands import late: help and errors should not wait for torch

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.engine_option import EngineName, EngineOption, chosen_engine
from service.offline_options import DataOption, choice

__all__ = ["extract"]

_COPIES = (
    "flip, shift:left (right, up, down), half-shift:left (likewise), scale:0.75, median:3, bits:5, "
    "jpeg:75"
)
_CORRUPTIONS = (
    "gaussian-noise, shot-noise, impulse-noise, defocus-blur, glass-blur, motion-blur, zoom-blur, "
    "snow, frost, fog, brightness, contrast, elastic-transform, pixelate, jpeg-compression, resize"
)


def extract(
    *,
    data: DataOption,
    network: Annotated[
        Path,
        typer.Option(
            help="The network's file, as train writes it. A plain one is looked at with all its "
            "gates open, for comparison; nothing can be calibrated with it.",
            metavar="FILE",
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            help="Folder for the table, here or in object storage, as s3://bucket/paths.",
            metavar="DIR|URI",
        ),
    ],
    split: Annotated[
        list[str], typer.Option(help="train, fit, calibration or test; repeat for more.")
    ],
    attack: Annotated[
        list[str] | None,
        typer.Option(
            help="What is done to the images beside nothing at all, such as fgsm:8/255, "
            "pgd:eps=8/255,steps=20, square:8/255, ddn or cw-l2, noise such as noise-sign:8/255, "
            "or a corruption with its severity in 1..5, such as fog:3; repeat for more. "
            f"Corruptions: {_CORRUPTIONS}."
        ),
    ] = None,
    copy: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Copies of the images, clean and attacked, to look at beside them: {_COPIES}; "
            "repeat for more. Best named from the start: attacked images are not kept, so that "
            "copies added to a table later cost the attack once more. Copies that a table has "
            "already are made of new images too.",
            metavar="NAME",
        ),
    ] = None,
    attack_through: Annotated[
        Path | None,
        typer.Option(
            help="Another network's file, plain or decoupled: the attacks of this run are made on "
            "it and judged on --network (transfer). The table names them pgd:8/255@, followed by "
            "the beginning of its digest.",
            metavar="FILE",
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Most images of each split. Default: all.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images the network sees at once.")] = 100,
    shard_size: Annotated[
        int, typer.Option(min=1, help="Images of one file; a stop loses at most so many.")
    ] = 500,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda or cuda:1; auto takes a GPU where there is one.")
    ] = "auto",
    seed: Annotated[int, typer.Option(help="Fixes what is random in the attacks.")] = 0,
    engine: EngineOption = EngineName.LOCAL,
) -> None:
    """Write the paths of clean and attacked images to a table.

    Stopped at any point, the same command continues and skips what is there.
    """
    from detector.attacks import AttackSpec
    from detector.copies import parse_copy
    from detector.data import load_splits
    from detector.jobs.extract import ExtractOptions
    from detector.jobs.extract import extract as run
    from detector.jobs.held_out import check_held_out
    from detector.jobs.surrogate import Surrogate
    from detector.path_table import SplitName, place_of
    from detector.weights import load_gated

    runs_on, here = chosen_engine(engine, device)
    options = ExtractOptions(
        output=place_of(output),
        splits=tuple(choice(SplitName, name, "split") for name in split),
        attacks=tuple(AttackSpec.parse(text) for text in attack or ()),
        copies=tuple(parse_copy(text) for text in copy or ()),
        limit=limit,
        batch_size=batch_size,
        shard_size=shard_size,
        device=here,
        seed=seed,
    )
    trained, info = load_gated(network)
    surrogate = None if attack_through is None else Surrogate.load(attack_through)
    splits = load_splits(data, preprocessing=info.preprocessing)
    check_held_out(info, splits, options.splits)
    run(trained, splits, options, surrogate=surrogate, engine=runs_on)
    typer.echo(f"Extracted: {output}")
    if surrogate is not None:
        typer.echo(f"Attacks through {attack_through} end in @{surrogate.label}")
