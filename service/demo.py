"""The demo: a real server, real images, and the same images attacked on the spot."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlsplit

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from torch import Tensor

from detector.bundle import Bundle, load_bundle
from detector.images import decode_image
from service.client import Client
from service.devices import chosen_device
from service.errors import StartError
from service.local_server import local_server
from service.results import Detection, Verdict
from service.tables import ShownImage, detections_table, level_line

__all__ = ["run_demo"]

_IMAGES_PER_CALL = 32
_CLEAN = "clean"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sample:
    """A sample image with its name and true class; uint8 of shape (3, H, W)."""

    name: str
    label: str
    image: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class _Group:
    """All samples after one kind of treatment, as they are sent; uint8 of shape (B, 3, H, W)."""

    kind: str
    images: Tensor


def run_demo(
    *, bundle: Path | None, device: str, per_class: int, all_rows: bool, console: Console
) -> None:
    """Run the demo and print what happens.

    Args:
        bundle: Folder of a bundle; None for the default.
        device: Where server and attacks compute, see `chosen_device`.
        per_class: Samples of each class.
        all_rows: Whether the table lists every image instead of one of each class.
        console: Where to print.

    Raises:
        OffpathError: If the server does not start or stop, or a call fails.
    """
    loaded = load_bundle(bundle, device=chosen_device(device))
    options = ["--device", device, "--drain-delay-s", "0"]
    options += ["--bundle", str(bundle)] if bundle is not None else []
    console.print("Starting the server ...")
    with local_server(*options) as server:
        console.print(f"It takes calls on {server.address}.")
        samples = _samples(loaded, per_class)
        groups = [_Group(kind=_CLEAN, images=torch.stack([each.image for each in samples]))]
        groups += _attacked(loaded, samples, groups[0].images, console)
        with Client(server.address) as client:
            found = {group.kind: _send(client, group.images) for group in groups}
        console.print()
        _print_images(samples, found, 1 if all_rows else per_class, console)
        console.print(level_line(found[_CLEAN][0]))
        console.print()
        console.print(_shares(samples, found))
        console.print()
        console.print("Live metrics of the server:", style="bold")
        for line in _metric_lines(server.metrics_url):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
    console.print()
    console.print("The server has stopped; every call was answered.")


def _samples(bundle: Bundle, per_class: int) -> list[_Sample]:
    folder = files("service") / "samples"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".png"))
    preprocessing = bundle.pipeline.preprocessing
    chosen: dict[str, list[_Sample]] = {name: [] for name in bundle.pipeline.class_names}
    for name in names:
        label = name.rpartition("_")[0]
        if label in chosen and len(chosen[label]) < per_class:
            image = preprocessing.fit(decode_image((folder / name).read_bytes()))
            chosen[label].append(_Sample(name=name.removesuffix(".png"), label=label, image=image))
    samples = [sample for group in chosen.values() for sample in group]
    if not samples:
        raise StartError(
            "The demo should run on a bundle with the classes of CIFAR-10. "
            f"Found {', '.join(bundle.pipeline.class_names)}. Leave out --bundle."
        )
    return samples


def _attacked(
    bundle: Bundle, samples: list[_Sample], images: Tensor, console: Console
) -> Iterator[_Group]:
    """The images under each attack, made with full knowledge of the network."""
    # Imported here alone: the serving process must never load the attacks.
    from detector.attacks import Fgsm, Pgd, attack_images  # noqa: PLC0415

    names = bundle.pipeline.class_names
    labels = torch.tensor([names.index(sample.label) for sample in samples])
    for kind, attack in (
        ("FGSM 8/255", Fgsm(epsilon=8 / 255)),
        ("PGD 8/255", Pgd(epsilon=8 / 255)),
        ("PGD 2/255", Pgd(epsilon=2 / 255)),
    ):
        started = time.monotonic()
        result = attack_images(
            bundle.pipeline.network, bundle.pipeline.preprocessing, images, labels, attack
        )
        seconds = time.monotonic() - started
        console.print(f"{kind}: attacked {len(images)} images in {seconds:.1f} s")
        yield _Group(kind=kind, images=result.images)


def _send(client: Client, images: Tensor) -> list[Detection]:
    pixels = list(images.permute(0, 2, 3, 1).contiguous().numpy())
    parts = (pixels[i : i + _IMAGES_PER_CALL] for i in range(0, len(pixels), _IMAGES_PER_CALL))
    return [found for part in parts for found in client.detect(part).detections]


def _print_images(
    samples: list[_Sample], found: dict[str, list[Detection]], step: int, console: Console
) -> None:
    rows = [
        ShownImage(name=sample.name, kind=kind, detection=detections[i])
        for i, sample in list(enumerate(samples))[::step]
        for kind, detections in found.items()
    ]
    console.print(detections_table(rows))


def _shares(samples: list[_Sample], found: dict[str, list[Detection]]) -> Table:
    """What became of each kind; an attack is measured by the images that fooled the network."""
    table = Table(
        title="Share flagged",
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
    )
    for title in ("kind", "images", "misclassified", "flagged", "flagged among misclassified"):
        table.add_column(title, justify="left" if title == "kind" else "right")
    for kind, detections in found.items():
        wrong = [d for s, d in zip(samples, detections, strict=True) if d.label != s.label]
        table.add_row(
            kind, str(len(detections)), str(len(wrong)), _flagged(detections), _flagged(wrong)
        )
    return table


def _flagged(detections: list[Detection]) -> str:
    if not detections:
        return "-"
    flagged = sum(detection.verdict is Verdict.OFF_PATH for detection in detections)
    return f"{flagged / len(detections):.0%}"


def _metric_lines(url: str) -> list[str]:
    """The service's own samples, without what is longer than a line or a page."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    try:
        connection.request("GET", parts.path)
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    skipped = ("_bucket{", "_created", "_info{")
    return [
        line
        for line in text.splitlines()
        if line.startswith("offpath_") and not any(part in line for part in skipped)
    ]
