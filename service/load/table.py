"""A load's figures as people see them."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from service.load.report import LoadReport

__all__ = ["load_table"]


def load_table(report: LoadReport) -> Group:
    """Throughput and codes in a line, then the times in a table."""
    codes = ", ".join(f"{count} {code}" for code, count in report.codes.items()) or "no call"
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("milliseconds")
    names = list(report.latency_ms or report.lateness_ms)
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for title, times in (
        ("due to answered", report.latency_ms),
        ("due to sent", report.lateness_ms),
    ):
        table.add_row(title, *(f"{times[name]:.2f}" if name in times else "-" for name in names))
    return Group(
        Text(
            f"{report.images_per_s:.0f} images/s in {report.calls_per_s:.0f} calls/s, "
            f"over {report.seconds:g} s: {codes}."
        ),
        table,
    )
