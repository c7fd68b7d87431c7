"""What a dashboard is made of, and Grafana's JSON for it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

__all__ = ["Bars", "Facts", "Lines", "Mark", "Panel", "Query", "Stat"]

_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """What a panel asks Prometheus.

    Args:
        expr: PromQL.
        legend: Name of its series; ``{{label}}`` stands for the label's value.
    """

    expr: str
    legend: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """From a value upwards another colour.

    Args:
        value: In the panel's unit.
        colour: By Grafana's names.
    """

    value: float
    colour: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel(ABC):
    """One picture.

    Args:
        title: What it shows.
        description: How to read it, for who has not built it.
        queries: What it asks.
        unit: Grafana's name of the unit: ``s``, ``percentunit``, ``reqps``, ``short``.
        width: Of the 24 columns of a row.
        height: In Grafana's units, of some 30 pixels.
        marks: Values that mean something, ascending.
    """

    kind: ClassVar[str]
    instant: ClassVar[bool] = False
    """Whether it asks for one moment instead of the shown time."""

    title: str
    description: str
    queries: tuple[Query, ...]
    unit: str = "short"
    width: int = 8
    height: int = 8
    marks: tuple[Mark, ...] = ()

    def to_json(self, number: int, x: int, y: int) -> dict[str, Any]:
        """Grafana's JSON of it.

        Args:
            number: Its own in the dashboard.
            x: Its left edge, in columns.
            y: Its upper edge, in units of height.
        """
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": _DATASOURCE,
            "gridPos": {"h": self.height, "w": self.width, "x": x, "y": y},
            "targets": [
                self._target(query, chr(ord("A") + index))
                for index, query in enumerate(self.queries)
            ],
            "fieldConfig": {"defaults": self._field(), "overrides": []},
            "options": self._options(),
            "transformations": self._transformations(),
        }

    def _target(self, query: Query, letter: str) -> dict[str, Any]:
        return {
            "refId": letter,
            "datasource": _DATASOURCE,
            "expr": query.expr,
            "legendFormat": query.legend,
            "instant": self.instant,
            "range": not self.instant,
        }

    def _field(self) -> dict[str, Any]:
        steps = [{"value": mark.value, "color": mark.colour} for mark in self.marks]
        return {
            "unit": self.unit,
            "thresholds": {
                "mode": "absolute",
                "steps": [{"value": None, "color": "green"}, *steps],
            },
            "custom": self._custom(),
        }

    def _marked(self) -> dict[str, Any]:
        """Whether the marks are drawn as lines."""
        return {"thresholdsStyle": {"mode": "line" if self.marks else "off"}}

    @abstractmethod
    def _options(self) -> dict[str, Any]: ...

    def _custom(self) -> dict[str, Any]:
        return {}

    def _transformations(self) -> list[dict[str, Any]]:
        return []


@dataclass(frozen=True, kw_only=True, slots=True)
class Stat(Panel):
    """One number, as it is now."""

    kind = "stat"
    instant = True
    width: int = 4
    height: int = 4

    def _options(self) -> dict[str, Any]:
        return {
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "colorMode": "value" if self.marks else "none",
            "graphMode": "none",
            "justifyMode": "auto",
            "textMode": "auto",
            "orientation": "auto",
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Lines(Panel):
    """Values over time.

    Args:
        stacked: Whether the series lie on top of each other, as parts of a whole.
    """

    kind = "timeseries"
    stacked: bool = False

    def _options(self) -> dict[str, Any]:
        return {
            "legend": {
                "displayMode": "list",
                "placement": "bottom",
                "showLegend": True,
                "calcs": [],
            },
            "tooltip": {"mode": "multi", "sort": "desc"},
        }

    def _custom(self) -> dict[str, Any]:
        return {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 20 if self.stacked else 0,
            "showPoints": "never",
            "stacking": {"mode": "normal" if self.stacked else "none", "group": "A"},
            **self._marked(),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Bars(Panel):
    """One bar for each query, over the shown time."""

    kind = "barchart"
    instant = True

    def _options(self) -> dict[str, Any]:
        return {
            "xField": "Field",
            "orientation": "vertical",
            "showValue": "never",
            "stacking": "none",
            "xTickLabelRotation": 0,
            "xTickLabelSpacing": 0,
            "groupWidth": 0.9,
            "barWidth": 0.95,
            "fullHighlight": False,
            "legend": {
                "displayMode": "list",
                "placement": "bottom",
                "showLegend": False,
                "calcs": [],
            },
            "tooltip": {"mode": "single", "sort": "none"},
        }

    def _custom(self) -> dict[str, Any]:
        return {"lineWidth": 1, "fillOpacity": 70, **self._marked()}

    def _transformations(self) -> list[dict[str, Any]]:
        # From a field for each query to a row for each: bars stand side by side by rows.
        options = {"mode": "seriesToRows", "reducers": ["lastNotNull"]}
        return [{"id": "reduce", "options": options}]


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts(Panel):
    """Labels of series, as a table with a row for each.

    Args:
        columns: The labels to show, in their order.
    """

    kind = "table"
    instant = True
    columns: tuple[str, ...]

    def _target(self, query: Query, letter: str) -> dict[str, Any]:
        # Named, not super(): a dataclass with slots is another class than its methods know.
        return {**Panel._target(self, query, letter), "format": "table"}

    def _options(self) -> dict[str, Any]:
        return {
            "showHeader": True,
            "cellHeight": "sm",
            "footer": {"show": False, "reducer": ["sum"], "countRows": False, "fields": ""},
        }

    def _transformations(self) -> list[dict[str, Any]]:
        names = {"include": {"names": list(self.columns)}}
        order = {name: index for index, name in enumerate(self.columns)}
        return [
            {"id": "filterFieldsByName", "options": names},
            {"id": "organize", "options": {"indexByName": order, "excludeByName": {}}},
        ]
