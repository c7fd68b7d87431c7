"""The dashboards' figures, asked from Prometheus as Grafana asks for them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from deploy.watch.prometheus import Prometheus

__all__ = ["Question", "figures_table", "filled_in", "questions"]

DASHBOARDS = Path(__file__).parents[1] / "grafana" / "dashboards"
_VARIABLES = {"$job": ".*", "$instance": ".*"}
_TIMES = ("$__rate_interval", "$__range", "$window")


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """One query of one panel.

    Args:
        dashboard: Name of the dashboard.
        panel: Title of the panel.
        kind: Grafana's name of how it is drawn.
        unit: Grafana's name of its unit.
        expression: PromQL with Grafana's variables.
    """

    dashboard: str
    panel: str
    kind: str
    unit: str
    expression: str


def questions(folder: Path = DASHBOARDS) -> Iterator[Question]:
    """Every query of every dashboard, in their order.

    Args:
        folder: Where the dashboards lie.
    """
    for name in ("overview", "detection", "model"):
        for panel in json.loads((folder / f"{name}.json").read_text())["panels"]:
            yield from _of_panel(name, panel)


def filled_in(expression: str, *, over: str = "5m") -> str:
    """An expression as Grafana sends it where everything is chosen.

    Args:
        expression: PromQL with Grafana's variables.
        over: The duration that all of its times get.
    """
    for name in _TIMES:
        expression = expression.replace(name, over)
    for name, value in _VARIABLES.items():
        expression = expression.replace(name, value)
    return expression


def figures_table(prometheus: Prometheus, *, over: str) -> Table:
    """The single numbers of the dashboards as they are now.

    Args:
        prometheus: Who is asked.
        over: The duration that rates and shares are taken over.
    """
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("dashboard")
    table.add_column("figure")
    table.add_column("now", justify="right")
    for question in questions():
        if question.kind == "stat":
            samples = prometheus.query(filled_in(question.expression, over=over))
            value = samples[0].value if samples else math.nan
            table.add_row(question.dashboard, question.panel, _readable(value, question.unit))
    return table


def _of_panel(dashboard: str, panel: dict[str, Any]) -> Iterator[Question]:
    for target in panel.get("targets", ()):
        yield Question(
            dashboard=dashboard,
            panel=panel["title"],
            kind=panel["type"],
            unit=panel["fieldConfig"]["defaults"]["unit"],
            expression=target["expr"],
        )


def _readable(value: float, unit: str) -> str:
    """A value in its unit; a dash where there is none yet."""
    if math.isnan(value):
        return "-"
    match unit:
        case "percentunit":
            return f"{value:.1%}"
        case "reqps" | "cps":
            return f"{value:.1f} /s"
        case "s":
            return _readable_time(value)
        case _:
            return f"{value:.3g}"


def _readable_time(seconds: float) -> str:
    for least, name in ((86_400, "days"), (3600, "hours"), (1, "s")):
        if seconds >= least:
            return f"{seconds / least:.1f} {name}"
    return f"{seconds * 1000:.1f} ms"
