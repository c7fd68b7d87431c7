"""`offpath cost`: a thin door to the job."""

# ruff: noqa: PLC0415  # commands import late: help and errors should not wait for torch

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from detector.errors import InvalidInputError
from service.offline_options import DataOption, choice

__all__ = ["cost"]


def cost(
    *,
    data: DataOption,
    bundle: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the bundle whose network is counted. Default: the one inside the "
            "package.",
            metavar="DIR",
        ),
    ] = None,
    network: Annotated[
        Path | None,
        typer.Option(
            help="Count this network instead, as train writes it: it needs no bundle yet.",
            metavar="FILE",
        ),
    ] = None,
    split: Annotated[
        str,
        typer.Option(help="Split of the images: train, fit, calibration or test."),
    ] = "test",
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Most images, drawn as extract draws them. Default: all."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    device: Annotated[
        str, typer.Option(help="Where the network runs: cpu, cuda, cuda:1, or auto.")
    ] = "auto",
) -> None:
    """Count what closed filters spare: multiplications (MACs) per image, layer by layer.

    By the rule of the paper: a convolution multiplies its open input channels with its open output
    channels; one that reads a sum, as behind a shortcut, reads all. What the modules cost that open
    and close them is counted as well. It is a count, not a time: how much of it a machine saves
    depends on how it skips what is closed, which offpath serve measures as it starts, and logs.
    """
    if bundle is not None and network is not None:
        raise InvalidInputError(
            "A bundle's network should be counted, or another one. Found --bundle and --network. "
            "Leave one out.",
            field="network",
        )
    from detector.bundle import load_bundle
    from detector.data import load_splits
    from detector.jobs.cost import CostOptions, measure_cost
    from detector.path_table import SplitName
    from detector.weights import load_gated
    from service.cost_tables import cost_lines
    from service.devices import chosen_device

    options = CostOptions(split=choice(SplitName, split, "split"), limit=limit)
    where = chosen_device(device)
    if network is None:
        pipeline = load_bundle(bundle, device=where).pipeline
        counted, side = pipeline.network, pipeline.preprocessing
    else:
        gated, info = load_gated(network)
        counted, side = gated.to(where), info.preprocessing
    found = measure_cost(counted, load_splits(data, preprocessing=side), options)
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=2))
        return
    console = Console()
    for line in cost_lines(found):
        console.print(line)
