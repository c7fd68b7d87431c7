"""Sweep: one network for each target share of open gates, trained and measured alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from detector.data import Splits
from detector.decoupling.recipes import Recipe
from detector.errors import DataError
from detector.fingerprints import network_digest
from detector.jobs.evaluation.estimates import Share
from detector.jobs.provenance import provenance
from detector.jobs.sparsity_sweep.documents import sweep_markdown, write_plot
from detector.jobs.sparsity_sweep.measure import measure_network
from detector.jobs.sparsity_sweep.options import SweepOptions
from detector.jobs.sparsity_sweep.page import page
from detector.jobs.sparsity_sweep.report import MeasuredNetwork, NetworkFigures, SweepReport
from detector.jobs.train import train
from detector.storage import atomic_path, sole_writer
from detector.weights import load_network, load_plain

__all__ = ["sweep"]

_BATCH = 250
_PLAIN = "plain.safetensors"


def sweep(splits: Splits, recipe: Recipe, options: SweepOptions) -> SweepReport:
    """Train and measure each network, then write ``sweep.json``, a page, tables and a plot.

    A network that is trained already is not trained again, nor measured again; stopped at any
    point, the same call continues. Of networks that start from no given weights the first one
    trains the plain network, and the others take it over.

    Args:
        splits: The data set: weights are learnt on ``train``, figures are of ``test``, and nothing
            is chosen by them.
        recipe: How each network is trained, but for its share of open gates.
        options: Which networks, and where to.

    Raises:
        DataError: If a folder of the output holds figures of another network, plan or data set.
        CheckpointError: If one holds another training.
        StorageError: If something cannot be written, or another job writes to the output.
        InvalidInputError: If data set and network do not fit.
        CalibrationError: If a network gets all images of a class wrong.
        AttackError: If an attack broke a property that it has to keep.
    """
    output = options.training.output
    with sole_writer(output):
        data = splits.test.digest()
        found = [_one(splits, recipe, options, share, data) for share in options.shares]
        report = SweepReport(
            backbone=recipe.backbone.value,
            plan=options.plan,
            data=data,
            test_images=len(splits.test),
            plain_accuracy=_plain_accuracy(options.folder(options.shares[0]) / _PLAIN, splits),
            networks=tuple(sorted(found, key=lambda each: -each.open_share)),
            provenance=provenance(recipe=repr(recipe), seed=options.training.seed),
        )
        report.write(output / "sweep.json")
        _write_shown(report, output)
    return report


def _write_shown(report: SweepReport, output: Path) -> None:
    """Everything that people look at."""
    for name, text in (("sweep.html", page(report)), ("sweep.md", sweep_markdown(report))):
        with atomic_path(output / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    write_plot(report, output)


def _one(
    splits: Splits, recipe: Recipe, options: SweepOptions, share: float, data: str
) -> NetworkFigures:
    """Train one network, or take what is there, and likewise measure it."""
    folder = options.folder(share)
    given = options.training.initial_weights or _plain_of_another(folder)
    trained = train(
        splits,
        recipe.with_open_share(share),
        replace(options.training, output=folder, initial_weights=given),
    )
    file = folder / "figures.json"
    if file.exists():
        known = MeasuredNetwork.read(file)
        network = network_digest(load_network(trained.network)[0])
        _check_same(file, known, options, share, network, data)
        return known.figures
    figures = measure_network(folder, share, splits, options.plan, device=options.device)
    MeasuredNetwork(plan=options.plan, data=data, figures=figures).write(file)
    return figures


def _plain_of_another(folder: Path) -> dict[str, Tensor] | None:
    """The plain network that another folder of the sweep has trained, if this one has not."""
    if (folder / "plain.checkpoint").exists():
        return None
    others = (path.with_name(_PLAIN) for path in folder.parent.glob("open-*/plain.checkpoint"))
    trained = sorted(path for path in others if path.exists())
    return load_file(trained[0]) if trained else None


def _check_same(
    file: Path,
    known: MeasuredNetwork,
    options: SweepOptions,
    share: float,
    network: str,
    data: str,
) -> None:
    for name, found, expected in (
        ("network", known.figures.network, network),
        ("share of open gates", known.figures.open_share, share),
        ("set of test images", known.data, data),
        ("plan", known.plan, options.plan),
    ):
        if found != expected:
            raise DataError(
                f"{file} should hold figures of this network, plan and data set. Found another "
                f"{name}. Give another --output, or remove the file to measure again."
            )


def _plain_accuracy(path: Path, splits: Splits) -> Share:
    """Share of the test images that the plain network classifies right."""
    network, info = load_plain(path)
    labels, right = splits.test.labels, 0
    with torch.inference_mode():
        for start in range(0, len(labels), _BATCH):
            rows = range(start, min(start + _BATCH, len(labels)))
            images = info.preprocessing(splits.test.read(rows, info.preprocessing))
            logits = network(images.contiguous(memory_format=torch.channels_last))
            right += int((logits.argmax(dim=1).numpy() == labels[rows.start : rows.stop]).sum())
    return Share.of(right, len(labels))
