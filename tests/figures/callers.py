"""A load generator: callers in a closed loop, as a `Worker`. Never imports torch."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from service.load import ClosedLoop, LoadPlan, load_report
from service.load.requests import payloads
from tests.figures.serving import png

_TIMEOUT_S = 60.0
_WARM_UP_S = 0.5


def main() -> None:
    """Call a server with the images of an .npy file, (N, H, W, 3), for as long as each order says.

    Orders: ``kind`` of request, ``png`` or ``raw``; ``callers``; ``seconds``. The answer is the
    number of images per second. A call that fails ends the process.
    """
    address, pixels = sys.argv[1], np.load(Path(sys.argv[2]))
    requests = {"png": payloads([png(each) for each in pixels]), "raw": payloads(list(pixels))}
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
        sys.stdout.write(json.dumps(report.images_per_s) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
