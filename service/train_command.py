"""`offpath train`: a thin door to the job."""

# ruff: noqa: PLC0415  # commands import late: help and errors should not wait for torch

from __future__ import annotations

from typing import Annotated

import typer

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

__all__ = ["train"]

_BACKBONES = (
    "cifar-resnet20, cifar-wide-resnet8, cifar-resnet56, cifar-vgg19-bn, cifar-googlenet, "
    "resnet18, resnet34, resnet50, vgg16, vgg16-bn, googlenet"
)


def train(
    *,
    data: DataOption,
    output: OutputOption,
    preset: PresetOption = "resnet20-cifar10",
    backbone: Annotated[
        str | None, typer.Option(help=f"Network: {_BACKBONES}. Default: the recipe's.")
    ] = None,
    plain_epochs: Annotated[
        int | None,
        typer.Option(
            min=1, help="Epochs of the plain network. Default: the recipe's; none with --weights."
        ),
    ] = None,
    decoupled_epochs: DecoupledEpochsOption = None,
    settled_epochs: SettledEpochsOption = None,
    batch_size: BatchSizeOption = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="Trained plain network to start from: a state dict (.safetensors, .pt) or a name "
            "of torchvision, such as ResNet18_Weights.IMAGENET1K_V1. It is trained further only "
            "where --plain-epochs says for how long, and needs to be where it knows another "
            "number of classes."
        ),
    ] = None,
    input_size: Annotated[
        int | None,
        typer.Option(
            min=8,
            help="Height and width of what the network reads, pixels; images of other sizes are "
            "resized and cropped. Default: 32 for .npz files and CIFAR-10, 224 for folders.",
        ),
    ] = None,
    robust: Annotated[
        bool,
        typer.Option(
            "--robust",
            help="Train on images that are attacked at each step (PGD, 8/255, if the recipe has no "
            "attack of its own): takes up to four times as long, and gives up accuracy on clean "
            "images for some on attacked ones.",
        ),
    ] = False,
    open_share: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Share of the gates that shall stay open: less costs less time and some accuracy. "
            "Default: the recipe's.",
        ),
    ] = None,
    gate_margin: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Weight of a loss that keeps gate logits half a unit or more away from zero. "
            "Default: the recipe's, which is none.",
        ),
    ] = None,
    copy_consistency: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Weight of a loss that keeps classes and gates the same when an image moves by "
            "one pixel. Default: the recipe's, which is none.",
        ),
    ] = None,
    seed: TrainingSeedOption = 0,
    bf16: Bf16Option = False,
    compiled: CompileOption = False,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read images ahead.")] = 0,
    checkpoint_every_s: Annotated[
        float, typer.Option(min=1.0, help="Longest time between two checkpoints, seconds.")
    ] = 120.0,
    stop_after_steps: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many steps of this run.")
    ] = None,
) -> None:
    """Train a network, plain first, then decoupled.

    Stopped at any point, the same command continues.
    """
    from detector.data import load_splits
    from detector.decoupling import Backbone
    from detector.decoupling.recipes import Preset, recipe_of
    from detector.jobs.train import TrainingOptions
    from detector.jobs.train import train as run

    recipe = recipe_of(choice(Preset, preset, "preset")).shortened(
        plain_epochs=plain_epochs,
        decoupled_epochs=decoupled_epochs,
        settled_epochs=settled_epochs,
    )
    if backbone is not None:
        recipe = recipe.with_backbone(choice(Backbone, backbone, "backbone"))
    if batch_size is not None:
        recipe = recipe.with_batch_size(batch_size)
    if robust and recipe.hardening is None:
        recipe = recipe.hardened()
    if open_share is not None:
        recipe = recipe.with_open_share(open_share)
    if gate_margin is not None:
        recipe = recipe.with_gate_margin(gate_margin)
    if copy_consistency is not None:
        recipe = recipe.with_copy_consistency(copy_consistency)
    options = TrainingOptions(
        output=output,
        seed=seed,
        precision="bf16" if bf16 else "no",
        compiled=compiled,
        workers=workers,
        checkpoint_every_s=checkpoint_every_s,
        initial_weights=None if weights is None else initial_weights(weights),
        train_further=plain_epochs is not None,
        input_size=input_size,
        stop_after_steps=stop_after_steps,
    )
    result = run(load_splits(data), recipe, options)
    if result.finished:
        typer.echo(f"Trained: {result.network} (and the plain network, {result.plain})")
    else:
        typer.echo("Stopped before the end; the same command continues.")
