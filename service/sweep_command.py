"""`offpath sweep`: a thin door to the job."""

# ruff: noqa: PLC0415  # commands import late: help and errors should not wait for torch

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from service.initial_weights import initial_weights
from service.offline_options import (
    BatchSizeOption,
    Bf16Option,
    CompileOption,
    DataOption,
    DecoupledEpochsOption,
    OutputOption,
    PresetOption,
    SettledEpochsOption,
    TrainingSeedOption,
    choice,
)

__all__ = ["sweep"]


def sweep(
    *,
    data: DataOption,
    output: OutputOption,
    open_share: Annotated[
        list[float] | None,
        typer.Option(
            help="Share of the gates that shall stay open in one network, from 0 to 1; repeat for "
            "more. Default: 1, 0.8, 0.6, 0.5, 0.4 and 0.3.",
        ),
    ] = None,
    preset: PresetOption = "resnet20-cifar10",
    weights: Annotated[
        str | None,
        typer.Option(
            help="Trained plain network that all of them start from: a state dict (.safetensors, "
            ".pt) or a name of torchvision. Default: the first one trains it."
        ),
    ] = None,
    decoupled_epochs: DecoupledEpochsOption = None,
    settled_epochs: SettledEpochsOption = None,
    batch_size: BatchSizeOption = None,
    seed: TrainingSeedOption = 0,
    bf16: Bf16Option = False,
    compiled: CompileOption = False,
    device: Annotated[
        str,
        typer.Option(
            help="Where images are attacked and looked at: cpu, cuda, cuda:1, or auto. Times are "
            "taken on one thread of the CPU."
        ),
    ] = "auto",
) -> None:
    """Train the same network for several shares of open gates, and say what closing them costs.

    For each: accuracy, multiplications kept, time of an image, and how well attacks are still
    found. Each is trained and measured in DIR/open-SHARE; stopped at any point, the same command
    continues. What is found stands in DIR/sweep.json and, as a page, in DIR/sweep.html.
    """
    from detector.data import load_splits
    from detector.decoupling.recipes import Preset, recipe_of
    from detector.jobs.sparsity_sweep import STANDARD_SHARES, SweepOptions
    from detector.jobs.sparsity_sweep import sweep as run
    from detector.jobs.train import TrainingOptions
    from service.devices import chosen_device
    from service.sweep_tables import sweep_lines

    recipe = recipe_of(choice(Preset, preset, "preset")).shortened(
        decoupled_epochs=decoupled_epochs, settled_epochs=settled_epochs
    )
    if batch_size is not None:
        recipe = recipe.with_batch_size(batch_size)
    options = SweepOptions(
        training=TrainingOptions(
            output=output,
            seed=seed,
            precision="bf16" if bf16 else "no",
            compiled=compiled,
            initial_weights=None if weights is None else initial_weights(weights),
        ),
        shares=tuple(open_share or STANDARD_SHARES),
        device=str(chosen_device(device)),
    )
    found = run(load_splits(data), recipe, options)
    console = Console()
    for line in sweep_lines(found):
        console.print(line)
    typer.echo(f"Swept: {output / 'sweep.json'} and {output / 'sweep.html'}")
