"""Start Offpath and Prometheus on this machine, load them, and print the dashboards' figures."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from deploy.watch.debian import debian_programs
from deploy.watch.figures import figures_table
from deploy.watch.prometheus import local_prometheus
from detector.errors import OffpathError
from service.load import ClosedLoop, LoadPlan, load_report
from service.load.requests import SAMPLES, payloads
from service.local_server import local_server

_SCRAPES_S = 3.0
"""How long before the load begins and after it ends: rates need two scrapes, rules one more."""


def main() -> int:
    """Run, print, stop everything; 2 with one line where something is missing."""
    parser = argparse.ArgumentParser(prog="make watch", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="how long it is loaded")
    parser.add_argument("--callers", type=int, default=8, help="how many send single images")
    options = parser.parse_args()
    try:
        load = ClosedLoop(callers=options.callers)
        plan = LoadPlan(load=load, seconds=options.seconds, warm_up_s=_SCRAPES_S)
        _watch(plan, Console())
    except OffpathError as error:
        Console(stderr=True).print(f"Error: {error}", markup=False, highlight=False)
        return 2
    return 0


def _watch(plan: LoadPlan, console: Console) -> None:
    program = debian_programs("prometheus", ("prometheus",))["prometheus"]
    console.print("Starting Offpath and Prometheus ...")
    with (
        tempfile.TemporaryDirectory(prefix="offpath-watch-") as folder,
        local_server("--drain-delay-s", "0") as offpath,
        local_prometheus(program, Path(folder), offpath.metrics_url) as prometheus,
    ):
        console.print(
            f"Offpath takes calls on {offpath.address}, Prometheus on {prometheus.address}."
        )
        load = load_report(offpath.address, payloads(sorted(SAMPLES.glob("*.png"))), plan)
        time.sleep(_SCRAPES_S)
        console.print(
            f"Loaded for {plan.seconds:g} s: {load.images_per_s:.0f} images/s, "
            f"{load.codes.get('OK', 0)} of {load.calls} calls answered."
        )
        console.print()
        console.print(figures_table(prometheus, over=f"{round(plan.seconds)}s"))
    console.print()
    console.print("Both have stopped.")


if __name__ == "__main__":
    sys.exit(main())
