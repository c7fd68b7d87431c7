"""What the paths of the bundled default mean, and what finding it out costs."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from detector.bundle import DEFAULT_BUNDLE
from detector.jobs.extract import ExtractOptions, extract
from detector.jobs.interpretation import Interpretation
from detector.jobs.interpretation.closing import TIMES
from detector.jobs.interpretation.dissection import dissect
from detector.path_table import SplitName
from tests.detector.jobs.interpretation.planted import planted, planted_network
from tests.figures.bench import Bench
from tests.figures.figure import Figure, reported

__all__ = ["interpretation"]

_IMAGES = 10_000
_MINUTES = 10
_GIGABYTES = 3
_OF_NETWORK = 0.85
_CLASSES = 8
_IOU = 0.5
_PRECISION = 0.9

_PROGRAM = """
import resource, sys
from service import cli
code = cli.run(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
sys.exit(code)
"""


def interpretation(bench: Bench) -> list[Figure]:
    """Probes, combinations and causes, found on train images and checked on all test images.

    The command runs as a process of its own, whose time and peak memory are its whole cost; the
    table is extracted before.
    """
    with tempfile.TemporaryDirectory() as folder:
        table, output = Path(folder) / "table", Path(folder) / "found.json"
        extract(
            bench.pipeline.network,
            bench.splits,
            ExtractOptions(output=table, splits=(SplitName.TRAIN, SplitName.TEST), limit=_IMAGES),
        )
        started = time.monotonic()
        done = subprocess.run(
            [
                *(sys.executable, "-c", _PROGRAM, "interpret"),
                *("--table", str(table), "--data", str(bench.data_path)),
                *("--network", str(DEFAULT_BUNDLE / "network.safetensors")),
                *("--check", "test", "--output", str(output)),
            ],
            check=True,
            capture_output=True,
            text=True,
        )
        seconds = time.monotonic() - started
        found = Interpretation.read(output)
    return [
        *_probes(found),
        _combinations(found),
        _closings(found),
        _planted(),
        *_costs(seconds, int(done.stdout.split()[-1])),
    ]


def _probes(found: Interpretation) -> list[Figure]:
    probes = found.probes
    last, network = probes.layers[-1], probes.network.rate
    share = last.accuracy.rate / network
    controls = [each.control for each in (*probes.layers, probes.path)]
    # Whoever always says one class is right about a share of it, whatever the labels.
    at_chance = [each for each in controls if each.low <= probes.chance <= each.high]
    return [
        Figure(
            name="probe on the last layer's gates, of the network's own",
            target=f">= {_OF_NETWORK:.0%}",
            measured=f"{share:.1%} ({last.accuracy.rate:.2%} of {network:.2%}); its bits are in "
            f"{last.paths} states, no reading of which finds more than "
            f"{last.at_most / network:.1%}; best layer "
            f"{max(each.accuracy.rate for each in probes.layers) / network:.1%}, "
            f"whole path {probes.path.accuracy.rate / network:.1%}",
            holds=share >= _OF_NETWORK,
        ),
        reported(
            "probe on the last layer's gate logits, of the network's own",
            f"{last.from_logits.rate / network:.1%} ({last.from_logits.rate:.2%})",
        ),
        Figure(
            name="the same with shuffled labels",
            target=f"at chance, {probes.chance:.0%}",
            measured=f"{len(at_chance)} of {len(controls)} within 99.7 % intervals; "
            f"{min(each.rate for each in controls):.2%} to "
            f"{max(each.rate for each in controls):.2%}",
            holds=len(at_chance) == len(controls),
        ),
    ]


def _combinations(found: Interpretation) -> Figure:
    classes = [each for each in found.combinations if each.concept in found.class_names]
    better = [each.concept for each in classes if each.beats_single]
    short = [each.concept for each in classes if not each.beats_single]
    gates = [len(each.combination.gates) for each in classes]
    mean = sum(each.combination.balanced_accuracy.value for each in classes) / len(classes)
    single = sum(each.single.balanced_accuracy.value for each in classes) / len(classes)
    return Figure(
        name="classes whose combination beats the best single gate",
        target=f">= {_CLASSES}, intervals apart",
        measured=f"{len(better)} of {len(classes)} with {min(gates)} to {max(gates)} gates; "
        f"balanced accuracy {mean:.1%} against {single:.1%} on average"
        + (f"; not {', '.join(short)}" if short else ""),
        holds=len(better) >= _CLASSES,
    )


def _closings(found: Interpretation) -> Figure:
    """Classes for which both hold: a combination tells them better, and closing it hurts them."""
    better = {each.concept for each in found.combinations if each.beats_single}
    closings = [each for each in found.closings if each.concept in found.class_names]
    hurt = [each.concept for each in closings if each.holds]
    apart = [each for each in closings if each.beyond.low > 0]
    both = better.intersection(hurt)
    short = [name for name in found.class_names if name not in hurt]
    own, others, random = (
        sum(values) / len(closings)
        for values in (
            [each.harm.value for each in closings],
            [each.harm_to_others.value for each in closings],
            [each.random_harm.value for each in closings],
        )
    )
    return Figure(
        name=f"such classes that closing it hurts {TIMES} times as much as closing random gates",
        target=f">= {_CLASSES}",
        measured=f"{len(both)}; {len(hurt)} of {len(found.class_names)} are hurt so much, "
        f"{len(apart)} with the whole interval; on average a class loses {own:.2%}, the others "
        f"{others:.2%}, by random gates {random:.2%}"
        + (f"; not {', '.join(short)}" if short else ""),
        holds=len(both) >= _CLASSES,
    )


def _planted() -> Figure:
    """Coloured shapes at known places, drawn anew, and a network whose filters respond to them."""
    with tempfile.TemporaryDirectory() as folder:
        found = dissect(
            planted_network(),
            planted(Path(folder), count=200, seed=1).read(),
            most_filters=12,
            seed=0,
            done=lambda _: None,
        )
    covers = [each.combination.cover for each in found]
    ious = [cover.iou.value for cover in covers]
    precisions = [cover.precision.value if cover.precision else 0.0 for cover in covers]
    better = [each.concept for each in found if each.beats_single]
    single = min(each.singles[0].cover.iou.value for each in found)
    return Figure(
        name="planted concepts of a synthetic set, found with masks",
        target=f"IoU >= {_IOU}, pixel precision >= {_PRECISION}",
        measured=f"{len(found)} concepts: IoU {min(ious):.2f} to {max(ious):.2f}, precision "
        f"{min(precisions):.2f} to {max(precisions):.2f}; single filters from {single:.2f}; "
        f"a combination is better for {', '.join(better)}",
        holds=min(ious) >= _IOU and min(precisions) >= _PRECISION,
    )


def _costs(seconds: float, peak_bytes: int) -> list[Figure]:
    return [
        Figure(
            name=f"time of interpret, {_IMAGES:,} images of each split",
            target=f"< {_MINUTES} min",
            measured=f"{seconds / 60:.1f} min",
            holds=seconds < 60 * _MINUTES,
        ),
        Figure(
            name="its peak memory",
            target=f"< {_GIGABYTES} GB",
            measured=f"{peak_bytes / 1e9:.2f} GB",
            holds=peak_bytes < _GIGABYTES * 1e9,
        ),
    ]
