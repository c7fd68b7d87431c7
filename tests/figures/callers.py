"""A load generator: callers in a closed loop, as a `Worker`. Never imports torch."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.load import ClosedLoop, LoadPlan, LoadReport, load_report
from service.load.requests import payloads
from service.load.run import Payload
from service.results import Level
from tests.figures.serving import encoded

__all__ = ["say"]

_TIMEOUT_S = 60.0
_WARM_UP_S = 0.5


def main() -> None:
    """Call a server with the images of an .npy file, (N, H, W, 3), for as long as each order says.

    Orders: ``kind`` of request, ``PNG``, ``JPEG`` or ``raw``, which may name a level, ``PNG@fast``;
    ``callers``; ``seconds``. The answers are those of `say`. A call that fails ends the process.
    """
    address, pixels = sys.argv[1], np.load(Path(sys.argv[2]))
    requests = {kind: _requests(pixels, kind) for kind in sys.argv[3:]}
    for line in sys.stdin:
        order = json.loads(line)
        plan = LoadPlan(
            load=ClosedLoop(callers=order["callers"]),
            seconds=order["seconds"],
            warm_up_s=_WARM_UP_S,
            timeout_s=_TIMEOUT_S,
        )
        report = load_report(address, requests[order["kind"]], plan)
        if set(report.codes) - {"OK"}:
            raise RuntimeError(f"Every call should be answered. Found {report.codes}.")
        say(report, order["callers"])


def say(report: LoadReport, callers: int) -> None:
    """Answer an order: images per second, median and 99th percentile of the latency, milliseconds.

    Throughput follows from the mean latency by Little's law, as no caller ever pauses: answers
    counted by the clock would come batch by batch, and of a large network few batches fit.

    Raises:
        RuntimeError: If no call was answered in time to be measured.
    """
    if not report.latency_ms:
        raise RuntimeError(
            f"Calls should be answered within {report.seconds:g} s. Found none. Measure when the "
            "machine has less to do."
        )
    found = {
        "images_per_s": 1000 * callers / report.latency_ms["mean"],
        "median_ms": report.latency_ms["p50"],
        "p99_ms": report.latency_ms["p99"],
    }
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


def _requests(pixels: NDArray[np.uint8], kind: str) -> tuple[Payload, ...]:
    form, _, level = kind.partition("@")
    images = list(pixels) if form == "raw" else [encoded(each, form) for each in pixels]
    return payloads(images, level=Level(level) if level else None)


if __name__ == "__main__":
    main()
