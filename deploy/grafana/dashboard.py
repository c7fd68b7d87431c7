"""A dashboard: rows of panels, and what viewers may choose."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from deploy.grafana.panels import Panel

__all__ = ["Dashboard", "Row"]

_COLUMNS = 24
_SCHEMA_VERSION = 38  # of Grafana 10; later ones bring it up to date as they read it
_TAG = "offpath"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """Panels under one heading, from left to right and then downwards.

    Args:
        title: The heading.
        panels: At least one; neighbours on one line are equally high.
    """

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Dashboard:
    """One page of Grafana.

    Args:
        name: Of its file, and in its address.
        title: Its heading.
        description: Whom it is for.
        rows: What it shows.
    """

    name: str
    title: str
    description: str
    rows: tuple[Row, ...]

    def to_json(self) -> dict[str, Any]:
        """What Grafana reads; without an id, which each Grafana gives itself."""
        return {
            "uid": f"offpath-{self.name}",
            "title": self.title,
            "description": self.description,
            "tags": [_TAG],
            "schemaVersion": _SCHEMA_VERSION,
            "version": 1,
            "editable": True,
            "graphTooltip": 1,
            "timezone": "browser",
            "refresh": "30s",
            "time": {"from": "now-6h", "to": "now"},
            "links": [_links_to_the_others()],
            "annotations": {"list": [_alerts()]},
            "templating": {"list": list(_variables())},
            "panels": list(self._panels()),
        }

    def _panels(self) -> Iterator[dict[str, Any]]:
        number, y = 0, 0
        for row in self.rows:
            number += 1
            yield _heading(row.title, number, y)
            x, y, height = 0, y + 1, 0
            for panel in row.panels:
                if x + panel.width > _COLUMNS:
                    x, y = 0, y + height
                number += 1
                yield panel.to_json(number, x, y)
                x, height = x + panel.width, panel.height
            y += height


def _heading(title: str, number: int, y: int) -> dict[str, Any]:
    return {
        "id": number,
        "type": "row",
        "title": title,
        "collapsed": False,
        "gridPos": {"h": 1, "w": _COLUMNS, "x": 0, "y": y},
        "panels": [],
    }


def _links_to_the_others() -> dict[str, Any]:
    return {
        "title": "Offpath",
        "type": "dashboards",
        "icon": "external link",
        "tooltip": "",
        "tags": [_TAG],
        "asDropdown": False,
        "includeVars": True,
        "keepTime": True,
        "targetBlank": False,
    }


def _alerts() -> dict[str, Any]:
    """A mark in every picture where an alert begins to fire."""
    return {
        "name": "Alerts",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "enable": True,
        "hide": False,
        "iconColor": "red",
        "expr": 'ALERTS{alertname=~"Offpath.*", alertstate="firing"}',
        "titleFormat": "{{alertname}}",
        "textFormat": "{{severity}}",
    }


def _variables() -> Iterator[dict[str, Any]]:
    yield {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
        "hide": 0,
        "refresh": 1,
    }
    yield _label_values("job", "offpath_alarm_budget_ratio")
    yield _label_values("instance", 'offpath_alarm_budget_ratio{job=~"$job"}')
    windows = ("10m", "1h", "6h", "1d", "7d")
    yield {
        "name": "window",
        "label": "Shares over",
        "type": "custom",
        "query": ",".join(windows),
        "options": [{"text": each, "value": each, "selected": each == "1h"} for each in windows],
        "current": {"text": "1h", "value": "1h"},
        "hide": 0,
    }


def _label_values(label: str, metric: str) -> dict[str, Any]:
    return {
        "name": label,
        "label": label.capitalize(),
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "query": f"label_values({metric}, {label})",
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "current": {"text": "All", "value": "$__all"},
        "hide": 0,
    }
