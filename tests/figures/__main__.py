"""Measure every published figure: ``python -m tests.figures [--json] [--only NAME]``."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.figures.accelerator import accelerator, accelerator_at_224
from tests.figures.accuracy import accuracy
from tests.figures.adaptive import adaptive
from tests.figures.attacks import attacks
from tests.figures.batch_independence import batch_independence
from tests.figures.bench import Bench
from tests.figures.campaigns import campaigns
from tests.figures.cancellation import cancellation
from tests.figures.counting import counting
from tests.figures.drift import drift
from tests.figures.evaluation import evaluation
from tests.figures.explanation import explanation
from tests.figures.extract_kills import extract_kills
from tests.figures.extract_memory import extract_memory
from tests.figures.false_alarms import false_alarms
from tests.figures.figure import Figure
from tests.figures.grouping import grouping
from tests.figures.interpretation import interpretation
from tests.figures.lifecycle import lifecycle
from tests.figures.mutations import mutations
from tests.figures.overhead import overhead
from tests.figures.overload import overload
from tests.figures.paper_table import paper_table
from tests.figures.rivals import rivals
from tests.figures.runtimes import runtimes
from tests.figures.shift import shift
from tests.figures.shutdown import shutdown
from tests.figures.skipping import skipping
from tests.figures.sparsity import sparsity
from tests.figures.throughput import latency, throughput

Measurement = Callable[[Bench], list[Figure]]

# Speed comes first: the machine is coolest, and nothing else runs yet.
_MEASUREMENTS: dict[str, Measurement] = {
    "throughput": throughput,
    "latency": latency,
    "rivals": rivals,
    "runtimes": runtimes,
    "overhead": overhead,
    "counting": counting,
    "skipping": skipping,
    "grouping": grouping,
    "accelerator": accelerator,
    "accelerator-224": accelerator_at_224,
    "explanation": explanation,
    "overload": overload,
    "batch-independence": batch_independence,
    "cancellation": cancellation,
    "shutdown": shutdown,
    "lifecycle": lifecycle,
    "mutations": mutations,
    "accuracy": accuracy,
    "sparsity": sparsity,
    "false-alarms": false_alarms,
    "extract-memory": extract_memory,
    "extract-kills": extract_kills,
    "attacks": attacks,
    "shift": shift,
    "drift": drift,
    "interpretation": interpretation,
    "adaptive": adaptive,
    "campaigns": campaigns,
    "paper-table": paper_table,
    "evaluation": evaluation,
}


def main() -> int:
    """Print one line a figure; 1 if one is short of its target."""
    parser = argparse.ArgumentParser(prog="make figures", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON array instead of lines")
    parser.add_argument(
        "--only", action="append", choices=list(_MEASUREMENTS), help="measure this; may be repeated"
    )
    parser.add_argument("--data", type=Path, help="a CIFAR-10 .npz file; fetched by default")
    options = parser.parse_args()
    bench = Bench(options.data)
    found: list[Figure] = []
    for name in options.only or _MEASUREMENTS:
        started = time.monotonic()
        figures = _MEASUREMENTS[name](bench)
        found += figures
        if not options.json:
            for figure in figures:
                print(_line(figure), flush=True)
        print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    if options.json:
        print(json.dumps([figure.to_json() for figure in found], indent=2))
    return int(any(figure.holds is False for figure in found))


def _line(figure: Figure) -> str:
    target = figure.target or "-"
    return f"{figure.outcome:8}  {figure.name:52}  target {target:28}  {figure.measured}"


if __name__ == "__main__":
    sys.exit(main())
