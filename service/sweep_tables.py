"""What the command line shows of sweeps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from detector.jobs.evaluation.markdown import share_text
from detector.jobs.sparsity_sweep import SweepReport
from detector.jobs.sparsity_sweep.words import cost_table, detection_table, time_table

__all__ = ["sweep_lines"]


def sweep_lines(found: SweepReport) -> Iterator[RenderableType]:
    """The networks of a sweep beside each other."""
    yield Text(
        f"{found.backbone}, on {found.test_images:,} test images; the plain network classifies "
        f"{share_text(found.plain_accuracy)} right"
    )
    yield _table(*cost_table(found))
    yield Text("Time of one image on one thread, by that of the plain network:")
    yield _table(*time_table(found))
    yield Text(f"Attacks on {found.plan.attacked} test images, found by one pass:")
    yield _table(*detection_table(found))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    table.add_column(head[0], no_wrap=True)
    for title in head[1:]:
        table.add_column(title, justify="right")
    for row in rows:
        table.add_row(*row)
    return table
