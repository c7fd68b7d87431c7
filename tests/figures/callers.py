"""A load generator: callers in a closed loop, as a `Worker`. Never imports torch."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from service.load import ClosedLoop, LoadPlan, load_report
from service.load.requests import payloads
from tests.figures.serving import encoded

_TIMEOUT_S = 60.0
_WARM_UP_S = 0.5


def main() -> None:
    """Call a server with the images of an .npy file, (N, H, W, 3), for as long as each order says.

    Orders: ``kind`` of request, ``PNG``, ``JPEG`` or ``raw``; ``callers``; ``seconds``. The answer
    is the number of images per second, and the median and 99th percentile of the latency in
    milliseconds. Throughput follows
    from the mean latency by Little's law, as no caller ever pauses: answers counted by the clock
    would come batch by batch, and of a large network few batches fit. A call that fails ends the
    process.
    """
    address, pixels = sys.argv[1], np.load(Path(sys.argv[2]))
    requests = {
        kind: payloads(list(pixels) if kind == "raw" else [encoded(each, kind) for each in pixels])
        for kind in sys.argv[3:]
    }
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
        found = {
            "images_per_s": 1000 * order["callers"] / report.latency_ms["mean"],
            "median_ms": report.latency_ms["p50"],
            "p99_ms": report.latency_ms["p99"],
        }
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
