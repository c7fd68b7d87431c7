"""What the command line shows of counts."""

from __future__ import annotations

from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from detector.jobs.cost_report import CostReport, LayerCost, Spread

__all__ = ["cost_lines"]


def cost_lines(found: CostReport) -> Iterator[RenderableType]:
    """What a network multiplies, layer by layer and in all."""
    yield _layers_table(found)
    yield Text()
    yield Text(
        f"The plain network multiplies {found.plain:,} times for an image of {found.height} x "
        f"{found.width}.",
    )
    yield Text(
        f"Decoupled, it is left with {_percent(found.kept)} of that (mean of {found.images:,} "
        f"{found.split} images; 5-95 % of them)."
    )
    modules = found.modules
    yield Text(
        f"What opens and closes its filters costs {modules.total:,} more, "
        f"{found.module_share:.2%}: {modules.linear:,} in linear layers, and {modules.pool:,} "
        "additions for averages."
    )
    yield Text.assemble(("In all: ", "bold"), f"{_percent(found.total)} of the plain network.")


def _layers_table(found: CostReport) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    table.add_column("layer", no_wrap=True)
    for title in ("gates", "multiplications", "share of all", "reads", "kept", "module"):
        table.add_column(title, justify="right")
    for layer in found.layers:
        table.add_row(*_row(layer, found.plain))
    return table


def _row(layer: LayerCost, plain: int) -> tuple[str, ...]:
    return (
        layer.layer,
        str(layer.gates or "-"),
        f"{layer.plain:,}",
        f"{layer.plain / plain:.1%}",
        "open" if layer.reads_gated else "all",
        f"{layer.kept:.1%}",
        "-" if layer.module is None else f"{layer.module.total:,}",
    )


def _percent(share: Spread) -> str:
    return f"{share.mean:.1%} [{share.low:.1%}, {share.high:.1%}]"
