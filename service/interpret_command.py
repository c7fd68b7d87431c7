"""`offpath interpret`: a thin door to the job."""

# ruff: noqa: PLC0415  # commands import late: help and errors should not wait for torch

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from detector.errors import InvalidInputError
from service.offline_options import choice, local_path

if TYPE_CHECKING:
    from detector.jobs.interpretation import InterpretOptions

__all__ = ["interpret"]


def interpret(
    *,
    images: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Tell the stories of these images, each beside the first: a clean image and then "
            "its attacked twin. Without any, the whole network is interpreted.",
            metavar="IMAGE",
        ),
    ] = None,
    table: Annotated[
        str | None,
        typer.Option(
            help="Path table with clean images of --learn and --check.", metavar="DIR|URI"
        ),
    ] = None,
    network: Annotated[
        Path | None,
        typer.Option(
            help="The network that it was extracted with, as train writes it.", metavar="FILE"
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="The images that it was extracted from: without them no gates are closed to see "
            "what they cause. For images: shows the training images with the nearest paths.",
            metavar="PATH",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="JSON file to write, and a page beside it, FILE.html.",
            metavar="FILE.json",
            callback=local_path,
        ),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            help="For images: folder of a bundle. Default: the one inside the package.",
            metavar="DIR",
        ),
    ] = None,
    learn: Annotated[
        str, typer.Option(help="Split that probes and combinations are found with.")
    ] = "train",
    check: Annotated[
        str, typer.Option(help="Split that they are checked on, another one.")
    ] = "calibration",
    limit: Annotated[
        int,
        typer.Option(
            min=1,
            help="Most images of each split that are looked at more than once; memory goes with "
            "it, not with the size of the table.",
        ),
    ] = 20_000,
    group: Annotated[
        list[str] | None,
        typer.Option(
            help="A concept that several classes have, such as pet=cat,dog; repeat for more.",
            metavar="NAME=CLASS,...",
        ),
    ] = None,
    concepts: Annotated[
        Path | None,
        typer.Option(
            help="Concepts of single images: a CSV file with the header split,image,concept. An "
            "image has the concepts of its lines; a line without one says that it has none.",
            metavar="FILE.csv",
        ),
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(
            help="Where concepts are in images: a CSV file with the header image,mask,concept. An "
            "image is the index of one of --data's --check split or a file, a mask a PNG file of "
            "its size, black where the concept is not; needs --data.",
            metavar="FILE.csv",
        ),
    ] = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(
            help="Probe, map and combine the gates of this layer alone, such as layer3.2.conv1; "
            "repeat for several, which are then also probed together. Default: all layers.",
            metavar="LAYER",
        ),
    ] = None,
    most_gates: Annotated[
        int, typer.Option(min=1, help="Gates or filters of the largest combination.")
    ] = 12,
    seed: Annotated[int, typer.Option(help="Fixes all that is random.")] = 0,
    device: Annotated[
        str, typer.Option(help="Where the network runs: cpu, cuda, cuda:1, or auto.")
    ] = "auto",
) -> None:
    """Say what the paths of a network mean: layer by layer, concept by concept, image by image.

    What a linear probe reads off each layer's gates; how far classes lie from each other; the
    smallest combination of gates that stands for each class and concept, beside the best single
    gate; and what the network loses when these gates are closed, beside random ones. With --data,
    gates that images hang on are preferred in combinations, as far as they tell of them. With
    masks, which filters, alone and together, are lit where a concept is in an image.
    """
    if output is not None and output.suffix == ".html":
        raise InvalidInputError(
            f"--output should be a JSON file; the page is written beside it. Found {output}.",
            field="output",
        )
    if images:
        if any(given is not None for given in (table, network, group, concepts, masks, layer)):
            raise InvalidInputError(
                "Images should be given without --table, --network, --group, --concepts, --masks "
                "and --layer, which are for whole networks. Found both. Leave one out.",
                field="image",
            )
        _tell(images, data, bundle=bundle, output=output, device=device)
        return
    if table is None or network is None or output is None:
        raise InvalidInputError(
            "Either images should be given, or --table, --network and --output. Found neither. "
            "Options: offpath interpret --help",
            field="table",
        )
    from detector.jobs.interpretation import InterpretOptions
    from detector.path_table import SplitName

    options = InterpretOptions(
        learn=choice(SplitName, learn, "learn"),
        check=choice(SplitName, check, "check"),
        limit=limit,
        layers=tuple(layer or ()),
        most_gates=most_gates,
        groups=tuple(group or ()),
        concepts=concepts,
        masks=masks,
        seed=seed,
    )
    _interpret(table, network, data, output, options, device=device)


def _interpret(
    table: str,
    network: Path,
    data: Path | None,
    output: Path,
    options: InterpretOptions,
    *,
    device: str,
) -> None:
    """The whole network."""
    from detector.data import load_splits
    from detector.jobs.interpretation import interpret as run
    from detector.jobs.interpretation.page import page
    from detector.path_table import PathTable, place_of
    from detector.storage import atomic_path
    from detector.weights import load_network
    from service.devices import chosen_device
    from service.interpretation_tables import interpretation_lines

    trained, info = load_network(network)
    found = run(
        PathTable(place_of(table)),
        trained.to(chosen_device(device)),
        options,
        splits=None if data is None else load_splits(data, preprocessing=info.preprocessing),
    )
    found.write(output)
    shown = output.with_suffix(".html")
    with atomic_path(shown) as temporary:
        temporary.write_text(page(found), encoding="utf-8")
    console = Console()
    for line in interpretation_lines(found):
        console.print(line)
    typer.echo(f"Interpreted: {output} and {shown}")


def _tell(
    images: Sequence[Path],
    data: Path | None,
    *,
    bundle: Path | None,
    output: Path | None,
    device: str,
) -> None:
    """The stories of some images."""
    import torch

    from detector.bundle import load_bundle
    from detector.data import load_splits
    from detector.jobs.interpretation.page import story_page
    from detector.jobs.interpretation.story import near_images, tell_stories
    from detector.storage import atomic_path
    from service.devices import chosen_device
    from service.interpretation_tables import story_lines
    from service.local import read_image

    pipeline = load_bundle(bundle, device=chosen_device(device)).pipeline
    side = pipeline.preprocessing
    pixels = torch.stack([read_image(path, side) for path in images])
    stories = tell_stories(pipeline, pixels)
    names = [str(path) for path in images]
    console = Console()
    for name, story in zip(names, stories, strict=True):
        for line in story_lines(name, story):
            console.print(line)
    if output is None:
        return
    near = {}
    if data is not None:
        near = near_images(stories, load_splits(data, preprocessing=side))
    told = [{"image": name, **story.to_json()} for name, story in zip(names, stories, strict=True)]
    shown = output.with_suffix(".html")
    with atomic_path(output) as temporary:
        temporary.write_text(json.dumps(told, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    with atomic_path(shown) as temporary:
        temporary.write_text(story_page(stories, names, pixels, near), encoding="utf-8")
    typer.echo(f"Interpreted: {output} and {shown}")
