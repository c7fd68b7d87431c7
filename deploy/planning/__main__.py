"""Measure unit costs here, extract a thousandth, and say what ImageNet would take."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from deploy.planning.sample import draw_photos, seconds_to_extract
from deploy.planning.units import Passes, Seconds, passes_of, seconds_of
from detector.attacks import AttackSpec
from detector.bundle import load_bundle
from detector.data import load_splits
from detector.decoupling import Backbone, DecoupledNetwork
from detector.errors import OffpathError
from detector.jobs.extract import ExtractOptions, extract
from detector.jobs.image_order import ImageOrder
from detector.path_table import SplitName
from detector.preprocessing import IMAGENET_PREPROCESSING
from detector.weights import NetworkInfo, build_network
from service.devices import chosen_device

_IMAGES, _CLASSES = 1_281_167, 1_000
_ATTACKS = (
    "fgsm:8/255",
    "bim:4/255",
    "pgd:2/255",
    "pgd:8/255",
    "mim:8/255",
    "apgd-ce:8/255",
    "cw-l2",
    "ddn",
    "square:8/255",
    "spatial",
)
_CHECKED = "fgsm:8/255"


def main() -> int:
    """Measure and print; 2 with one line where something is missing."""
    parser = argparse.ArgumentParser(prog="python -m deploy.planning", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10, to count passes on")
    parser.add_argument("--counted", type=int, default=20, help="images that passes are counted on")
    parser.add_argument("--images", type=int, default=_IMAGES // 1000, help="images of the run")
    parser.add_argument("--attacked", type=int, default=16, help="of which so many are attacked")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    console = Console(width=100)
    try:
        _plan(options, console)
    except OffpathError as error:
        Console(stderr=True).print(f"Error: {error}", markup=False, highlight=False)
        return 2
    return 0


def _plan(options: argparse.Namespace, console: Console) -> None:
    device = str(chosen_device(options.device))
    network = _resnet50().to(device)
    side = IMAGENET_PREPROCESSING
    console.print(f"{device}, {torch.get_num_threads()} threads, batches of {options.batch_size}")
    batch = torch.rand(options.batch_size, 3, side.height, side.width, device=device)
    seconds = seconds_of(network, batch)
    console.print(
        f"A pass of ResNet-50, decoupled: {seconds.forward * 1e3:.1f} ms forward, "
        f"{seconds.gradient * 1e3:.1f} ms forward and back to the pixels"
    )
    passes = _passes(options.data, options.counted)
    console.print(_estimate(passes, seconds))
    with tempfile.TemporaryDirectory() as folder:
        data = draw_photos(Path(folder), classes=_CLASSES, images=max(_CLASSES, options.images))
        table = Path(folder) / "table"
        more = {"batch_size": options.batch_size, "device": device}
        clean = seconds_to_extract(network, data, side, table, limit=options.images, **more)
        _print_run(console, options.images, "clean", clean, seconds.forward)
        checked = (AttackSpec.parse(_CHECKED),)
        attacked = seconds_to_extract(
            network, data, side, table, attacks=checked, limit=options.attacked, **more
        )
        _print_run(console, options.attacked, _CHECKED, attacked, seconds.of(passes[_CHECKED]))
        share = _compressed_to(options.data, Path(folder) / "trained", device)
    console.print(_bytes(network, share))


def _print_run(console: Console, images: int, name: str, found: float, each: float) -> None:
    console.print(
        f"Run: {images:,} images, {name}: {found:.0f} s of the device from files to files, "
        f"{images * each:.0f} s by the passes alone"
    )


def _resnet50() -> DecoupledNetwork:
    info = NetworkInfo(
        backbone=Backbone.RESNET50,
        class_names=tuple(f"{index:04d}" for index in range(_CLASSES)),
        preprocessing=IMAGENET_PREPROCESSING,
    )
    torch.manual_seed(0)
    return build_network(info).eval()


def _passes(data: Path, count: int) -> dict[str, Passes]:
    """Passes of each attack on the bundled network, which is trained."""
    pipeline = load_bundle().pipeline
    chosen = ImageOrder.of(load_splits(data), SplitName.FIT, count)
    rows = chosen.order[: chosen.asked]
    images = chosen.images.read(rows.tolist(), pipeline.preprocessing)
    labels = torch.from_numpy(chosen.images.labels[rows])
    return {
        name: passes_of(
            pipeline.network, pipeline.preprocessing, images, labels, AttackSpec.parse(name)
        )
        for name in _ATTACKS
    }


def _estimate(passes: dict[str, Passes], seconds: Seconds) -> Table:
    table = Table("images", "forward", "and back", "s an image", "hours for ImageNet")
    rows = {"clean": Passes(forward=1, gradient=0), **passes}
    total = Passes(
        forward=sum(each.forward for each in rows.values()),
        gradient=sum(each.gradient for each in rows.values()),
    )
    for name, each in {**rows, "all": total}.items():
        taken = seconds.of(each)
        hours = taken * _IMAGES / 3600
        table.add_row(
            name, f"{each.forward:.1f}", f"{each.gradient:.1f}", f"{taken:.2f}", f"{hours:,.0f}"
        )
    return table


def _row_bytes(gates: int, classes: int) -> float:
    """Size of a row before compression: bits, gate logits, pooled activations, class logits."""
    return gates * (1 / 8 + 4 + 4) + 4 * classes


def _compressed_to(data: Path, folder: Path, device: str) -> float:
    """Share of its size that a row of a trained network has in its file."""
    pipeline = load_bundle(device=device).pipeline
    options = ExtractOptions(output=folder, splits=(SplitName.FIT,), limit=500, device=device)
    table = extract(pipeline.network, load_splits(data), options)
    rows = sum(part.rows for part in table.parts)
    size = sum(path.stat().st_size for path in folder.glob("*.parquet"))
    return size / rows / _row_bytes(pipeline.layout.gates, len(pipeline.class_names))


def _bytes(network: DecoupledNetwork, share: float) -> str:
    gates = network.layout.gates
    row = _row_bytes(gates, _CLASSES)
    rows = _IMAGES * (1 + len(_ATTACKS))
    return (
        f"A row of {gates:,} gates: {row / 1e3:.0f} kB, in its file {share:.0%} of that, as with "
        f"the bundled network. ImageNet, clean and {len(_ATTACKS)} attacks: {rows / 1e6:.1f} "
        f"million rows, {rows * row * share / 1e12:.1f} TB"
    )


if __name__ == "__main__":
    sys.exit(main())
