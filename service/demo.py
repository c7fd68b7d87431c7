"""The demo: a real server, real images, and the same images attacked on the spot."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlsplit

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from detector.bundle import Bundle, load_bundle
from detector.images import decode_image
from service.client import Client
from service.errors import StartError
from service.results import Detection, Verdict
from service.tables import ShownImage, detections_table

__all__ = ["run_demo"]

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 30.0
_POLL_S = 0.05
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


def run_demo(*, bundle: Path | None, per_class: int, all_rows: bool, console: Console) -> None:
    """Run the demo and print what happens.

    Args:
        bundle: Folder of a bundle; None for the default.
        per_class: Samples of each class.
        all_rows: Whether the table lists every image instead of one of each class.
        console: Where to print.

    Raises:
        OffpathError: If the server does not start or a call fails.
    """
    with _running_server(bundle, console) as (address, metrics_url):
        loaded = load_bundle(bundle)
        samples = _samples(loaded, per_class)
        groups = [_Group(kind=_CLEAN, images=torch.stack([each.image for each in samples]))]
        groups += _attacked(loaded, samples, groups[0].images, console)
        with Client(address) as client:
            found = {group.kind: _send(client, group.images) for group in groups}
        _print_images(samples, found, 1 if all_rows else per_class, console)
        console.print(_shares(samples, found))
        console.print("Live metrics of the server:", style="bold")
        for line in _metric_lines(metrics_url):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
    console.print("The server has stopped; every call was answered.")


@contextlib.contextmanager
def _running_server(bundle: Path | None, console: Console) -> Iterator[tuple[str, str]]:
    """A server of its own process on free ports of this machine; address and metrics URL."""
    with tempfile.TemporaryDirectory(prefix="offpath-demo-") as folder:
        ready, log = Path(folder) / "ready.json", Path(folder) / "server.log"
        command = [sys.executable, "-m", "service.cli", "serve", "--host", "127.0.0.1"]
        command += ["--port", "0", "--metrics-port", "0", "--drain-delay-s", "0"]
        command += ["--ready-file", str(ready)]
        command += ["--bundle", str(bundle)] if bundle is not None else []
        console.print("Starting the server ...")
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output)  # noqa: S603  # our own command
        try:
            addresses = _wait_until_ready(process, ready, log)
            console.print(f"It takes calls on {addresses['address']}.")
            yield addresses["address"], addresses["metrics_url"]
        finally:
            process.terminate()
            code = process.wait(_STOP_TIMEOUT_S)
        if code != 0:
            raise StartError(f"The server should stop with exit code 0. Found {code}. {_tail(log)}")


def _wait_until_ready(process: subprocess.Popen[bytes], ready: Path, log: Path) -> dict[str, str]:
    give_up = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < give_up:
        if ready.exists():
            addresses: dict[str, str] = json.loads(ready.read_text())
            return addresses
        if process.poll() is not None:
            raise StartError(_tail(log))
        time.sleep(_POLL_S)
    raise StartError(
        f"The server should take calls within {_START_TIMEOUT_S:g} s. Found it still starting."
    )


def _tail(log: Path) -> str:
    """The last line of the server's output, which is its error if there was one."""
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1].removeprefix("Error: ") if lines else "It said nothing."


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
        ShownImage(name=sample.name, label=sample.label, kind=kind, detection=detections[i])
        for i, sample in list(enumerate(samples))[::step]
        for kind, detections in found.items()
    ]
    console.print(detections_table(rows))


def _shares(samples: list[_Sample], found: dict[str, list[Detection]]) -> Table:
    """What became of each kind; an attack is measured by the images that fooled the network."""
    table = Table(title="Share flagged")
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
    """The service's own samples, without the buckets of histograms."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    try:
        connection.request("GET", parts.path)
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    skipped = ("_bucket{", "_created")
    return [
        line
        for line in text.splitlines()
        if line.startswith("offpath_") and not any(part in line for part in skipped)
    ]
